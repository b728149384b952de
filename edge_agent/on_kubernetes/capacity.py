"""Whether the cluster takes guests, what it has for them and how busy it is. Looked at by the thread of
`deployments/readiness.py`; the roots' threads are told what was seen. Calls the API server.

A cloudlet of many nodes is as busy as the node with the most room, where the next guest would go, and has
what its most capable node has: a guest runs on one node. How much is used the cluster's metrics server says,
if it has one; else what pods ask for stands for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from edge_agent.deployments.requirements import Hardware
from edge_agent.errors import AgentError, Unavailable
from edge_agent.on_kubernetes.api import Api, Refused
from edge_agent.on_kubernetes.nodes import Amount, Node, asked, read_node, used
from edge_agent.on_kubernetes.placement import Placement
from edge_agent.wire import Resources

_LOG = logging.getLogger(__name__)

_NODES = "/api/v1/nodes"
_PODS = "/api/v1/pods"
_METRICS = "/apis/metrics.k8s.io/v1beta1/nodes"
_RUNNING = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"
_WEIGH_SECONDS = 60.0
"""Listing all pods of a cluster is not for nothing."""
_STALE_SECONDS = 180.0
_MOST_CORES = 4096


@dataclass(frozen=True)
class _Load:
    """What pods ask for and what nodes use, by the nodes' names, and since when it is known."""

    at: float = float("-inf")
    asked: Mapping[str, Amount] = field(default_factory=dict)
    used: Mapping[str, Amount] = field(default_factory=dict)


class Capacity:
    """The nodes for guests. `clock` is monotonic. `metrics` is a client of its own: a metrics server that
    asks not to be called for a while is not to keep us from the API server.
    """

    def __init__(self, api: Api, metrics: Api, placement: Placement, clock: Callable[[], float]) -> None:
        self._api = api
        self._metrics = metrics
        self._placement = placement
        self._clock = clock
        self._nodes: tuple[Node, ...] = ()
        self._known: tuple[Node, ...] = ()
        self._load = _Load()
        self._tried_at = float("-inf")
        self._failing = ""

    def check(self) -> str:
        """Why no guest could be run now, empty if one could; raises `Unavailable` where it can't tell."""
        try:
            found = self._api.items(_NODES, resourceVersion="0")
        except Refused as error:
            raise Unavailable(f"The nodes can't be read: {error}") from error
        nodes = (read_node(one, self._placement) for one in found)
        self._nodes = tuple(node for node in nodes if node is not None)
        self._known = self._nodes or self._known
        if self._clock() - self._tried_at >= _WEIGH_SECONDS:
            self._tried_at = self._clock()
            self._weigh()
        return "" if self._nodes else f"None of {len(found)} nodes takes guests now."

    def measure(self) -> Resources:
        """How busy the node with the most room is; nothing where that is not known."""
        load, nodes = self._load, self._nodes
        if not nodes or self._clock() - load.at > _STALE_SECONDS:
            return Resources({})
        best = max(
            nodes, key=lambda node: ((node.has - load.asked.get(node.name, Amount())).guests, node.name)
        )
        asked_there = load.asked.get(best.name, Amount())
        busy = load.used.get(best.name, asked_there)
        parts = {
            "cpu_ratio": (busy.cpu_millis, best.has.cpu_millis),
            "mem_ratio": (busy.memory_bytes, best.has.memory_bytes),
            "gpu_ratio": (100 * asked_there.gpus, best.has.gpus),
        }
        return Resources.of({name: part / whole for name, (part, whole) in parts.items() if whole})

    def hardware(self) -> Hardware:
        """What the most capable node has: one with a GPU before all others. Where none takes guests now, what
        the last ones had.
        """
        if not self._known:
            return Hardware()
        best = max(
            self._known, key=lambda node: (node.has.gpus > 0, node.has.memory_bytes, node.has.cpu_millis)
        )
        cores = min(max(best.has.cpu_millis // 1000, 1), _MOST_CORES)
        return Hardware(cores, best.has.memory_bytes or None, best.gpu)

    def _weigh(self) -> None:
        try:
            pods = self._api.items(_PODS, fieldSelector=_RUNNING, resourceVersion="0")
        except AgentError as error:
            if str(error) != self._failing:
                _LOG.warning("how busy the nodes are can't be told", extra={"reason": str(error)})
            self._failing = str(error)
            return
        self._failing = ""
        self._load = _Load(self._clock(), asked(pods), self._usage())

    def _usage(self) -> dict[str, Amount]:
        """What nodes use, where there is a metrics server that says so."""
        try:
            return used(self._metrics.items(_METRICS))
        except AgentError as error:
            _LOG.debug("no metrics server", extra={"reason": str(error)})
            return {}
