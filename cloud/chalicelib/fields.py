"""Reading the fields of a JSON object that somebody else sent.

Called by `wire.py` (and by `recipes.py`, whose YAML has the same shapes). Known fields must have right
values; unknown ones are ignored. Every complaint is an `InvalidRequest` that names the field.
"""

import json
import math
import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Any, NoReturn, TypeVar
from urllib.parse import SplitResult, urlsplit
from uuid import UUID

from chalicelib.errors import InvalidRequest

T = TypeVar("T")
Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def parse_json(raw: bytes) -> Any:
    """The JSON document in `raw`; NaN and infinities are no JSON (RFC 8259, section 6)."""
    try:
        return json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"body: is not JSON ({error})") from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def parse_uuid(text: object, where: str) -> UUID:
    """A UUID in its hyphenated form; braces and `urn:` are not accepted."""
    if not isinstance(text, str) or not _UUID.fullmatch(text):
        raise InvalidRequest(f"{where}: must be a UUID like 5f1c9a1e-7f35-4a39-9d52-3f1f8f0e6a11")
    return UUID(text)


def parse_network(text: object, where: str) -> Network:
    """A CIDR block; bits behind the mask are cleared, as routers do."""
    if not isinstance(text, str) or not 3 <= len(text) <= 43 or "/" not in text or "%" in text:
        raise InvalidRequest(f"{where}: must be a network like 192.0.2.0/24 or 2001:db8::/32")
    try:
        return ip_network(text, strict=False)
    except ValueError as error:
        raise InvalidRequest(f"{where}: {error}") from error


def parse_url(text: str, where: str) -> SplitResult:
    """An http or https URL that can be called: with a host, without user name, password or fragment."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise InvalidRequest(f"{where}: {error}") from error
    if not usable or not re.fullmatch(r"[!-~]+", text):
        raise InvalidRequest(f"{where}: must be an http or https URL")
    if "@" in parts.netloc or "#" in text:
        raise InvalidRequest(f"{where}: must have no user name, password or fragment")
    return parts


def check_number(value: object, where: str, low: float, high: float) -> float:
    """`value` as a float within the bounds; booleans and non-finite numbers are refused."""
    number = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
    if not low <= number <= high:
        raise InvalidRequest(f"{where}: must be a number from {low:g} to {high:g}")
    return number


def parse_decimal(text: str) -> float:
    """A decimal number as people write it; what else Python takes for one ("1_0", "inf") is a ValueError."""
    if not re.fullmatch(r"\s*[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?\s*", text, re.ASCII):
        raise ValueError(f"not a number: {text[:64]!r}")
    return float(text)


class Fields:
    """One JSON object under examination; `where` is its name in complaints."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise InvalidRequest(f"{where}: must be an object")
        self._values = value
        self._where = where

    def name(self, field: str) -> str:
        """The field's full name, for complaints."""
        return field if self._where == "body" else f"{self._where}.{field}"

    def get(self, field: str) -> object:
        """The value as it came; None where it is absent."""
        return self._values.get(field)

    def has(self, field: str) -> bool:
        """Whether the field is there. A null counts as a (wrong) value."""
        return field in self._values

    def text(self, field: str, longest: int, shortest: int = 0, pattern: str | None = None) -> str:
        """A string of bounded length that can be encoded and, given a pattern, matches it as a whole."""
        value = self._values.get(field)
        if not isinstance(value, str) or not shortest <= len(value) <= longest:
            raise InvalidRequest(
                f"{self.name(field)}: must be a string of {shortest} to {longest} characters"
            )
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise InvalidRequest(f"{self.name(field)}: has half a surrogate pair")
        if pattern is not None and not re.fullmatch(pattern, value):
            raise InvalidRequest(f"{self.name(field)}: has not the right form")
        return value

    def label(self, field: str, longest: int, shortest: int = 0) -> str:
        """A name as people see it: what one stranger says here, the terminal of another one shows."""
        value = self.text(field, longest, shortest)
        if not value.isprintable():
            raise InvalidRequest(f"{self.name(field)}: must have printable characters only")
        return value

    def number(self, field: str, low: float, high: float) -> float:
        """A finite number within the bounds, both included."""
        return check_number(self._values.get(field), self.name(field), low, high)

    def integer(self, field: str, low: int, high: int) -> int:
        """An integer within the bounds; 3.0 counts as 3, as JSON Schema has it."""
        value = self._values.get(field)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise InvalidRequest(f"{self.name(field)}: must be an integer from {low} to {high}")
        return value

    def boolean(self, field: str) -> bool:
        """True or false, nothing that resembles them."""
        value = self._values.get(field)
        if not isinstance(value, bool):
            raise InvalidRequest(f"{self.name(field)}: must be true or false")
        return value

    def uuid(self, field: str) -> UUID:
        """A UUID in its hyphenated form."""
        return parse_uuid(self._values.get(field), self.name(field))

    def each(self, field: str, most: int, parse: Callable[[object, str], T]) -> tuple[T, ...]:
        """Every element of an array, parsed; an absent field is an empty array."""
        values = self._values.get(field, [])
        if not isinstance(values, list) or len(values) > most:
            raise InvalidRequest(f"{self.name(field)}: must be an array of at most {most} elements")
        return tuple(parse(value, f"{self.name(field)}[{index}]") for index, value in enumerate(values))
