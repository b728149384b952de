"""What is told about this device: exactly what is allowed, and of each fact whether it is told, and why not.

Called by the app (`device_context`) and `sinfonia`. What is not allowed is not even looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from device_sdk.context import DeviceContext, Hardware, Location, Network
from device_sdk.device import hardware, network
from device_sdk.device.allowed import FACTS, GROUPS, PRECISION_KM, Allowed
from device_sdk.device.geoclue import ask_geoclue
from device_sdk.device.location import ask_gpsd, rounded


@dataclass(frozen=True)
class Fact:
    """One of `FACTS`. `value`: what is told, None for nothing; `why`: where it is from, or why nothing."""

    name: str
    value: Any
    why: str

    @property
    def told(self) -> bool:
        """Whether anything is."""
        return self.value is not None


def locate(precision_km: float) -> tuple[Location | None, str]:
    """Where the device is as gpsd knows it, else GeoClue; None and why where neither does."""
    place, why = ask_gpsd()
    if place is not None:
        return place, why
    found, also = ask_geoclue(precision_km)
    return (found, also) if found else (None, f"{why}, {also}")


@dataclass(frozen=True)
class Sources:
    """Where facts come from, replaceable: `root` is where the system's files are."""

    root: Path = field(default=Path("/"))
    ask: network.Ask = network.ask
    locate: Callable[[float], tuple[Location | None, str]] = locate


def device_context(
    *facts: str,
    precision_km: float = PRECISION_KM,
    location: Location | tuple[float, float] | None = None,
    sources: Sources | None = None,
) -> DeviceContext:
    """What a deploy call tells about this device: the named `facts` and nothing else, for `context=`.

    `facts`: "location", "addresses", "link_type", "metered", "cores", "memory", "gpu", "battery", their
    groups "network" and "hardware", or "all". A fact that the device does not know is left out. A location is
    rounded to a grid of `precision_km`; it is the given one (degrees, WGS 84), else gpsd's or
    GeoClue's, which takes some seconds.
    Raises `RequestError` for a name that is no fact.
    """
    given = Location(*location) if isinstance(location, tuple) else location
    return as_context(gather(Allowed.of(facts, precision_km), given, sources))


def gather(allowed: Allowed, location: Location | None = None, sources: Sources | None = None) -> list[Fact]:
    """Every fact, told or not, in the order of `FACTS`."""
    asked = _readers(sources or Sources(), allowed.precision_km, location)
    return [asked[name]() if name in allowed.facts else Fact(name, None, "not allowed") for name in FACTS]


def as_context(facts: list[Fact]) -> DeviceContext:
    """What of it is told, as a deploy call carries it."""
    told = {fact.name: fact.value for fact in facts if fact.told}
    parts = {group: {name: told[name] for name in names if name in told} for group, names in GROUPS.items()}
    named = {"memory": "memory_bytes", "battery": "battery_percent"}
    pieces = {named.get(name, name): value for name, value in parts["hardware"].items()}
    return DeviceContext(
        location=told.get("location"),
        network=Network(**parts["network"]) if parts["network"] else None,
        hardware=Hardware(**pieces) if pieces else None,
    )


def _readers(
    sources: Sources, precision_km: float, location: Location | None
) -> Mapping[str, Callable[[], Fact]]:
    root = sources.root
    known: dict[str, Callable[[], Any]] = {
        "addresses": lambda: network.addresses(sources.ask),
        "link_type": lambda: network.link_type(root, sources.ask),
        "metered": lambda: network.metered(sources.ask),
        "cores": lambda: hardware.cores(root),
        "memory": lambda: hardware.memory_bytes(root),
        "gpu": lambda: hardware.gpu(root),
        "battery": lambda: hardware.battery_percent(root),
    }
    readers: dict[str, Callable[[], Fact]] = {
        name: partial(_fact, name, look) for name, look in known.items()
    }
    return {**readers, "location": lambda: _place(sources, precision_km, location)}


def _fact(name: str, look: Callable[[], Any]) -> Fact:
    value = look()
    return Fact(name, value, "this system does not tell" if value is None else "this system")


def _place(sources: Sources, precision_km: float, given: Location | None) -> Fact:
    found, why = (given, "given") if given else sources.locate(precision_km)
    if found is None:
        return Fact("location", None, f"not known: {why}")
    finely = f"; rounded to {precision_km:g} km" if precision_km else ""
    return Fact("location", rounded(found, precision_km), f"{why}{finely}")
