"""The cloudlet's identity: kept over restarts, one agent at a time, damage told clearly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_agent.errors import SettingsError
from edge_agent.identity import Identity


def opened(folder: Path, now: int = 1_000) -> Identity:
    return Identity(folder, lambda: now)


def test_it_is_kept_over_restarts(tmp_path: Path) -> None:
    first = opened(tmp_path / "state")
    facts = (first.uuid, first.wireguard_private_key, first.wireguard_public_key)
    first.close()
    second = opened(tmp_path / "state")
    assert (second.uuid, second.wireguard_private_key, second.wireguard_public_key) == facts
    assert second.uuid.version == 8
    assert second.uuid != opened(tmp_path / "other").uuid
    second.close()


def test_the_incarnation_grows_also_when_the_clock_goes_back(tmp_path: Path) -> None:
    grown = []
    for now in (1_000, 5_000, 2_000, 2_000):
        identity = opened(tmp_path, now)
        grown.append(identity.incarnation)
        identity.close()
    assert grown == [1_000, 5_000, 5_001, 5_002]


def test_the_incarnation_ends_where_numbers_on_the_wire_do(tmp_path: Path) -> None:
    opened(tmp_path).close()
    path = tmp_path / "identity.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"incarnation": 2**53 - 1}))
    for _ in range(2):
        identity = opened(tmp_path)
        assert identity.incarnation == 2**53 - 1
        identity.close()


def test_only_root_may_read_it(tmp_path: Path) -> None:
    opened(tmp_path)
    assert (tmp_path / "identity.json").stat().st_mode & 0o777 == 0o600


def test_a_second_agent_is_kept_out(tmp_path: Path) -> None:
    first = opened(tmp_path)
    with pytest.raises(SettingsError, match="another agent"):
        opened(tmp_path)
    first.close()
    opened(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        {"identity_key": "x"},
        {"identity_key": None},
        {"wireguard_key": "AAAA"},
        {"incarnation": -1},
        {"incarnation": True},
        {"incarnation": "1"},
        {"incarnation": 1 << 60},
    ],
)
def test_damage_is_told_and_nothing_is_overwritten(tmp_path: Path, damage: object) -> None:
    opened(tmp_path).close()
    path = tmp_path / "identity.json"
    whole = json.loads(path.read_text())
    path.write_bytes(damage if isinstance(damage, bytes) else json.dumps(whole | damage).encode())  # type: ignore[operator]
    before = path.read_bytes()
    with pytest.raises(SettingsError, match=r"identity\.json"):
        opened(tmp_path)
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SettingsError, match="--state"):
        opened(tmp_path / "file" / "state")
