"""Pinned keys and the root's time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge_agent.errors import InvalidRequest, SettingsError
from edge_agent.roots.root_trust import KeysChanged, RootTrust
from edge_agent.serving.signatures import read_keys
from tests.fakes.edge_agent_parts import Clock
from tests.fakes.edge_agent_roots import NOW, ROOT, SigningRoot

OLD, NEW, FOREIGN = (SigningRoot().public for _ in range(3))


def made(folder: Path) -> RootTrust:
    return RootTrust(ROOT, folder / "roots", Clock(), lambda: NOW)


def test_the_first_keys_are_kept_over_a_restart(tmp_path: Path) -> None:
    made(tmp_path).pin([OLD])
    again = made(tmp_path)
    assert again.key(OLD.thumbprint) == OLD
    assert again.key(NEW.thumbprint) is None
    assert again.key(None) is None


def test_a_rotation_passes_over_a_key_that_is_known(tmp_path: Path) -> None:
    trust = made(tmp_path)
    trust.pin([OLD])
    trust.pin([NEW, OLD])
    trust.pin([NEW])
    assert trust.key(OLD.thumbprint) is None
    assert made(tmp_path).key(NEW.thumbprint) == NEW


def test_keys_of_which_none_is_known_are_refused_until_the_operator_says_so(tmp_path: Path) -> None:
    trust = made(tmp_path)
    trust.pin([OLD])
    with pytest.raises(KeysChanged, match="remove") as refused:
        trust.pin([FOREIGN])
    assert trust.key(FOREIGN.thumbprint) is None
    assert trust.key(OLD.thumbprint) == OLD
    Path(str(refused.value).rpartition(" remove ")[2]).unlink()
    trust.pin([FOREIGN])
    assert trust.key(FOREIGN.thumbprint) == FOREIGN


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"keys": [1]}', '{"keys": 7}', "\udc80"])
def test_a_damaged_file_is_the_operators_to_mend(tmp_path: Path, text: str) -> None:
    made(tmp_path).pin([OLD])
    (file,) = (tmp_path / "roots").iterdir()
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SettingsError, match="pinned keys"):
        made(tmp_path)


def test_a_folder_that_takes_no_file_costs_the_pin_but_not_the_keys(tmp_path: Path) -> None:
    (tmp_path / "roots").write_text("a file")
    trust = RootTrust(ROOT, tmp_path / "elsewhere", Clock(), lambda: NOW)
    (tmp_path / "elsewhere").write_text("a file")
    with pytest.raises(SettingsError):
        made(tmp_path)
    assert trust.key(OLD.thumbprint) is None


def test_the_roots_time_is_taken_from_its_answers(tmp_path: Path) -> None:
    trust = made(tmp_path)
    assert trust.now() == NOW
    for nonsense in (None, "", "yesterday", "Tue, 99 Nov 2026 18:38:10 GMT", "x" * 10_000):
        trust.learn_time(nonsense)
        assert trust.now() == NOW
    trust.learn_time("Tue, 24 Nov 2026 08:38:10 GMT")
    assert trust.now() == NOW - 4 * 3600


@pytest.mark.parametrize(
    "value", [None, [], {}, {"keys": []}, {"keys": [{"kty": "RSA"}]}, {"keys": [{}] * 9}]
)
def test_a_set_without_a_usable_key_is_none(value: Any) -> None:
    with pytest.raises(InvalidRequest):
        read_keys(value)


def test_keys_of_other_kinds_are_left_out() -> None:
    assert read_keys({"keys": [{"kty": "RSA"}, NEW.to_jwk(), OLD.to_jwk()]}) == (NEW, OLD)
