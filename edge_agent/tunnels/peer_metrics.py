"""Which WireGuard peers are there, by the metrics of an exporter beside somebody else's interface: what Kilo
itself does not tell. Asked by `on_kubernetes/kilo.py`.

The names are those of the Prometheus WireGuard exporter that Kilo's own manifests install. A device may be a
peer of several nodes: its last handshake counts, and all of its bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import requests

from edge_agent.deployments.leases import Activity
from edge_agent.errors import InvalidRequest, Unavailable
from edge_agent.fields import parse_application_key
from edge_agent.promql import Server

HANDSHAKE = "max by (public_key) (wireguard_latest_handshake_seconds)"
"""Seconds since 1970, 0 for none."""
RECEIVED = "sum by (public_key) (wireguard_received_bytes_total)"
SENT = "sum by (public_key) (wireguard_sent_bytes_total)"
_MOST_BYTES = 8 << 20
"""Some 50,000 peers."""
_PAUSE_SECONDS = 30.0
"""A server that fails is left alone for so long: the upkeep has more to do than to wait for it."""


class PeerMetrics:
    """The peers as a Prometheus server knows them. `clock` is monotonic."""

    def __init__(self, url: str, session: requests.Session, clock: Callable[[], float]) -> None:
        self._server = Server(url, session, _MOST_BYTES)
        self._clock = clock
        self._trouble = ""
        self._asked_again_at = float("-inf")

    def activity(self) -> dict[bytes, Activity]:
        """Signs of life of the peers that all three metrics tell of; raises `Unavailable`."""
        if self._clock() < self._asked_again_at:
            raise Unavailable(self._trouble)
        try:
            handshakes, received, sent = (self._by_key(query) for query in (HANDSHAKE, RECEIVED, SENT))
        except (requests.RequestException, ValueError) as error:
            self._trouble = f"Prometheus does not say which devices are there: {str(error)[:200]}"
            self._asked_again_at = self._clock() + _PAUSE_SECONDS
            raise Unavailable(self._trouble) from error
        known = handshakes.keys() & received.keys() & sent.keys()
        return {key: Activity(handshakes[key], received[key], sent[key]) for key in known}

    def _by_key(self, query: str) -> Mapping[bytes, int]:
        found: dict[bytes, int] = {}
        for labels, value in self._server.ask(query):
            try:
                found[parse_application_key(labels["public_key"])] = int(value)
            except (LookupError, TypeError, InvalidRequest):
                continue
        return found
