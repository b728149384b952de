"""What the user allows `sinfonia` to tell: `~/.config/sinfonia/config.toml`. Called by the commands.

::

    [context]
    allow = ["location", "link_type"]
    location = [40.44, -79.94]        # in the place of what gpsd or GeoClue know
    location_precision_km = 1
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from device_sdk.context import Location
from device_sdk.device.allowed import PRECISION_KM, Allowed
from device_sdk.errors import DeviceError, RequestError
from device_sdk.fields import WireError, items, mapping, number, text

_MOST_BYTES = 64 * 1024
_KNOWN = {"allow", "location", "location_precision_km"}


@dataclass(frozen=True)
class Settings:
    """The file's `[context]`; `path` is where the file is or would be, `precision_km` None if not said."""

    path: Path
    allowed: Allowed = field(default_factory=Allowed)
    location: Location | None = None
    precision_km: float | None = None


def settings_path(environ: Mapping[str, str]) -> Path:
    """`$XDG_CONFIG_HOME/sinfonia/config.toml`, by default under `~/.config`."""
    base = environ.get("XDG_CONFIG_HOME", "")
    # A relative path is to be ignored (XDG Base Directory Specification).
    folder = Path(base) if base.startswith("/") else Path(environ.get("HOME", "/")) / ".config"
    return folder / "sinfonia" / "config.toml"


def read_settings(path: Path) -> Settings:
    """What the file says; nothing is allowed where there is none. Raises `DeviceError` for a wrong one: it
    must not allow more, nor less, than its writer meant.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES)
    except FileNotFoundError:
        return Settings(path)
    except OSError as error:
        raise DeviceError(f"{path} can't be read: {error.strerror}.") from error
    try:
        data = mapping(tomllib.loads(content.decode()).get("context", {}), "context")
        return _settings(path, data)
    except (ValueError, RequestError) as error:
        problem = str(error).rstrip(".")
        raise DeviceError(f"{path} is wrong; {problem}.") from error


def _settings(path: Path, data: Mapping[str, Any]) -> Settings:
    unknown = sorted(set(data) - _KNOWN)
    if unknown:
        raise WireError(f"context.{unknown[0]}", "is no setting")
    allow = items(data.get("allow", []), "context.allow", text, 32)
    name = "location_precision_km"
    finely = number(data[name], f"context.{name}", 0, 1000) if name in data else None
    allowed = Allowed.of(allow, PRECISION_KM if finely is None else finely)
    place = data.get("location")
    if place is None:
        return Settings(path, allowed, None, finely)
    degrees = items(place, "context.location", number, 2)
    if len(degrees) != 2:
        raise WireError("context.location", "must be [latitude, longitude]")
    return Settings(path, allowed, Location(*degrees), finely)
