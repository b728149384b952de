"""Where the device is, as GeoClue knows it, which asks the user. Called by `gathering.py`; calls `bus.py`."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable

from device_sdk.context import Location
from device_sdk.device.bus import SYSTEM_BUS, Bus, BusError, Variant
from device_sdk.fields import WireError

SECONDS = 5.0
_NAME = "org.freedesktop.GeoClue2"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_CITY, _NEIGHBOURHOOD, _EXACT = 4, 5, 8  # GClueAccuracyLevel
_PAUSE_SECONDS = 0.2
_pause = threading.Event().wait


def ask_geoclue(
    precision_km: float,
    path: str = SYSTEM_BUS,
    seconds: float = SECONDS,
    pause: Callable[[float], object] = _pause,
) -> tuple[Location | None, str]:
    """The place that GeoClue knows within some seconds, or None and why. It is asked no more finely than is
    told afterwards.
    """
    try:
        with Bus(path, seconds) as bus:
            return _place(bus, precision_km, pause), "GeoClue"
    except BusError as error:
        return None, f"no GeoClue ({error})" if str(error) else "no GeoClue"
    except (OSError, struct.error, LookupError, UnicodeDecodeError, WireError):
        return None, "no GeoClue"


def _place(bus: Bus, precision_km: float, pause: Callable[[float], object]) -> Location:
    client = str(bus.call(_NAME, "/org/freedesktop/GeoClue2/Manager", f"{_NAME}.Manager", "GetClient"))
    level = _CITY if precision_km >= 10 else _NEIGHBOURHOOD if precision_km >= 1 else _EXACT
    for name, value in (
        ("DesktopId", Variant("s", "sinfonia")),
        ("RequestedAccuracyLevel", Variant("u", level)),
    ):
        bus.call(_NAME, client, _PROPERTIES, "Set", f"{_NAME}.Client", name, value)
    bus.call(_NAME, client, f"{_NAME}.Client", "Start")
    while (found := bus.call(_NAME, client, _PROPERTIES, "Get", f"{_NAME}.Client", "Location")) in (
        "/",
        None,
    ):
        if bus.seconds_left <= 0:
            raise BusError("it does not know")
        pause(_PAUSE_SECONDS)

    def number(name: str) -> float:
        return float(bus.call(_NAME, str(found), _PROPERTIES, "Get", f"{_NAME}.Location", name))

    accuracy = number("Accuracy")
    return Location(number("Latitude"), number("Longitude"), accuracy if 0 <= accuracy < 40_100_000 else None)
