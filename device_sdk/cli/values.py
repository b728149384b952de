"""What the words after `sinfonia`'s options may be. Each function raises `argparse.ArgumentTypeError`, saying
what a right word looks like. Called by `options.py` and the commands.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

from device_sdk import HELLOWORLD, RequestError, Requirements
from device_sdk.device.allowed import Allowed
from device_sdk.fields import WireError

_SETTABLE = re.compile(
    r"[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,7}"
)  # as recipes name what calls may set


def app(text: str) -> UUID:
    """An app's UUID; `helloworld` is one that every root has."""
    try:
        return HELLOWORLD if text == "helloworld" else UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError("must be a UUID, or helloworld") from None


def results(text: str) -> int:
    """How many cloudlets."""
    if text not in ("1", "2", "3"):
        raise argparse.ArgumentTypeError("must be 1, 2 or 3")
    return int(text)


def seconds(text: str) -> float:
    """A time that somebody waits."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError("must be seconds, more than 0 and at most 3600")
    return value


def location(text: str) -> tuple[float, float]:
    """Degrees, WGS 84."""
    try:
        latitude, longitude = (float(part) for part in text.split(","))
    except ValueError:
        latitude = longitude = 360.0
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):
        raise argparse.ArgumentTypeError("must be LATITUDE,LONGITUDE in degrees, such as 40.44,-79.94")
    return latitude, longitude


def facts(text: str) -> tuple[str, ...]:
    """Names of facts about the device, and of groups of them."""
    names = tuple(text.split(","))
    try:
        Allowed.of(names)
    except RequestError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return names


def kilometres(text: str) -> float:
    """How finely a location is told."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1000:
        raise argparse.ArgumentTypeError("must be kilometres, from 0 to 1000")
    return value


class Require(argparse.Action):
    """Collects `--require` into `options.requirements`: each may be said once, jurisdictions more often."""

    def __call__(self, parser: Any, options: Any, value: Any, _option: str | None = None) -> None:
        """Add one demand."""
        name, wanted = value
        demanded = dict(options.requirements.to_json() if options.requirements else {})
        if name == "jurisdictions":
            demanded[name] = [*demanded.get(name, []), wanted]
        elif name in demanded:
            parser.error(f"--require {name.replace('_', '-')}: once is enough")
        else:
            demanded[name] = wanted
        try:
            options.requirements = Requirements.from_json(demanded)
        except WireError as error:
            parser.error(f"--require: {str(error).removeprefix('requirements.')}")


def requirement(text: str) -> tuple[str, Any]:
    """`gpu` or `cores=4`: the contract's name, and the value as it goes there."""
    name, equals, value = text.partition("=")
    if name in ("gpu", "cached") and not equals:
        return name, True
    known: dict[str, tuple[str, Callable[[str], Any]]] = {
        "cores": ("cores", int),
        "memory": ("memory_bytes", _size),
        "jurisdiction": ("jurisdictions", str),
        "trust": ("trust", str),
        "max-price": ("max_price", float),
    }
    if name not in known or not value:
        raise argparse.ArgumentTypeError(
            f"{text!r}: must be gpu, cached, or one of {', '.join(known)} with ="
        )
    field, parse_value = known[name]
    try:
        return field, parse_value(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: that is no value for {name}") from None


class Set(argparse.Action):
    """Collects `--set` into `options.values`, objects where names have dots."""

    def __call__(self, parser: Any, options: Any, value: Any, _option: str | None = None) -> None:
        """Add one value."""
        name, wanted = value
        options.values = options.values or {}
        *above, last = name.split(".")
        there = options.values
        for part in above:
            there = there.setdefault(part, {})
            if not isinstance(there, dict):
                parser.error(f"--set {name}: {part} is a value already")
        if last in there:
            parser.error(f"--set {name}: once is enough")
        there[last] = wanted


def setting(text: str) -> tuple[str, str | int | float | bool]:
    """`game.level=3`: the dotted name, and the value as JSON has it; what is none in JSON is a text."""
    name, equals, value = text.partition("=")
    if not equals or not _SETTABLE.fullmatch(name):
        raise argparse.ArgumentTypeError(f"{text!r}: must be NAME=VALUE, such as game.level=3")
    try:
        found = json.loads(value, parse_constant=str)
    except (ValueError, RecursionError):
        return name, value
    if isinstance(found, float) and not math.isfinite(found):
        raise argparse.ArgumentTypeError(f"{text!r}: that number is too large")
    if found is None or isinstance(found, (dict, list)):
        kinds = "a number, true, false or a text"
        raise argparse.ArgumentTypeError(f"{text!r}: must be {kinds}; one in double quotes is always a text")
    return name, found


def _size(text: str) -> int:
    """Bytes of `16G`, `512M`."""
    found = re.fullmatch(r"([0-9]{1,9})([KMGT])i?B?", text)
    if found is None:
        raise ValueError(text)
    return int(found[1]) << (10 * " KMGT".index(found[2]))
