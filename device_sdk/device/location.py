"""Where the device is: asked of gpsd, and rounded before it is told. Called by `gathering.py`."""

from __future__ import annotations

import json
import math
import socket
import time
from collections.abc import Callable
from typing import Any

from device_sdk.context import Location
from device_sdk.fields import WireError, mapping, number, parse_json

GPSD = ("127.0.0.1", 2947)  # gpsd(8)
SECONDS = 2.0
_MOST_BYTES = 256 * 1024
_KM_PER_DEGREE = 111.32  # of latitude, and of longitude at the equator
_HAS_FIX = 2  # gpsd_json(5): modes from 2 on have a place


def rounded(place: Location, precision_km: float) -> Location:
    """`place` as the middle of its cell in a grid of about `precision_km`, with the accuracy that is left.

    The grid is fixed to the ground, so that telling it often tells no more than once.
    """
    if precision_km <= 0:
        return place
    step = precision_km / _KM_PER_DEGREE
    latitude = min(90.0, _middle(place.latitude + 90.0, step) - 90.0)
    # A whole number of cells around the earth, so that the last one meets the first.
    cells = max(1, math.floor(360.0 * math.cos(math.radians(latitude)) / step))
    east = 360.0 / cells
    longitude = _middle((place.longitude + 180.0) % 360.0, east) - 180.0
    widest = max(0.0, abs(latitude) - step / 2)  # the edge of the cell that is nearer to the equator
    width_km = east * _KM_PER_DEGREE * math.cos(math.radians(widest))
    off = math.hypot(width_km, precision_km) / 2 * 1000
    accuracy = float(math.ceil((place.accuracy_m or 0.0) + off))
    return Location(round(latitude, 5), round(longitude, 5), min(accuracy, 40_000_000.0))


def _middle(degrees: float, step: float) -> float:
    return (math.floor(degrees / step) + 0.5) * step


def ask_gpsd(
    address: tuple[str, int] = GPSD,
    seconds: float = SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Location | None, str]:
    """The place that gpsd knows now, or None and why."""
    where = f"gpsd at {address[0]}:{address[1]}"
    deadline = clock() + seconds
    try:
        with socket.create_connection(address, timeout=seconds) as connection:
            connection.sendall(b'?WATCH={"enable":true,"json":true};\n')
            found = _fix(connection, deadline, clock)
    except OSError:
        return None, f"no {where}"
    return found, where if found else f"{where} has no fix"


def _fix(connection: socket.socket, deadline: float, clock: Callable[[], float]) -> Location | None:
    """The first report with a place, before the deadline."""
    buffer, read = b"", 0
    while (left := deadline - clock()) > 0 and read < _MOST_BYTES:
        connection.settimeout(left)
        try:
            chunk = connection.recv(8192)
        except TimeoutError:
            return None
        if not chunk:
            return None
        read += len(chunk)
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in lines:
            place = _report(line)
            if place is not None:
                return place
    return None


def _report(line: bytes) -> Location | None:
    """The place in one of gpsd's reports (gpsd_json(5), TPV), if it has one."""
    try:
        data: Any = mapping(parse_json(line), "report")
        if data.get("class") != "TPV" or number(data.get("mode", 0), "mode") < _HAS_FIX:
            return None
        error = data.get("eph")
        accuracy = None if error is None else min(40_100_000.0, number(error, "eph", 0))
        return Location(data.get("lat"), data.get("lon"), accuracy)
    except (WireError, json.JSONDecodeError):
        return None
