import multiprocessing
import os
import stat
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from device_sdk.errors import DeviceError
from device_sdk.keys import application_key, state_folder

APP, OTHER = UUID(int=0), UUID(int=1)


def test_the_halves_belong_together(tmp_path: Path) -> None:
    one, other = application_key(APP, tmp_path), application_key(OTHER, tmp_path)

    def shared(mine: bytes, theirs: bytes) -> bytes:
        return X25519PrivateKey.from_private_bytes(mine).exchange(X25519PublicKey.from_public_bytes(theirs))

    assert shared(one.private, other.public) == shared(other.private, one.public)


def test_an_app_keeps_its_key_and_shares_it_with_no_other(tmp_path: Path) -> None:
    first = application_key(APP, tmp_path)
    assert application_key(APP, tmp_path) == first
    assert application_key(OTHER, tmp_path) != first


def test_the_path_segment_is_url_safe_without_padding(tmp_path: Path) -> None:
    segment = application_key(APP, tmp_path).path_segment
    assert len(segment) == 43
    assert set(segment) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        application_key(APP, tmp_path / "state")
    finally:
        os.umask(before)
    path = tmp_path / "state" / "keys" / str(APP)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [file.name for file in path.parent.iterdir()] == [str(APP)]


def test_the_private_half_is_not_shown(tmp_path: Path) -> None:
    pair = application_key(APP, tmp_path)
    assert repr(pair.private) not in repr(pair)
    assert "private" not in repr(pair)


def _public(folder: str) -> bytes:
    return application_key(APP, Path(folder)).public


def test_processes_that_start_at_once_get_one_key(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(8) as pool:
        assert len(set(pool.map(_public, [str(tmp_path)] * 64, chunksize=1))) == 1


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"not a key\n", b"\xff" * 44, b"AAAA", b"A" * 200],
    ids=["empty", "newline", "text", "binary", "short", "long"],
)
def test_a_damaged_key_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    application_key(APP, tmp_path)
    path = tmp_path / "keys" / str(APP)
    path.write_bytes(content)
    with pytest.raises(DeviceError, match=f"damaged; remove {path}"):
        application_key(APP, tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_key_that_others_can_read_says_what_to_do(tmp_path: Path, mode: int) -> None:
    application_key(APP, tmp_path)
    (tmp_path / "keys" / str(APP)).chmod(mode)
    with pytest.raises(DeviceError, match=f"chmod 600 {tmp_path}"):
        application_key(APP, tmp_path)


def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DeviceError, match="can't be kept"):
        application_key(APP, tmp_path / "file")


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"XDG_STATE_HOME": "/s", "HOME": "/h"}, "/s/sinfonia"),
        ({"HOME": "/h"}, "/h/.local/state/sinfonia"),
        ({"XDG_STATE_HOME": "", "HOME": "/h"}, "/h/.local/state/sinfonia"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/h"}, "/h/.local/state/sinfonia"),
    ],
)
def test_state_is_where_the_xdg_specification_puts_it(environ: dict[str, str], folder: str) -> None:
    assert state_folder(environ) == Path(folder)
