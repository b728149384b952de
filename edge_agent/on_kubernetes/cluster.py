"""Backends on Kubernetes, behind the port of `deployments/runtime.py`: what changes the cluster. Calls the
API server through `api.py`; `sight.py` reads there, `namespaces.py` and `guards.py` say what is made,
`refusals.py` what it means that something is refused.

One namespace for each deployment is the record: making it is atomic, and deleting it deletes everything.
Objects are sent by server-side apply, so that doing it again is harmless.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from ipaddress import IPv4Network
from typing import Any
from uuid import UUID

from edge_agent.deployments.addresses import SHARED
from edge_agent.deployments.records import ADDRESSES, AGENT_LABEL, Observed, Record, write_addresses
from edge_agent.errors import AgentError, Conflict, DeployFailed, Unavailable
from edge_agent.on_kubernetes import events, guards, namespaces
from edge_agent.on_kubernetes.api import (
    APPLY,
    OWN_NAMESPACE,
    Api,
    Object,
    Refused,
    context_namespace,
    open_api,
)
from edge_agent.on_kubernetes.kilo_objects import cluster_address
from edge_agent.on_kubernetes.lock import Lock
from edge_agent.on_kubernetes.machines import Machines
from edge_agent.on_kubernetes.namespaces import MANAGER
from edge_agent.on_kubernetes.placement import Placement
from edge_agent.on_kubernetes.refusals import refusals
from edge_agent.on_kubernetes.sight import Sight
from edge_agent.recipes.limits import Limits
from edge_agent.recipes.manifests import Manifest

_LOG = logging.getLogger(__name__)

_MERGE = "application/merge-patch+json"
_GONE_SECONDS = 60.0
_STUCK_SECONDS = 1.0
_QUOTA_SECONDS = 10.0
_PLURALS = {
    "ConfigMap": "configmaps",
    "Deployment": "deployments",
    "Lease": "leases",
    "LimitRange": "limitranges",
    "NetworkPolicy": "networkpolicies",
    "Pod": "pods",
    "ResourceQuota": "resourcequotas",
    "Secret": "secrets",
    "Service": "services",
    "ServiceAccount": "serviceaccounts",
    "StatefulSet": "statefulsets",
}


class KubernetesRuntime:
    """The runtime port on Kubernetes. `sleep` waits so many seconds, `clock` is monotonic.

    `gateways` are network-policy peers from where the gateway sends; where services have addresses of their
    own, devices come from `tunnels` instead. Guests are kept from the agent's `addresses` and from nodes'.
    `lock` lets one agent of this identity work at a time: whoever made this has to claim it; None where no
    other agent can be.
    """

    def __init__(
        self,
        agent: UUID,
        api: Api,
        gateways: Sequence[Mapping[str, Any]],
        lease_seconds: int,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], object],
        now: Callable[[], datetime],
        lock: Lock | None = None,
        placement: Placement | None = None,
        tunnels: IPv4Network = SHARED,
        addresses: Sequence[str] = (),
    ) -> None:
        self._tunnels = tunnels
        self._agent = agent
        self._api = api
        self._gateways = gateways
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._sleep = sleep
        self._now = now
        self.lock = lock
        self._placement = placement or Placement()
        self._sight = Sight(agent, api, clock)
        self._machines = Machines(api, addresses, clock)
        self._fenced: dict[str, Collection[Any]] = {}  # from which machines, by this run

    def close(self) -> None:
        """Stop what follows the cluster."""
        self._sight.close()

    def records(self) -> list[Record]:
        """The records of this agent; a namespace that is being deleted is none."""
        return [record for record, _ in self._sight.records()]

    def create(self, record: Record) -> None:
        """Make the namespace that is the record."""
        self._check_lock()
        body = namespaces.namespace(record, self._agent)
        try:
            self._api.call("POST", "/api/v1/namespaces", body, fieldManager=MANAGER)
        except Refused as error:
            if error.status == 409:
                raise Conflict(f"{record.home} exists already") from error
            raise Unavailable(f"Kubernetes can't make a namespace: {error}") from error

    def address(self, record: Record, manifests: Sequence[Manifest]) -> Record:
        """Make the services and note the addresses that the cluster gave them."""
        self._check_lock()
        labels, given = record.labels(self._agent), {}
        with refusals():
            for manifest in manifests:
                name = manifest["metadata"]["name"]
                if manifest["kind"] == "Service" and name in record.ports:
                    made = self._apply(record, namespaces.labelled(manifest, labels))
                    address = cluster_address(made)
                    if address is not None:
                        given[name] = address
            if not given:
                raise DeployFailed(
                    "None of its services has an IPv4 address of its own, which Kilo leads to."
                )
            self._note(record, {ADDRESSES: write_addresses(given)})
        return replace(record, addresses=given)

    def apply(self, record: Record, manifests: Sequence[Manifest], limits: Limits) -> None:
        """Send the guards, then the app."""
        self._check_lock()
        labels = record.labels(self._agent)
        with refusals():
            self._note(record, {namespaces.RESTING: None})
            machines = self._machines.addresses()
            for guard in guards.guards(self._policy(record, manifests, machines), limits):
                self._apply(record, guard)
            self._fenced[record.home] = machines
            self.touch(record)
            self._await_quota(record)
            for manifest in guards.limited(namespaces.addressed(manifests, record), limits):
                self._apply(record, self._placement.place(namespaces.labelled(manifest, labels)))

    def _policy(self, record: Record, manifests: Sequence[Manifest], machines: Collection[Any]) -> Manifest:
        if record.addresses is None:
            return guards.behind_gateway(self._gateways, machines)
        return guards.for_device(record.device, manifests, self._tunnels, machines)

    def rest(self, record: Record) -> None:
        """Delete the workloads, see to it that their pods end, and note it at the namespace: a rest that is
        cut short is none.
        """
        self._check_lock()
        path = f"/api/v1/namespaces/{record.home}"
        mine = {"labelSelector": f"{AGENT_LABEL}={self._agent}"}
        deadline = self._clock() + _GONE_SECONDS
        try:
            for plural in ("deployments", "statefulsets"):
                self._api.call("DELETE", f"/apis/apps/v1/namespaces/{record.home}/{plural}", **mine)
            while any(not _ends(pod) for pod in self._api.items(f"{path}/pods", **mine)):
                if self._clock() > deadline:
                    raise Unavailable(f"The pods of {record.home} don't end.")
                self._api.call("DELETE", f"{path}/pods", {"gracePeriodSeconds": 1}, **mine)
                self._sleep(0.2)  # what made them may make one more before it goes itself
            self._note(record, {namespaces.RESTING: "true"})
        except Refused as error:
            if error.status != 404:
                raise Unavailable(f"Kubernetes can't let {record.home} rest: {error}") from error

    def tell(self, record: Record, reason: str, text: str) -> None:
        """An event on the namespace, and the same as an annotation."""
        now = self._now()
        try:
            path = f"/api/v1/namespaces/{record.home}/events"
            self._api.call("POST", path, events.event(record, reason, text, now))
            self._note(record, events.last_word(reason, text, now))
        except AgentError as error:
            _LOG.debug("not told", extra={"deployment": record.name, "reason": str(error)})

    def observe(self, records: Sequence[Record]) -> Mapping[str, Observed]:
        """What the API server says of pods, services and their endpoints."""
        return self._sight.observe(records)

    def touch(self, record: Record) -> None:
        """Renew the lease object, for people and other programs to see. What an earlier run left, which may
        have sent from other addresses, is fenced anew, and all is where nodes' addresses changed.
        """
        try:
            if record.addresses is None:
                self._fence(record)
            self._apply(record, namespaces.lease(record, self._agent, self._lease_seconds, self._now()))
        except Refused as error:
            raise Unavailable(f"The lease can't be renewed: {error}") from error

    def _fence(self, record: Record) -> None:
        machines = self._machines.addresses()
        if self._fenced.get(record.home) != machines:
            self._check_lock()
            self._apply(record, guards.fence(guards.behind_gateway(self._gateways, machines)))
            self._fenced[record.home] = machines

    def delete(self, record: Record) -> None:
        """Delete the namespace, and wait until it is gone; one that another agent made is left alone.

        Where it was being deleted already, it is not waited for: what holds it up may do so for days.
        """
        self._check_lock()
        path = f"/api/v1/namespaces/{record.home}"
        try:
            metadata = self._api.call("GET", path).get("metadata") or {}
            if (metadata.get("labels") or {}).get(AGENT_LABEL) != str(self._agent):
                return
            if not metadata.get("deletionTimestamp"):
                only = {"preconditions": {"uid": metadata.get("uid")}}
                self._api.call("DELETE", path, {"propagationPolicy": "Background", **only})
                # Left to itself, that begins after five seconds and then waits for each pod's grace period.
                self._api.call("DELETE", f"{path}/pods", {"gracePeriodSeconds": 1})
            self._await_end(path, _STUCK_SECONDS if metadata.get("deletionTimestamp") else _GONE_SECONDS)
        except Refused as error:
            if error.status == 404:
                self._sight.forget(record)
                return
            if error.status != 409:  # it is being deleted already
                raise Unavailable(f"Kubernetes can't remove {record.home}: {error}") from error
        raise Unavailable(f"{record.home} is still being removed.")

    def sweep(self, kept: Collection[str]) -> None:
        """Nothing: what is not in a namespace does not exist."""

    def _check_lock(self) -> None:
        if self.lock is not None:
            self.lock.check()

    def _await_end(self, path: str, seconds: float) -> None:
        """Wait for the namespace's end, a `Refused` with 404; raise `Unavailable` with what holds it up."""
        deadline = self._clock() + seconds
        while True:
            found = self._api.call("GET", path)
            if self._clock() >= deadline:
                raise Unavailable(f"{path.rsplit('/', 1)[-1]} is still being removed{_holdup(found)}.", 60)
            self._sleep(0.2)

    def _note(self, record: Record, notes: Mapping[str, str | None]) -> None:
        """Set annotations of the namespace; None takes one away."""
        body = {"metadata": {"annotations": notes}}
        self._api.call("PATCH", f"/api/v1/namespaces/{record.home}", body, _MERGE)

    def _apply(self, record: Record, manifest: Manifest) -> Object:
        group = manifest["apiVersion"]
        root = "/api/v1" if group == "v1" else f"/apis/{group}"
        name = manifest["metadata"]["name"]
        path = f"{root}/namespaces/{record.home}/{_PLURALS[manifest['kind']]}/{name}"
        return self._api.call("PATCH", path, manifest, APPLY, fieldManager=MANAGER, force="true")

    def _await_quota(self, record: Record) -> None:
        """Until the quota is counted, pods are refused."""
        path = f"/api/v1/namespaces/{record.home}/resourcequotas/{guards.QUOTA}"
        deadline = self._clock() + _QUOTA_SECONDS
        while self._clock() < deadline:
            if (self._api.call("GET", path).get("status") or {}).get("hard"):
                return
            self._sleep(0.05)


def connect(
    agent: UUID,
    kubeconfig: str | None,
    addresses: Sequence[str],
    lease_seconds: float,
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], object],
    now: Callable[[], datetime],
    holder: str = "",
    placement: Placement | None = None,
    tunnels: IPv4Network = SHARED,
) -> KubernetesRuntime:
    """The runtime on the cluster of `kubeconfig`, else of the pod that we are in, else of ~/.kube/config.

    `addresses` are those from which the gateway sends, as pods see them. `holder` names this installation
    for the lock of its identity; empty for none. `placement` is where guests run; None for anywhere.
    `tunnels` is where devices come from that nodes lead to pods. Raises `SettingsError`.
    """
    api = open_api(kubeconfig, clock=clock, sleep=sleep)
    own = own_namespace() if kubeconfig is None else None
    place = own or context_namespace(kubeconfig)
    lock = Lock(api, place, agent, holder, clock=clock, now=now) if holder else None
    peers = guards.gateway_peers(addresses, own)
    return KubernetesRuntime(
        agent,
        api,
        peers,
        round(lease_seconds),
        clock=clock,
        sleep=sleep,
        now=now,
        lock=lock,
        placement=placement,
        tunnels=tunnels,
        addresses=addresses,
    )


def own_namespace() -> str | None:
    """The namespace of the pod that we are in, if we are in one."""
    with suppress(OSError):
        return OWN_NAMESPACE.read_text().strip() or None
    return None


def _ends(pod: Object) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def _holdup(namespace: Object) -> str:
    """What keeps a namespace from ending, in Kubernetes' words."""
    conditions = (namespace.get("status") or {}).get("conditions") or []
    said = [
        str(condition.get("message"))
        for condition in conditions
        if condition.get("status") == "True" and condition.get("message")
    ]
    return f": {' '.join(said)[:400]}" if said else ""
