"""Whom a cloudlet serves directly, as operators say it, and the `pair` command."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from edge_agent.__main__ import main
from edge_agent.errors import SettingsError
from edge_agent.identity import Identity
from edge_agent.nearby.codes import Codes
from edge_agent.nearby.devices import Device, Devices
from edge_agent.serving.signatures import PublicKey
from tests.unit.edge_agent.test_settings import settings

ONE, OTHER = PublicKey(b"\1" * 32), PublicKey(b"\2" * 32)


def test_anybody_nearby_unless_the_operator_says_so(tmp_path: Path) -> None:
    listed = tmp_path / "devices"
    listed.write_text(f"# of the family\n{ONE.text} Anna's phone\n\n{OTHER.text}\n")
    assert settings().nearby.mode == "open"
    assert settings("--nearby", "pairing").nearby.mode == "pairing"
    assert settings("--device-key", ONE.text).nearby.mode == "keys"
    assert settings("--device-key", str(listed)).nearby.keys == (ONE, OTHER)
    assert settings("--device-key", ONE.text, "--nearby", "pairing").nearby.mode == "pairing"


def test_an_interface_is_enough_to_be_announced() -> None:
    found = settings("--announce-interface", "eth0", "--listen", "0.0.0.0")
    assert (found.nearby.announce, found.nearby.addresses) == (True, ())
    assert found.nearby.interfaces == ("eth0",)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--nearby", "keys"], "--device-key"),
        (["--device-key", "/nonexistent"], "--device-key /nonexistent"),
        (["--device-key", "x" * 43], "--device-key"),
        (["--announce-interface", "no name", "--listen", "192.0.2.7"], "--announce-interface"),
        (["--announce-interface", "eth0"], "loopback"),
    ],
)
def test_wrong_ones_are_named(options: list[str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        settings(*options)


def test_the_command_shows_codes_keys_and_devices(tmp_path: Path, capsys: Any) -> None:
    identity = Identity(tmp_path, lambda: 1)

    def pair(*words: str) -> str:
        assert main(["pair", "--state", str(tmp_path), *words]) == 0
        return str(capsys.readouterr().out).strip()

    try:
        digits = pair().split()[0]
        code = Codes(tmp_path, time.time).current()
        assert code is not None
        assert code.digits == digits
        assert json.loads(pair("--json", "--minutes", "2"))["seconds"] == 120
        assert pair("--key") == PublicKey(identity.public_key).text
        assert pair("--list") == "no device is paired"
        Devices(tmp_path / "devices").add(Device(ONE, "phone", "2026-11-24T12:00:00Z"))
        assert json.loads(pair("--list", "--json"))[0]["name"] == "phone"
        assert "phone" in pair("--forget", "phone")
        assert pair("--list", "--json") == "[]"
    finally:
        identity.close()


@pytest.mark.parametrize("words", [["--minutes", "0"], ["--minutes", "61"], ["--forget", "nobody"]])
def test_the_command_says_what_is_wrong_in_a_line(tmp_path: Path, capsys: Any, words: list[str]) -> None:
    Identity(tmp_path, lambda: 1).close()
    assert main(["pair", "--state", str(tmp_path), *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1
