"""GeoClue asked over a real bus."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_sdk.context import Location
from device_sdk.device.bus import Bus, BusError
from device_sdk.device.geoclue import ask_geoclue
from tests.fakes.device_sdk_geoclue import GeoClue
from tests.lab.machine import poll
from tests.lab.needs import needs


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[str]:
    path = tmp_path / "bus"
    command = ["dbus-daemon", "--session", "--nofork", "--nosyslog", f"--address=unix:path={path}"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as daemon:
        try:
            assert poll(path.exists, 30)
            yield str(path)
        finally:
            daemon.terminate()


@needs("dbus-daemon")
def test_a_place_is_found_once_geoclue_knows_it(bus: str) -> None:
    with GeoClue(bus) as geoclue:
        assert ask_geoclue(1.0, bus, 60.0) == (Location(40.4433, -79.9436, 25.0), "GeoClue")
    # It is told no more finely than this, so that much is asked for: a neighbourhood.
    assert geoclue.asked == {"DesktopId": "sinfonia", "RequestedAccuracyLevel": 5}


@needs("dbus-daemon")
def test_who_does_not_know_or_is_not_there_is_told(bus: str) -> None:
    place, why = ask_geoclue(1.0, bus, 60.0)
    assert place is None
    assert "org.freedesktop.GeoClue2" in why
    with GeoClue(bus, knows=False):
        assert ask_geoclue(1.0, bus, 1.0)[0] is None
    with Bus(bus, 60.0) as connection:
        driver = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
        assert connection.call(*driver, "GetNameOwner", driver[0]) == driver[0]
        with pytest.raises(BusError, match="nobody"):
            connection.call(*driver, "GetNameOwner", "nobody.here")
