import json
import stat
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from device_sdk import cli
from device_sdk.errors import DeviceError
from device_sdk.nearby.discovery import Nearby
from device_sdk.nearby.identity import device_identity, uuid_of
from device_sdk.nearby.paired import PairedCloudlet, askable, forget, keep, paired_cloudlets
from device_sdk.wire import Health

CLOUDLET = PairedCloudlet(bytes(range(32)), "living-room")


def test_a_device_keeps_one_identity_to_itself(tmp_path: Path) -> None:
    one = device_identity(tmp_path)
    assert device_identity(tmp_path) == one
    assert stat.S_IMODE((tmp_path / "identity").stat().st_mode) == 0o600
    assert repr(one.private) not in repr(one)


def test_cloudlets_are_kept_and_forgotten(tmp_path: Path) -> None:
    assert paired_cloudlets(tmp_path) == {}
    keep(tmp_path, CLOUDLET)
    keep(tmp_path, PairedCloudlet(CLOUDLET.key, "renamed"))
    assert paired_cloudlets(tmp_path) == {CLOUDLET.uuid: PairedCloudlet(CLOUDLET.key, "renamed")}
    assert forget(tmp_path, "nobody") == []
    assert forget(tmp_path, "renamed")[0].uuid == CLOUDLET.uuid == uuid_of(CLOUDLET.key)
    assert paired_cloudlets(tmp_path) == {}


@pytest.mark.parametrize("content", ["", "[]", "{}", json.dumps({"Name": "x", "Key": "A" * 43})])
def test_a_damaged_file_makes_no_stranger_of_a_known_cloudlet(tmp_path: Path, content: str) -> None:
    keep(tmp_path, CLOUDLET)
    (tmp_path / "paired" / str(CLOUDLET.uuid)).write_text(content)
    with pytest.raises(DeviceError, match="pair again"):
        paired_cloudlets(tmp_path)


def test_who_may_be_asked() -> None:
    def at(uuid: UUID | None, nearby: str | None) -> Nearby:
        return Nearby(f"http://{nearby}", Health(uuid, "x", nearby))

    known, old, opened = at(CLOUDLET.uuid, "pairing"), at(None, None), at(UUID(int=1), "open")
    closed = [at(UUID(int=2), "pairing"), at(UUID(int=3), "keys")]
    paired = {CLOUDLET.uuid: CLOUDLET}
    assert askable([*closed, old, opened, known], paired, "open") == ([known, old, opened], closed)
    assert askable([old, opened, known], paired, "paired") == ([known], [old, opened])


@pytest.mark.parametrize(
    "words", [[], ["living-room"], ["living-room", "1234567"], ["living-room", "12345", "--key", "x"]]
)
def test_the_command_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, words: list[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert cli.main(["pair", *words, "--json"]) == 2
    assert json.loads(capsys.readouterr().err)["ExitStatus"] == 2
    assert cli.main(["pair", "--forget", "nobody"]) == 2
    capsys.readouterr()
    assert cli.main(["pair", "--list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert cli.main(["pair", "--show-key"]) == 0
    assert len(capsys.readouterr().out.strip()) == 43
