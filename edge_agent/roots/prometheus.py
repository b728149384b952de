"""How busy this cloudlet is, by a Prometheus server's instant queries. Made by `membership.py`, asked by
`roots.py`.

A query that fails leaves its value out: absent is not idle.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType

import requests

from edge_agent.promql import Server
from edge_agent.wire import Resources

_LOG = logging.getLogger(__name__)

_ALL_SECONDS = 6.0
"""Then no further query is asked: a keepalive waits for the answers."""

QUERIES: Mapping[str, str] = MappingProxyType(
    {
        "cpu_ratio": '1 - avg(rate(node_cpu_seconds_total{mode="idle"}[1m]))',
        "mem_ratio": "1 - sum(node_memory_MemAvailable_bytes) / sum(node_memory_MemTotal_bytes)",
        "net_rx_rate": 'sum(rate(node_network_receive_bytes_total{device!~"lo|veth.*|podman.*|cni.*"}[1m]))',
        "net_tx_rate": 'sum(rate(node_network_transmit_bytes_total{device!~"lo|veth.*|podman.*|cni.*"}[1m]))',
        "gpu_ratio": "avg(DCGM_FI_DEV_GPU_UTIL)",
    }
)
"""Over node-exporter's metrics and, for the GPU, those of NVIDIA's DCGM exporter; by the published names."""


class Prometheus:
    """The server at a URL, below which is `/api/v1/query`. `clock` is monotonic, in seconds."""

    def __init__(
        self,
        url: str,
        session: requests.Session,
        clock: Callable[[], float],
        queries: Mapping[str, str] = QUERIES,
    ) -> None:
        self._server = Server(url, session)
        self._clock = clock
        self._queries = queries
        self._failing: dict[str, str] = {}

    def measure(self) -> Resources:
        """Ask each query; what fails is left out, and so are all others once the server is not there."""
        end = self._clock() + _ALL_SECONDS
        measured: dict[str, float] = {}
        for name, query in self._queries.items():
            try:
                measured[name] = self._server.ask(query)[0][1]
            except requests.ConnectionError as error:  # also a connection that takes too long
                self._tell(name, type(error).__name__)
                break
            except (requests.RequestException, ValueError) as error:
                if query != QUERIES["gpu_ratio"]:  # most have no GPU
                    self._tell(name, str(error)[:200])
            else:
                self._failing.pop(name, None)
            if self._clock() >= end:
                break
        return Resources.of(measured)

    def _tell(self, name: str, reason: str) -> None:
        """Log what fails, once for as long as it fails in the same way."""
        if self._failing.get(name) != reason:
            self._failing[name] = reason
            _LOG.warning("Prometheus does not say", extra={"value": name, "reason": reason})
