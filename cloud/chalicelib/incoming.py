"""Reading a request: its body, parameters, headers, and who sent it.

Called by `app.py`'s views with Chalice's request object. Complaints are `InvalidRequest`.
"""

import base64
import json
import re
from ipaddress import IPv6Address, ip_address
from typing import Any

from chalice.app import Request

from chalicelib.choosing.matching import ClientInfo
from chalicelib.deploying.agents import VIA
from chalicelib.errors import InvalidRequest, TooLarge
from chalicelib.fields import Address, Fields, Network, parse_json
from chalicelib.fleet.cloudlets import RowKey
from chalicelib.fleet.geo import Location
from chalicelib.keys import parse_application_key
from chalicelib.wire import DeviceContext, parse_header_location

MOST_BODY_BYTES = 65536
_MOST_ROWS = 1000
_MOST_NAMES = 100


def json_body(request: Request) -> Any:
    """The body's JSON, whatever its content type says."""
    return parse_json(raw_body(request))


def raw_body(request: Request) -> bytes:
    """The body as it was sent."""
    raw = request.raw_body
    body = raw.encode() if isinstance(raw, str) else bytes(raw)
    if len(body) > MOST_BODY_BYTES:
        raise TooLarge(f"The body has {len(body)} bytes; {MOST_BODY_BYTES} are allowed.")
    return body


def parameter(request: Request, name: str) -> str | None:
    """A query parameter, the last where it is repeated."""
    parameters = request.query_params
    return str(parameters[name]) if parameters is not None and name in parameters else None


def client_info(request: Request, key: bytes, trusted: tuple[Network, ...]) -> ClientInfo:
    """Who asks, and where it is: the location in a POST's body, else that of `X-Location`.

    The address is the peer's, or `X-ClientIP` where the peer is a trusted proxy. Addresses that a device
    claims in its body decide nothing: it could claim to be on anybody's network. A call that a root made is
    refused: answered, it would come back again and again.
    """
    if VIA in request.headers.get("via", ""):  # a cloudlet that gave a root's address as its own
        raise InvalidRequest("Via: a root is no cloudlet; it is not asked by roots")
    body = raw_body(request) if request.method == "POST" else b""
    context = DeviceContext.from_json(parse_json(body)) if body.strip() else DeviceContext()
    location = context.location or header_location(request)
    address = client_address(request, trusted)
    return ClientInfo(
        key,
        address,
        location,
        context.requirements,
        values=context.values,
        avoid=context.avoid,
        cloudlet=context.cloudlet,
    )


def application_key(request: Request) -> bytes:
    """The key at the end of the path; it may have slashes."""
    return parse_application_key((request.uri_params or {}).get("application_key", ""))


def bearer_token(request: Request) -> str | None:
    """The token of `Authorization: Bearer …`."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def page_limit(request: Request) -> int:
    """The `limit` parameter: at least 1, more than 1000 counts as 1000, absent is 100."""
    text = parameter(request, "limit")
    if text is None:
        return 100
    if not text.isascii() or not text.isdecimal() or not text.strip("0"):
        raise InvalidRequest("limit: must be an integer of at least 1")
    return _MOST_ROWS if len(text.lstrip("0")) > 4 else min(int(text), _MOST_ROWS)


def name_page(request: Request) -> tuple[int, str]:
    """`limit` and `after` of a list by names: at most 100 a page, and what the page before ended with."""
    after = parameter(request, "after") or ""
    if not re.fullmatch(r"[A-Za-z0-9-]{0,64}", after):
        raise InvalidRequest("after: must be what the page before gave")
    return min(page_limit(request), _MOST_NAMES), after


def if_match(request: Request) -> int | None:
    """The version of `If-Match: "<version>"`, as an `ETag` said it; None where it is absent."""
    text = request.headers.get("if-match")
    if text is None:
        return None
    found = re.fullmatch(r'"(\d{1,9})"', text.strip(), re.ASCII)
    if found is None:
        raise InvalidRequest('If-Match: must be the ETag of an answer, like "3"')
    return int(found[1])


def page_start(request: Request) -> RowKey | None:
    """The `after` parameter, as `page_cursor` made it."""
    text = parameter(request, "after")
    if text is None:
        return None
    try:
        fields = Fields(json.loads(base64.urlsafe_b64decode(text.encode())), "after")
        return RowKey(fields.text("cell", 100, 1), fields.text("place", 100, 1))
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("after: must be what the page before gave") from error


def page_cursor(key: RowKey) -> str:
    """Where the next page begins, opaque to callers."""
    return base64.urlsafe_b64encode(json.dumps({"cell": key.cell, "place": key.place}).encode()).decode()


def header_location(request: Request) -> Location | None:
    """The place of `X-Location`, if it is there."""
    text = request.headers.get("x-location")
    return None if text is None else parse_header_location(text)


def client_address(request: Request, trusted: tuple[Network, ...]) -> Address:
    """The peer's address, or what a trusted proxy says of its client."""
    peer = _plain(ip_address(request.context["identity"]["sourceIp"]))
    said = request.headers.get("x-clientip")
    if said is None or not any(peer in network for network in trusted):
        return peer
    try:
        return _plain(ip_address(said.strip()))
    except ValueError as error:
        raise InvalidRequest("X-ClientIP: must be an IPv4 or IPv6 address") from error


def _plain(address: Address) -> Address:
    """An IPv4 address in IPv6 clothes undressed; a zone taken off."""
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or IPv6Address(int(address))
    return address
