"""Values on the command line, read and checked. Called by `operator_arguments.py` through argparse."""

import argparse
from datetime import date
from typing import Any
from uuid import UUID

REQUIREMENTS = "gpu, cached, cores=N, memory_bytes=N, jurisdiction=DE or US-PA, trust=LEVEL, max_price=N"


def uuid(text: str) -> str:
    """A UUID, in lower case."""
    try:
        return str(UUID(text))
    except ValueError:
        raise argparse.ArgumentTypeError("must be a UUID") from None


def count(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:12]) <= 10**9:
        raise argparse.ArgumentTypeError("must be a whole number of at least 1")
    return int(text)


def seconds(text: str) -> float:
    """More than 0, at most an hour."""
    return _number(text, 3600, "must be seconds, more than 0 and at most 3600")


def days(text: str) -> float:
    """More than 0, at most ten years."""
    return _number(text, 3660, "must be days, more than 0 and at most 3660")


def _number(text: str, most: float, complaint: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= most:
        raise argparse.ArgumentTypeError(complaint)
    return value


def day(text: str) -> date:
    """A day in UTC."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("must be a day like 2026-11-24") from None


def boolean(text: str) -> bool:
    """Yes or no."""
    if text not in ("yes", "no"):
        raise argparse.ArgumentTypeError("must be yes or no")
    return text == "yes"


def quota(text: str) -> tuple[str, int]:
    """`apps=5` as a name and a number; the root knows which names there are."""
    name, _, number = text.partition("=")
    if not name or not number.isascii() or not number.isdecimal() or len(number) > 10:
        raise argparse.ArgumentTypeError("must be like apps=5")
    return name, int(number)


def requirement(text: str) -> tuple[str, Any]:
    """`gpu` or `cores=8` as a name and a value."""
    name, given, value = text.partition("=")
    try:
        if name in ("gpu", "cached") and not given:
            return name, True
        if name in ("cores", "memory_bytes"):
            return name, int(value)
        if name == "max_price":
            return name, float(value)
        if name in ("trust", "jurisdiction") and value:
            return name, value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"must be one of {REQUIREMENTS}")
