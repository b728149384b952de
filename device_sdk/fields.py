"""Reading single fields of JSON that came over a wire, and saying which one is wrong.

Called by `wire.py` and `context.py`. Nothing that came over a wire is trusted: sizes are bounded, numbers
are finite, and text that people will see on a terminal loses its control characters.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from uuid import UUID

T = TypeVar("T")

KEY_BYTES = 32
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class WireError(ValueError):
    """`field` (a path such as `[0].TunnelConfig.endpoint`) is not what the contract says."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}" if field else problem)
        self.field = field


def parse_json(content: bytes) -> Any:
    """The JSON value in `content` (UTF-8). NaN and infinities, which JSON does not have, are refused."""

    def refuse(constant: str) -> Any:
        raise WireError("", f"{constant} is not JSON")

    try:
        return json.loads(content.decode("utf-8"), parse_constant=refuse)
    except WireError:
        raise
    except (ValueError, RecursionError) as error:
        raise WireError("", f"not JSON ({type(error).__name__})") from error


def mapping(value: Any, field: str) -> Mapping[str, Any]:
    """`value` as an object."""
    if not isinstance(value, dict):
        raise WireError(field, "must be an object")
    return value


def items(value: Any, field: str, parse: Callable[[Any, str], T], maximum: int) -> tuple[T, ...]:
    """Every element of the array `value`, parsed; at most `maximum` of them."""
    if not isinstance(value, list):
        raise WireError(field, "must be an array")
    if len(value) > maximum:
        raise WireError(field, f"has {len(value)} elements; at most {maximum} are sensible")
    return tuple(parse(element, f"{field}[{index}]") for index, element in enumerate(value))


def optional(data: Mapping[str, Any], name: str, field: str, parse: Callable[[Any, str], T]) -> T | None:
    """The field `name` of `data`, parsed; None where it is absent or null."""
    value = data.get(name)
    return None if value is None else parse(value, f"{field}.{name}" if field else name)


def required(data: Mapping[str, Any], name: str, field: str, parse: Callable[[Any, str], T]) -> T:
    """The field `name` of `data`, parsed."""
    path = f"{field}.{name}" if field else name
    if name not in data:
        raise WireError(path, "is missing")
    return parse(data[name], path)


def text(value: Any, field: str) -> str:
    """A printable text of at most 1024 characters, for programs."""
    if not isinstance(value, str):
        raise WireError(field, "must be a text")
    if len(value) > 1024 or not value.isprintable():
        raise WireError(field, "must be a printable text of at most 1024 characters")
    return value


def label(value: Any, field: str) -> str:
    """A text for people: cut at 500 characters, without anything that could drive a terminal."""
    if not isinstance(value, str):
        raise WireError(field, "must be a text")
    return printable(value)


def printable(value: str, maximum: int = 500) -> str:
    """`value` on one line, without control characters, cut at `maximum` characters."""
    line = "".join(char if char.isprintable() else " " for char in value[: 2 * maximum])
    line = " ".join(line.split())
    return line if len(line) <= maximum else line[: maximum - 1] + "…"


def boolean(value: Any, field: str) -> bool:
    """One of true and false."""
    if not isinstance(value, bool):
        raise WireError(field, "must be true or false")
    return value


def number(value: Any, field: str, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e300 < value < 1e300:
        raise WireError(field, "must be a finite number")
    if not low <= value <= high:
        raise WireError(field, f"must be from {low:g} to {high:g}")
    return value


def integer(value: Any, field: str, low: int, high: int) -> int:
    """A whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise WireError(field, f"must be a whole number from {low} to {high}")
    return value


def uuid(value: Any, field: str) -> UUID:
    """A UUID in its hyphenated form."""
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise WireError(field, "must be a UUID")
    return UUID(value)


def key(value: Any, field: str) -> bytes:
    """A WireGuard key: 32 bytes as padded standard base64, the only form that JSON carries."""
    try:
        decoded = base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except (binascii.Error, ValueError):
        decoded = b""
    if len(decoded) != KEY_BYTES or base64.b64encode(decoded).decode("ascii") != value:
        raise WireError(field, "must be 32 bytes as padded base64")
    return decoded


def without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` as JSON has them: what is None is left out."""
    return {name: value for name, value in values.items() if value is not None}
