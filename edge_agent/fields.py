"""Single values as they come over the wire: each function returns the value or raises `InvalidRequest`.

Called by `wire.py` (JSON), `api.py` and `tunnel_api.py` (path, query, headers). Calls nothing.
JSON's `true` is an `int` to Python and `NaN` a `float`: both are refused where a number is asked for.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any
from uuid import UUID

from edge_agent.errors import InvalidRequest

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_DECIMAL = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
KEY_BYTES = 32


def parse_uuid(text: str, field: str) -> UUID:
    """A UUID in its usual form with four dashes."""
    if not _UUID.fullmatch(text):
        raise InvalidRequest(f"{field}: must be a UUID such as 00000000-0000-0000-0000-000000000000")
    return UUID(text)


def parse_application_key(text: str) -> bytes:
    """The 32 bytes of a WireGuard public key in any encoding that WIRE.md lists.

    64 hexadecimal digits; standard or URL-safe base64, padded or not.
    """
    if re.fullmatch(r"[0-9a-fA-F]{64}", text):
        return bytes.fromhex(text)
    body = text.removesuffix("=").replace("-", "+").replace("_", "/")
    if re.fullmatch(r"[A-Za-z0-9+/]{43}", body):
        try:
            key = base64.b64decode(body + "=", validate=True)
        except (binascii.Error, ValueError) as error:  # pragma: no cover  (43 characters always decode)
            raise InvalidRequest("application_key: is not base64") from error
        if len(key) == KEY_BYTES and format_key(key) == body + "=":
            return key
    raise InvalidRequest(
        "application_key: must be 32 bytes, as base64 (43 or 44 characters, standard or URL-safe) "
        "or as 64 hexadecimal digits"
    )


def format_key(key: bytes) -> str:
    """The key as in JSON: padded standard base64, 44 characters."""
    return base64.b64encode(key).decode("ascii")


def parse_digest(value: Any, field: str) -> str:
    """`sha256:` and 64 hexadecimal digits in lower case."""
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise InvalidRequest(f"{field}: must be sha256: and 64 hexadecimal digits")
    return value


def parse_results(text: str | None) -> int:
    """How many targets are wanted: 1 to 3 (more counts as 3); absent is 1."""
    if text is None:
        return 1
    if not re.fullmatch(r"\+?[0-9]{1,9}", text) or int(text) < 1:
        raise InvalidRequest("results: must be an integer of at least 1")
    return min(int(text), 3)


def parse_wait(text: str | None, default: float) -> float:
    """Seconds, 0 to 25, for which an answer may be held back."""
    if text is None:
        return default
    value = _decimal(text)
    if value is None or not 0 <= value <= 25:
        raise InvalidRequest("wait: must be a number of seconds from 0 to 25")
    return value


def parse_location_header(text: str | None) -> tuple[float, float] | None:
    """`X-Location: latitude,longitude` in degrees."""
    if text is None:
        return None
    parts = [_decimal(part.strip()) for part in text.split(",")]
    if len(text) > 64 or len(parts) != 2 or parts[0] is None or parts[1] is None:
        raise InvalidRequest("X-Location: must be latitude,longitude in degrees, such as 40.44,-79.94")
    latitude, longitude = parts[0], parts[1]
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        raise InvalidRequest("X-Location: latitude goes from -90 to 90, longitude from -180 to 180")
    return latitude, longitude


def parse_client_ip(text: str | None) -> str | None:
    """`X-ClientIP`: one IP address."""
    if text is None:
        return None
    try:
        return str(ip_address(text.strip()))
    except ValueError as error:
        raise InvalidRequest("X-ClientIP: must be an IP address") from error


def parse_body(body: bytes) -> dict[str, Any]:
    """A request's JSON object; an empty body is an empty object."""
    if not body.strip():
        return {}
    return parse_json(body, "body")


def parse_json(body: bytes, field: str) -> dict[str, Any]:
    """A JSON object without NaN and infinities."""
    return as_object(parse_value(body, field), field)


def parse_value(body: bytes, field: str) -> Any:
    """A JSON value without NaN and infinities."""
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except InvalidRequest:
        raise
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{field}: is not valid JSON") from error


def as_object(value: Any, field: str) -> dict[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise InvalidRequest(f"{field}: must be a JSON object")
    return value


def number(data: Mapping[str, Any], name: str, low: float, high: float) -> float | None:
    """A finite number between two limits, or None where it is absent."""
    value = data.get(name)
    if name not in data:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InvalidRequest(f"{name}: must be a number from {low:g} to {high:g}")
    return float(value)


def integer(data: Mapping[str, Any], name: str, low: int, high: int) -> int | None:
    """An integer between two limits, or None where it is absent (1.0 counts, as in JSON Schema)."""
    value = number(data, name, low, high)
    if value is None:
        return None
    if not float(data[name]).is_integer():
        raise InvalidRequest(f"{name}: must be an integer")
    return int(data[name])


def text(data: Mapping[str, Any], name: str, longest: int) -> str | None:
    """A string up to a length, or None where it is absent."""
    if name not in data:
        return None
    value = data[name]
    if not isinstance(value, str) or len(value) > longest:
        raise InvalidRequest(f"{name}: must be a string of at most {longest} characters")
    return value


def network(value: str, field: str) -> IPv4Network | IPv6Network:
    """A CIDR block; host bits are cleared."""
    try:
        return ip_network(value, strict=False)
    except ValueError as error:
        raise InvalidRequest(f"{field}: {value[:60]!r} is not a network such as 192.0.2.0/24") from error


def _decimal(value: str) -> float | None:
    if len(value) > 32 or not _DECIMAL.fullmatch(value):
        return None
    result = float(value)
    return result if math.isfinite(result) else None


def _refuse_constant(name: str) -> Any:
    raise InvalidRequest(f"body: {name} is not a number in JSON")
