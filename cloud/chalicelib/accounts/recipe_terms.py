"""What a recipe says of how its chart may be run: its digest, what calls may set, what it may use in all.

Read by `recipes.py` when a recipe is uploaded or found, so that a wrong one is refused where it is written;
cloudlets read the same again. Every complaint is an `InvalidRequest`.
"""

import re
from itertools import pairwise
from typing import Any

from chalicelib.errors import InvalidRequest
from chalicelib.fields import Fields

_DIGEST = "sha256:[0-9a-f]{64}"
_NAME = r"(?!global\.sinfonia(\.|$))[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,7}"
_QUANTITY = re.compile(r"[0-9]{1,18}(\.[0-9]{1,9})?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_TYPES = ("string", "integer", "number", "boolean")
_MOST = 64
_MOST_NUMBER = 2**53
_MOST_NAME = 519


def read_terms(fields: Fields) -> dict[str, Any]:
    """Those that the recipe gives, checked; what is not known within them is left out."""
    terms: dict[str, Any] = {}
    if fields.has("digest"):
        terms["digest"] = fields.text("digest", 71, 71, _DIGEST)
    if fields.has("settable"):
        terms["settable"] = list(fields.each("settable", _MOST, _setting))
        _check_names([one if isinstance(one, str) else one["name"] for one in terms["settable"]])
    if fields.has("limits"):
        terms["limits"] = _limits(Fields(fields.get("limits"), fields.name("limits")))
    return terms


def _check_names(names: list[str]) -> None:
    for first, second in pairwise(sorted(names)):
        if f"{second}.".startswith(f"{first}."):
            raise InvalidRequest(f"settable: {first} and {second} are not two values")


def _setting(value: Any, where: str) -> str | dict[str, Any]:
    fields = Fields({"name": value} if isinstance(value, str) else value, where)
    name = fields.text("name", _MOST_NAME, 1, _NAME)
    if fields.has("type") and fields.get("type") not in _TYPES:
        raise InvalidRequest(f"{fields.name('type')}: must be one of {', '.join(_TYPES)}")
    if fields.has("enum"):
        fields.each("enum", _MOST, _check_choice)
    for bound in ("minimum", "maximum"):
        if fields.has(bound):
            fields.number(bound, -_MOST_NUMBER, _MOST_NUMBER)
    return name if isinstance(value, str) else _known(fields, "name", "type", "enum", "minimum", "maximum")


def _known(fields: Fields, *names: str) -> dict[str, Any]:
    return {name: fields.get(name) for name in names if fields.has(name)}


def _check_choice(value: Any, where: str) -> None:
    if isinstance(value, str):
        Fields({where: value}, "body").text(where, 256)
    elif not isinstance(value, bool):
        Fields({where: value}, "body").number(where, -_MOST_NUMBER, _MOST_NUMBER)


def _limits(fields: Fields) -> dict[str, Any]:
    for name in ("cpu", "memory", "storage"):
        value = fields.get(name)
        good = type(value) in (str, int, float) and _QUANTITY.fullmatch(str(value))
        if fields.has(name) and (not good or not re.search(r"[1-9]", str(value))):
            raise InvalidRequest(f"{fields.name(name)}: must be a quantity above 0 such as 500m, 2 or 1Gi")
    if fields.has("pods"):
        fields.integer("pods", 1, 1000)
    return _known(fields, "cpu", "memory", "storage", "pods")
