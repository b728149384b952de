"""The addresses of the cloudlet's own machines: the cluster's nodes, and the one that the agent runs on.
Guests are kept from them also where they are public. Called by `cluster.py`; calls the API server.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from edge_agent.on_kubernetes.api import Api, Refused

_LOG = logging.getLogger(__name__)

_LOOK_SECONDS = 300.0
_KINDS = ("InternalIP", "ExternalIP")

Address = IPv4Address | IPv6Address


class Machines:
    """`own` are the agent's addresses; `clock` is monotonic. Safe between threads."""

    def __init__(self, api: Api, own: Sequence[str], clock: Callable[[], float]) -> None:
        self._api = api
        self._own = frozenset(map(ip_address, own))
        self._clock = clock
        self._guard = threading.Lock()
        self._looked_at = float("-inf")
        self._nodes: frozenset[Address] = frozenset()

    def addresses(self) -> frozenset[Address]:
        """All that are known; nodes are looked at every few minutes. Raises `Unavailable`."""
        with self._guard:
            if self._clock() - self._looked_at >= _LOOK_SECONDS:
                self._look()
                self._looked_at = self._clock()
            return self._own | self._nodes

    def _look(self) -> None:
        try:
            nodes = self._api.items("/api/v1/nodes", resourceVersion="0")
        except Refused as error:
            _LOG.warning("guests are not kept from nodes' public addresses", extra={"reason": str(error)})
            return
        self._nodes = frozenset(address for node in nodes for address in node_addresses(node))


def node_addresses(node: Mapping[str, Any]) -> Iterator[Address]:
    """A node's addresses, as far as they are any."""
    status = node.get("status")
    listed = status.get("addresses") if isinstance(status, dict) else None
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict) and one.get("type") in _KINDS:
            try:
                yield ip_address(str(one.get("address")))
            except ValueError:
                continue
