"""What a call sets of the values of an app's chart: `CallValues` of the contract. Pure.

Read by `wire.py` (a device's) and `accounts/app_records.py` (an app's), merged by `deploying/asking.py`, and
sent along to cloudlets, which alone know what the recipe in use lets be set.
"""

import json
from collections.abc import Mapping
from typing import Any

from chalicelib.errors import InvalidRequest

_MOST_BYTES = 4096
_MOST_DEEP = 8


def check_values(value: object, where: str) -> dict[str, Any]:
    """The object, if it is one of bounded depth and size. Raises `InvalidRequest`."""
    if not isinstance(value, dict):
        raise InvalidRequest(f"{where}: must be an object")
    if _depth(value) > _MOST_DEEP:
        raise InvalidRequest(f"{where}: objects must be at most {_MOST_DEEP} deep")
    try:
        size = len(canonical(value).encode())
    except ValueError as error:
        raise InvalidRequest(f"{where}: holds what JSON does not have") from error
    if size > _MOST_BYTES:
        raise InvalidRequest(f"{where}: must have at most {_MOST_BYTES} bytes as JSON")
    return value


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both, those above winning; objects are merged name by name."""
    result = dict(below)
    for name, value in above.items():
        standing = result.get(name)
        if isinstance(standing, dict) and isinstance(value, dict):
            result[name] = merged(standing, value)
        else:
            result[name] = value
    return result


def canonical(values: Mapping[str, Any]) -> str:
    """The shortest JSON, names in order."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _depth(value: object) -> int:
    """How deep it is nested, counted only as far as it matters."""
    level, depth = [value], 0
    while level and depth <= _MOST_DEEP + 1:
        level = [inner for item in level for inner in _inner(item)]
        depth += 1
    return depth - 1


def _inner(item: object) -> list[object]:
    if isinstance(item, dict):
        return list(item.values())
    return list(item) if isinstance(item, list) else []
