"""Kilo as the gateway, on a cluster that runs it: a Peer object for each device instead of an interface of
the agent's own. Called through the `Gateway` protocol of `deployments/routes.py` and by `agent.py`; calls the
API server and, for signs of life, `tunnels/peer_metrics.py`.

Kilo's own agent makes WireGuard peers of these objects on the nodes, and nodes lead devices to the addresses
of Services; which pods a device reaches, the network policies of `guards.py` say. Where devices enter is told
by annotations of nodes. Objects of others are never touched: where one has a device's key or address, that
device gets no tunnel.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address
from typing import Any, Protocol
from uuid import UUID

from edge_agent.deployments.leases import Activity
from edge_agent.deployments.routes import Peer
from edge_agent.deployments.site import Entrance
from edge_agent.errors import Unavailable
from edge_agent.on_kubernetes.api import Object, Refused
from edge_agent.on_kubernetes.kilo_objects import (
    PeerObject,
    choose_node,
    cluster_address,
    peer_name,
    peer_object,
)
from edge_agent.on_kubernetes.namespaces import MANAGER
from edge_agent.tunnels.kilo_settings import KiloSettings

_LOG = logging.getLogger(__name__)

GROUP = "/apis/kilo.squat.ai/v1alpha1"
PEERS = f"{GROUP}/peers"
_MERGE = "application/merge-patch+json"
LOOK_SECONDS = 60.0
"""Peers that somebody else changed, and nodes that devices enter at, are looked for so often."""

Wanted = Mapping[bytes, frozenset[IPv4Address]]
"""Devices' keys, each with the addresses that it may send from."""


class Api(Protocol):
    """What is needed of the API server's client; its methods raise `Refused` and `Unavailable`."""

    def call(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", **query: str
    ) -> Object:
        """The answer's object."""

    def items(self, path: str, **query: str) -> list[Object]:
        """All objects of a list."""


class KiloGateway:
    """Kilo's tunnels, with the devices of one agent as peers. `told` gives signs of life by device key, None
    where nothing tells; `check` raises `Unavailable` where another agent of this identity works now; `clock`
    is monotonic. Safe between threads.
    """

    def __init__(
        self,
        agent: UUID,
        api: Api,
        settings: KiloSettings,
        told: Callable[[], Mapping[bytes, Activity]] | None,
        clock: Callable[[], float],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._agent = agent
        self._api = api
        self._settings = settings
        self._told = told
        self._clock = clock
        self._check = check
        self._guard = threading.Lock()
        self._is_up = True
        self._wanted: Wanted | None = None  # None: whatever an earlier run left
        self._is_set = False
        self._looked_at = float("-inf")
        self._entrance: Entrance | None = None
        self._refused: set[bytes] = set()

    def entrance(self) -> Entrance:
        """Where devices enter now; raises `Unavailable` before `up`."""
        if self._entrance is None:
            raise Unavailable("Kilo's nodes were not looked at yet.")
        return self._entrance

    def up(self) -> None:
        """Find out where devices enter; raises `Unavailable`. Peers of an earlier run stay until `sync`."""
        with self._guard:
            self._is_up = True
            self._entrance = self._look()

    def down(self) -> None:
        """Remove all Peers of this agent, as far as that is possible."""
        with self._guard:  # a late sync must not bring them back
            self._is_up = self._is_set = False
            try:
                self._set({})
            except Unavailable as error:
                _LOG.warning("Kilo's Peers stay", extra={"reason": str(error)})

    def sync(self, peers: Sequence[Peer]) -> None:
        """Make these the Peers of this agent, and no others; where their ports lead is the cluster's affair.

        Raises `Unavailable`: also for a new device whose key or address a Peer of somebody else has; all
        others are set then. One that stood before somebody else's came only stands without.
        """
        with self._guard:
            if not self._is_up:
                raise Unavailable("the gateway is down")
            before, self._wanted = self._wanted, _want(peers)
            if self._is_set and before == self._wanted:
                return
            self._is_set = False
            clashes = self._set(self._wanted)
            self._is_set = True
        fresh = [text for key, text in clashes.items() if before is not None and key not in before]
        if fresh:
            raise Unavailable(fresh[0])

    def activity(self) -> Mapping[bytes, Activity]:
        """Signs of life by device key, as far as something tells; raises `Unavailable`. Now and then Peers
        and nodes are looked at again.
        """
        with self._guard:
            if self._is_up and self._clock() - self._looked_at >= LOOK_SECONDS:
                self._look_after()
        return self._told() if self._told and self._wanted else {}

    def _look_after(self) -> None:
        """Set right what somebody else changed, and follow Kilo where devices enter elsewhere now."""
        try:
            self._entrance = self._look()
            if self._is_set and self._wanted is not None:
                self._set(self._wanted)
        except Unavailable as error:
            self._is_set = False
            _LOG.warning("Kilo can't be looked after", extra={"reason": str(error)})

    def _set(self, wanted: Wanted) -> dict[bytes, str]:
        """Create, change and delete Peers; returns which devices got none, and why."""
        self._check()
        there = self._peers()
        mine = {one.name: one for one in there if one.mine}
        names = {key: peer_name(self._agent, key) for key in wanted}
        for one in mine.values():  # first: no address is two Peers'
            if one.name not in names.values():
                self._delete(one)
        clashes = {}
        others = [one for one in there if not one.mine]
        for key in sorted(wanted, key=lambda key: names[key] not in mine):  # what is given up, comes first
            addresses, found = wanted[key], mine.get(names[key])
            body = peer_object(self._agent, key, addresses)
            if found is not None and (found.key, found.blocks) == (
                key,
                frozenset(body["spec"]["allowedIPs"]),
            ):
                continue
            taken = next((one for one in others if one.takes(key, addresses)), None)
            if taken is not None:
                clashes[key] = (
                    f"The Kilo Peer {taken.name}, which is not of this agent, has its key or address."
                )
            elif not self._send(found, body):
                clashes[key] = f"There is a Kilo Peer {names[key]} that is not of this agent."
        self._tell(clashes)
        self._looked_at = self._clock()
        return clashes

    def _tell(self, clashes: Mapping[bytes, str]) -> None:
        for key in clashes.keys() - self._refused:
            _LOG.warning("a device has no tunnel", extra={"reason": clashes[key]})
        self._refused = set(clashes)

    def _peers(self) -> list[PeerObject]:
        try:
            return [PeerObject.read(item, self._agent) for item in self._api.items(PEERS)]
        except Refused as error:
            if error.status == 404:
                raise Unavailable("This cluster has no Kilo: it knows no peers.kilo.squat.ai.", 60) from error
            raise Unavailable(f"Kilo's Peers can't be read: {error}") from error

    def _send(self, found: PeerObject | None, body: Object) -> bool:
        """Create or change it; False where one of this name is not ours."""
        try:
            if found is None:
                self._api.call("POST", PEERS, body, fieldManager=MANAGER)
            else:
                path = f"{PEERS}/{found.name}"
                same = {"metadata": {"uid": found.uid}, "spec": body["spec"]}
                self._api.call("PATCH", path, same, _MERGE, fieldManager=MANAGER)
        except Refused as error:
            if error.status == 409:
                return False
            raise Unavailable(f"The Kilo Peer {body['metadata']['name']} can't be set: {error}") from error
        return True

    def _delete(self, one: PeerObject) -> None:
        only = {"preconditions": {"uid": one.uid}}
        try:
            self._api.call("DELETE", f"{PEERS}/{one.name}", only)
        except Refused as error:
            if error.status not in (404, 409):  # gone, or another one of the same name
                raise Unavailable(f"The Kilo Peer {one.name} can't be removed: {error}") from error

    def _look(self) -> Entrance:
        try:
            found = self._api.items(
                f"/api/v1/namespaces/{self._settings.namespace}/services",
                fieldSelector=f"metadata.name={self._settings.service}",
            )
            nodes = self._api.items("/api/v1/nodes")
        except Refused as error:
            raise Unavailable(f"Kilo's nodes can't be read: {error}") from error
        key, endpoint = choose_node(nodes, self._settings.node, self._settings.endpoint)
        address = cluster_address(found[0]) if found else None
        if address is None:
            named = f"{self._settings.namespace}/{self._settings.service}"
            raise Unavailable(f"The Service {named} of --kilo-service is not there, or has no IPv4 address.")
        return Entrance(key, endpoint, address)


def _want(peers: Sequence[Peer]) -> Wanted:
    wanted: dict[bytes, frozenset[IPv4Address]] = {}
    for peer in peers:
        wanted[peer.key] = wanted.get(peer.key, frozenset()) | {peer.device}
    return wanted
