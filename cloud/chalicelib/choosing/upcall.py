"""Asking an app's own matcher, which runs elsewhere: a Lambda function or an HTTPS endpoint.

Called by `chooser.py` within a `Budget`; calls `tables/lambda_caller.py` or `webcall.py`. The matcher learns
what it needs to choose and nothing that tells whose device asks: no key, the network instead of the address,
a place rounded to some ten kilometres.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Any, Protocol
from uuid import UUID

from chalicelib.accounts.apps import App
from chalicelib.choosing.budget import MatcherFailed
from chalicelib.choosing.matcher_names import Function, function_of
from chalicelib.choosing.matching import ClientInfo, client_distance_km, is_local
from chalicelib.errors import InvalidRequest, Unavailable
from chalicelib.fields import Address, Fields, Network, parse_json, parse_uuid
from chalicelib.fleet.cloudlets import Cloudlet
from chalicelib.fleet.geo import Location
from chalicelib.observing import trace_headers
from chalicelib.webcall import CallError, WebCaller

VERSION = 1
MOST_CANDIDATES = 64
GRACE_SECONDS = 0.5  # calls end themselves a little after nobody waits for them any more
_MOST_BYTES = 16384
_PLACE_DIGITS = 1  # of degrees: 11 km


class Functions(Protocol):
    """What an upcall needs of Lambda; see `tables/lambda_caller.py`."""

    def prepare(self, region: str) -> None:
        """Do what takes long the first time. Raises `Unavailable`."""

    def invoke(self, function: Function, payload: bytes, *, most_bytes: int) -> bytes:
        """The function's answer, within the caller's own time-out. Raises `Unavailable`."""


@dataclass(frozen=True, slots=True)
class Upcalls:
    """Calls to apps' own matchers."""

    functions: Functions
    caller: WebCaller

    def prepare(self, name: str) -> None:
        """Do what takes long the first time, outside the matcher's time. Raises `MatcherFailed`."""
        function = function_of(name)
        try:
            if function is not None:
                self.functions.prepare(function.region)
        except Unavailable as error:
            raise MatcherFailed("failed") from error

    def ask(self, name: str, question: bytes, seconds: float) -> list[UUID]:
        """The cloudlets that it chose, in its order. Raises `MatcherFailed`."""
        try:
            return parse_answer(self._call(name, question, seconds))
        except (CallError, Unavailable) as error:
            raise MatcherFailed("failed") from error
        except InvalidRequest as error:
            raise MatcherFailed("nonsense") from error

    def _call(self, name: str, question: bytes, seconds: float) -> bytes:
        function = function_of(name)
        if function is not None:
            return self.functions.invoke(function, question, most_bytes=_MOST_BYTES)
        headers = {"Content-Type": "application/json", "Accept": "application/json", **trace_headers()}
        answer = self.caller.call(
            "POST", name, headers, seconds=seconds + GRACE_SECONDS, most_bytes=_MOST_BYTES, body=question
        )
        if answer.status != 200:
            raise CallError(f"answered {answer.status}")
        return answer.body


def question_of(client: ClientInfo, app: App, candidates: Sequence[Cloudlet]) -> bytes:
    """As `MatcherQuestion` of the contract. Distances are from the rounded place and tell no more than it."""
    place = None if client.location is None else _rounded(client.location)
    blurred = replace(client, location=place)
    said: dict[str, Any] = {"network": str(network_of(client.ipaddress))}
    if place is not None:
        said["location"] = {"latitude": place.latitude, "longitude": place.longitude}
    question = {
        "version": VERSION,
        "app": str(app.uuid),
        "client": said,
        "candidates": [_candidate(blurred, each) for each in candidates],
    }
    return json.dumps(question).encode()


def network_of(address: Address) -> Network:
    """The network that stands for a client: a /24 or a /48."""
    return ip_network((address, 24 if address.version == 4 else 48), strict=False)


def _rounded(location: Location) -> Location:
    return Location(round(location.latitude, _PLACE_DIGITS), round(location.longitude, _PLACE_DIGITS))


def _candidate(client: ClientInfo, cloudlet: Cloudlet) -> dict[str, Any]:
    km = client_distance_km(client, cloudlet)
    measured = client.reach.measured.get(cloudlet.uuid)
    hardware = cloudlet.hardware
    known = {
        "distance_km": None if km is None else round(km),
        "rtt_ms": None if measured is None else round(measured.rtt_ms, 1),
        "throughput_mbps": None if measured is None else measured.throughput_mbps,
        "price": cloudlet.price,
        "jurisdiction": cloudlet.jurisdiction,
        "cores": hardware.cores,
        "memory_bytes": hardware.memory_bytes,
        "gpu": hardware.gpu,
    }
    return {
        "uuid": str(cloudlet.uuid),
        "local_network": is_local(client, cloudlet),
        "trust": cloudlet.trust.name.lower(),
        "resources": dict(cloudlet.resources),
        **{name: value for name, value in known.items() if value is not None},
    }


def parse_answer(answer: bytes) -> list[UUID]:
    """From `MatcherAnswer` of the contract."""
    fields = Fields(parse_json(answer), "answer")
    if not fields.has("candidates"):
        raise InvalidRequest("answer.candidates: is missing")
    return list(fields.each("candidates", MOST_CANDIDATES, parse_uuid))
