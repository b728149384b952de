"""Checked manifests as pods for Podman: pure, called by `podman.py`.

Podman knows no Services, and what it names (pods, volumes) has no namespace. So each replica of a workload
becomes one pod, every name gets the deployment's before it, and what a Service would select is worked out
here: it becomes a label of the pod, where the agent finds it again after a restart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_agent.deployments.records import Record
from edge_agent.errors import DeployFailed
from edge_agent.on_podman.probes import container_port, read_probes, write_probes
from edge_agent.recipes.manifests import WORKLOADS, Manifest, pod_template

SERVES_LABEL = "sinfonia/serves"
CONTAINERS_LABEL = "sinfonia/containers"
INDEX_LABEL = "sinfonia/index"
PODS_LABEL = "sinfonia/pods"
PROBES_LABEL = "sinfonia/probes"
RESTING_LABEL = "sinfonia/resting"

MAX_PODS = 100
"""Pods of one deployment have the addresses from the tenth of its network on."""

Serves = Mapping[tuple[str, str, int], int]
"""A service's port (service, protocol, port) to the port of the pod."""


@dataclass(frozen=True)
class PodPlan:
    """One pod: its name and number within the deployment, its host name, and the names under which the
    others of its deployment know it besides its services'; labels; and its spec, checked.
    """

    name: str
    index: int
    hostname: str
    names: tuple[str, ...]
    labels: Mapping[str, str]
    spec: Manifest

    @property
    def serves(self) -> Serves:
        """What of its services it offers."""
        return read_serves(self.labels[SERVES_LABEL])

    @property
    def containers(self) -> Mapping[str, Manifest]:
        """Its containers, by Podman's names for them."""
        return {f"{self.name}-{one['name']}": one for one in self.spec["containers"]}

    @property
    def inits(self) -> Mapping[str, Manifest]:
        """Its init containers, by Podman's names for them, in their order."""
        return {f"{self.name}-{one['name']}": one for one in self.spec.get("initContainers") or []}


def plan_pods(record: Record, manifests: Sequence[Manifest], labels: Mapping[str, str]) -> list[PodPlan]:
    """The pods of a deployment, one for each replica of a workload; raises `DeployFailed` for a service that
    leads nowhere, and for what Podman can't do.
    """
    services = [manifest for manifest in manifests if manifest["kind"] == "Service"]
    replicas = list(_replicas(manifests))
    if len(replicas) > MAX_PODS:
        raise DeployFailed(f"It would have {len(replicas)} pods; on Podman there can be {MAX_PODS}.")
    plans = []
    for index, (workload, number) in enumerate(replicas):
        template = pod_template(workload)
        own = template.get("metadata", {}).get("labels") or {}
        spec = template["spec"]
        name = record.name if index == 0 else f"{record.name}-{index}"
        noted = {
            INDEX_LABEL: str(index),
            PODS_LABEL: str(len(replicas)),
            SERVES_LABEL: write_serves(_serves(services, own, spec)),
            CONTAINERS_LABEL: ",".join(f"{name}-{container['name']}" for container in spec["containers"]),
            PROBES_LABEL: write_probes(read_probes(name, spec)),
        }
        names = _own_names(workload, number)
        hostname = str(spec.get("hostname") or (names[0] if names else name))
        plans.append(PodPlan(name, index, hostname, names, {**own, **labels, **noted}, spec))
    return plans


def write_serves(serves: Serves) -> str:
    """`web/TCP/80>8080,…`."""
    return ",".join(
        f"{name}/{protocol}/{port}>{target}" for (name, protocol, port), target in sorted(serves.items())
    )


def read_serves(text: str) -> Serves:
    """The same, read back; raises `ValueError`."""
    serves = {}
    for item in filter(None, text.split(",")):
        left, target = item.split(">")
        name, protocol, port = left.split("/")
        serves[name, protocol, int(port)] = int(target)
    return serves


def headless(manifests: Sequence[Manifest]) -> Mapping[str, Mapping[str, Any]]:
    """The Services without an address of their own, and what they select: their names lead to the pods."""
    return {
        one["metadata"]["name"]: one["spec"].get("selector") or {}
        for one in manifests
        if one["kind"] == "Service" and one["spec"].get("clusterIP") == "None"
    }


def selects(selector: Mapping[str, Any], labels: Mapping[str, Any]) -> bool:
    """Whether a pod with the labels belongs to a service."""
    return all(labels.get(name) == value for name, value in selector.items())


def _replicas(manifests: Sequence[Manifest]) -> Iterator[tuple[Manifest, int]]:
    for workload in manifests:
        if workload["kind"] in WORKLOADS:
            count = 1 if workload["kind"] == "Pod" else workload["spec"].get("replicas") or 1
            for number in range(count):
                yield workload, number


def _own_names(workload: Manifest, number: int) -> tuple[str, ...]:
    """A StatefulSet's pods are known by names of their own, bare and below their service's."""
    if workload["kind"] != "StatefulSet":
        return ()
    own, governing = f"{workload['metadata']['name']}-{number}", workload["spec"].get("serviceName")
    return (own, f"{own}.{governing}") if governing else (own,)


def _serves(services: Sequence[Manifest], labels: Mapping[str, Any], spec: Manifest) -> Serves:
    serves = {}
    for service in services:
        if selects(service["spec"]["selector"], labels):
            for port in service["spec"].get("ports") or []:
                protocol = port.get("protocol", "TCP")
                target = container_port(port.get("targetPort") or port["port"], protocol, spec["containers"])
                if target is None:
                    raise DeployFailed(
                        f"No container has the port {port['targetPort']!r} that a service leads to."
                    )
                serves[service["metadata"]["name"], protocol, port["port"]] = target
    return serves
