"""Pairing this device with a cloudlet nearby, by a code that the cloudlet shows.

Called by the app and `cli/pair.py`; calls `pairing_exchange.py`, `paired.py` and a cloudlet's two calls
for pairing.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from device_sdk.calls.st1 import Server
from device_sdk.errors import NoCloudletError, RequestError, TrustError
from device_sdk.fields import KEY_BYTES, WireError, printable
from device_sdk.keys import state_folder
from device_sdk.nearby.discovery import Nearby, discover
from device_sdk.nearby.identity import Identity, device_identity, uuid_of
from device_sdk.nearby.paired import PairedCloudlet, keep
from device_sdk.nearby.pairing_exchange import Exchange
from device_sdk.nearby.pairing_wire import MAX_NAME, PairingDone, PairingOffer, PairingProof, decoded
from device_sdk.wire import Health

BROWSE_SECONDS = 3.0
TIMEOUT_SECONDS = 10.0


class PairingServer(Protocol):
    """What is needed of a cloudlet: `st1.Server`."""

    def health(self, timeout: float) -> Health:
        """Who it is."""

    def begin_pairing(self, message: bytes, timeout: float) -> PairingOffer:
        """The first call."""

    def finish_pairing(self, session: str, proof: PairingProof, timeout: float) -> PairingDone:
        """The second call."""


def _server(url: str) -> PairingServer:
    return Server(url, what="cloudlet nearby", proxies=False)


@dataclass(frozen=True)
class PairingParts:
    """The world outside, replaceable."""

    state: Path
    server: Callable[[str], PairingServer] = _server
    discover: Callable[[], list[Nearby]] = lambda: discover(BROWSE_SECONDS, after_first=BROWSE_SECONDS)


def pair(
    where: str, code: str, *, name: str | None = None, parts: PairingParts | None = None
) -> PairedCloudlet:
    """Pair with the cloudlet at the URL or of the name `where`, by the `code` that it shows.

    `name` is what this device calls itself there. Raises `TrustError` where the cloudlet does not know the
    code, and the other errors of `errors.py`.
    """
    parts = parts or PairingParts(state_folder(os.environ))
    digits = re.sub(r"[ -]", "", code)
    if not re.fullmatch(r"[0-9]{6}", digits):
        raise RequestError("The code has six digits; the cloudlet shows it: sinfonia-agent pair.")
    called = printable(name if name is not None else socket.gethostname(), MAX_NAME)
    server = parts.server(_url(where, parts))
    identity, exchange = device_identity(parts.state), Exchange(digits)
    offer = server.begin_pairing(exchange.message, TIMEOUT_SECONDS)
    _confirm(server, exchange, offer, identity, called)
    cloudlet = PairedCloudlet(offer.key, server.health(TIMEOUT_SECONDS).name or "")
    keep(parts.state, cloudlet)
    return cloudlet


def _confirm(
    server: PairingServer, exchange: Exchange, offer: PairingOffer, identity: Identity, name: str
) -> None:
    exchange.hear(offer.message, identity.public, offer.key, name)
    proof = PairingProof(identity.public, name, exchange.confirmation)
    done = server.finish_pairing(offer.session, proof, TIMEOUT_SECONDS)
    if not exchange.confirms(done.confirmation):
        raise TrustError("What answered does not know the code; it is not the cloudlet that shows it.")


def pin(where: str, key: str, *, parts: PairingParts | None = None) -> PairedCloudlet:
    """Know the cloudlet `where` by its public key, as its operator hands it on. Raises as `pair`."""
    parts = parts or PairingParts(state_folder(os.environ))
    try:
        raw = decoded(key, "key", KEY_BYTES)
    except WireError as error:
        raise RequestError(
            "A cloudlet's key has 43 characters: sinfonia-agent pair --key prints it."
        ) from error
    health = parts.server(_url(where, parts)).health(TIMEOUT_SECONDS)
    if health.uuid != uuid_of(raw):
        raise TrustError("The cloudlet there has another key.")
    cloudlet = PairedCloudlet(raw, health.name or "")
    keep(parts.state, cloudlet)
    return cloudlet


def _url(where: str, parts: PairingParts) -> str:
    if where.startswith(("http://", "https://")):
        return where
    found = [one for one in parts.discover() if where in (one.health.name, str(one.health.uuid))]
    if not found:
        raise NoCloudletError(f"No cloudlet called {printable(where, 100)!r} is nearby; try its URL.")
    if len({one.health.uuid for one in found}) > 1:
        urls = ", ".join(one.base_url for one in found)
        raise RequestError(f"Several are called {printable(where, 100)!r}; say which, by its URL: {urls}.")
    return found[0].base_url
