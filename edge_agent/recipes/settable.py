"""Which values callers may set, as a recipe lists them: read by `recipe.py`, asked by `recipes.py`. Pure.

Values are merged in this order, the later one winning: the chart's defaults, the recipe's `values`, those of
the root that asks, those of the device; the last two come in one call, the root having put the device's over
its own. What callers set is a text, a number or a truth value at a name that the recipe's `settable` lists:

    settable:
      - greeting                                       # a text
      - {name: game.level, type: integer, minimum: 1, maximum: 9}
      - {name: size, enum: [small, large]}

A text has one line of at most 256 printable characters and no `{{`, so that a chart that quotes what it
prints can't be talked into anything.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Scalar = str | int | float | bool

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,7}")
_RESERVED = ("global.sinfonia",)
_TYPES = ("string", "integer", "number", "boolean")
_BOUNDS = ("minimum", "maximum")
_MOST = 64
_MOST_CHARACTERS = 256
_MOST_NUMBER = 1 << 53
"""Beyond this JSON's numbers are not exact."""


@dataclass(frozen=True)
class Setting:
    """One name that callers may set, with what it may be; `name` is dotted."""

    name: str
    type: str = "string"
    enum: tuple[Scalar, ...] = ()
    minimum: float = -_MOST_NUMBER
    maximum: float = _MOST_NUMBER

    @classmethod
    def from_json(cls, value: Any) -> Setting:
        """Check an item of `settable`; raises `ValueError`."""
        data = {"name": value} if isinstance(value, str) else value
        if not isinstance(data, dict) or not isinstance(data.get("name"), str):
            raise ValueError("settable: must hold names, or objects with a name")  # noqa: TRY004 - as below
        name = data["name"]
        if not _NAME.fullmatch(name) or f"{name}.".startswith(tuple(f"{one}." for one in _RESERVED)):
            raise ValueError(f"settable: {name[:80]!r} is no name that callers can set, such as game.level")
        kind = data.get("type", "string")
        if kind not in _TYPES:
            raise ValueError(f"settable: {name}: type must be one of {', '.join(_TYPES)}")
        enum = data.get("enum", [])
        if not isinstance(enum, list) or len(enum) > _MOST or not all(_is_scalar(item) for item in enum):
            raise ValueError(f"settable: {name}: enum must be a list of at most {_MOST} texts and numbers")
        bounds = {bound: data[bound] for bound in _BOUNDS if bound in data}
        if not all(_is_number(bound) for bound in bounds.values()):
            raise ValueError(f"settable: {name}: minimum and maximum must be numbers")
        return cls(name, kind, tuple(enum), **bounds)

    def fault(self, value: Any) -> str | None:
        """What is wrong with a value, None if nothing is."""
        if self.enum:
            good = any(type(value) is type(one) and value == one for one in self.enum)
            return None if good else f"must be one of {', '.join(map(str, self.enum))}"
        if self.type == "string":
            good = isinstance(value, str) and len(value) <= _MOST_CHARACTERS and value.isprintable()
            good = good and "{{" not in value
            return None if good else f"must be one line of at most {_MOST_CHARACTERS} characters without {{{{"
        if self.type == "boolean":
            return None if isinstance(value, bool) else "must be true or false"
        whole = self.type == "integer"
        if not _is_number(value) or (whole and value != int(value)):
            return "must be an integer" if whole else "must be a number"
        in_bounds = self.minimum <= value <= self.maximum
        return None if in_bounds else f"must be from {self.minimum:g} to {self.maximum:g}"


def read_settable(value: Any) -> tuple[Setting, ...]:
    """A recipe's `settable`; raises `ValueError` naming what is wrong."""
    if not isinstance(value, list) or len(value) > _MOST:
        raise ValueError(f"settable: must be a list of at most {_MOST} names")
    settings = tuple(Setting.from_json(item) for item in value)
    names = sorted(setting.name for setting in settings)
    for first, second in pairwise(names):
        if f"{second}.".startswith(f"{first}."):
            raise ValueError(f"settable: {first} and {second} are not two different values")
    return settings


def merged(
    values: Mapping[str, Any], settable: Sequence[Setting], given: Mapping[str, Any]
) -> dict[str, Any]:
    """The recipe's values with those given over them; raises `ValueError` naming what may not be set."""
    result = copy.deepcopy(dict(values))
    known = {setting.name: setting for setting in settable}
    for name, value in _leaves(given):
        setting = known.get(name)
        if setting is None:
            may = ", ".join(known)[:400] or "nothing"
            raise ValueError(f"values.{name[:200]}: callers can't set it; the recipe lets them set {may}")
        fault = setting.fault(value)
        if fault:
            raise ValueError(f"values.{name}: {fault}")
        _put(result, name.split("."), value)
    return result


def _leaves(given: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of everything that is no object; an empty object is one too. `given` is shallow:
    the wire bounds it.
    """
    for name, value in given.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _put(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    *above, last = path
    for part in above:
        inner = values.get(part)
        if not isinstance(inner, dict):
            inner = values[part] = {}
        values = inner
    values[last] = value


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -_MOST_NUMBER <= value <= _MOST_NUMBER


def _is_scalar(value: Any) -> bool:
    return isinstance(value, bool) or _is_number(value) or (isinstance(value, str) and len(value) <= 256)
