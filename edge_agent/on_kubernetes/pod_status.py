"""What Kubernetes' objects say about a deployment, and why it does not run: pure, called by `sight.py`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import Any

from edge_agent.deployments.records import Observed, Port, Record
from edge_agent.on_kubernetes.namespaces import WORKLOAD_LABEL
from edge_agent.recipes.manifests import Manifest

_HOPELESS = ("ErrImageNeverPull", "InvalidImageName")
_WAITING = (
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImagePull",
    "ImageInspectError",
    "ImagePullBackOff",
    "RegistryUnavailable",
    "RunContainerError",
)
"""Reasons for which a container waits, and that may pass: a registry's hiccup, a kubelet that is behind."""
_FINAL = re.compile(
    r"not found|manifest unknown|does not exist|denied|unauthorized|couldn't find key|runAsNonRoot"
    r"|no such file|executable file",
    re.IGNORECASE,
)
"""What does not pass by itself, in the words of kubelets and registries."""
_FINAL_REFUSAL = re.compile(r"exceeded quota|forbidden|failed quota|violates|invalid", re.IGNORECASE)
_HURRIED = re.compile(
    r"status unknown for quota|object has been modified|looking up service account", re.IGNORECASE
)
PATIENCE_SECONDS = 45.0
_RESTARTS = 3
_OOM_RESTARTS = 2
_LENGTH = 400


@dataclass(frozen=True)
class Trouble:
    """Why a deployment does not run. `patience_seconds`: for so long it may still pass by itself. `pod` and
    `container` are those whose last lines say more; empty where none do.
    """

    text: str
    patience_seconds: float = 0.0
    pod: str = ""
    container: str = ""


def judge(
    record: Record, services: Sequence[Manifest], endpoints: Sequence[Manifest], pods: Sequence[Manifest]
) -> Observed:
    """Ready or not yet, from the deployment's own services, endpoints and pods."""
    leads = dict(_leads(services, endpoints))
    wanted = {(name, port.protocol, port.port) for name, ports in record.ports.items() for port in ports}
    running = {_label(pod) for pod in pods if _is_ready(pod)}
    if wanted <= set(leads) and len(running) >= record.workloads:
        return Observed("Ready", "", leads)
    if len(running) >= record.workloads and any(":" in address for address in _addresses(endpoints)):
        return Observed("Deploying", "its pods have IPv6 addresses only, and tunnels lead to IPv4")
    return Observed("Deploying", "; ".join(_waiting(pods)) or "its pods are being made", leads)


def trouble(pods: Sequence[Manifest]) -> Trouble | None:
    """What is wrong with the pods, if anything is: what can't pass comes first."""
    found = [one for pod in pods if not pod["metadata"].get("deletionTimestamp") for one in _troubles(pod)]
    return min(found, key=lambda one: one.patience_seconds, default=None)


def refused(deployments: Sequence[Manifest]) -> Trouble | None:
    """Why a workload can't make its pods, if it can't."""
    for deployment in deployments:
        for condition in (deployment.get("status") or {}).get("conditions") or []:
            if (condition.get("type"), condition.get("status")) == ("ReplicaFailure", "True"):
                return refusal(str(condition.get("message") or condition.get("reason")))
    return None


def refusal(text: str) -> Trouble:
    """A refusal to make pods, as trouble: final, unless Kubernetes was only not so far yet."""
    final = _FINAL_REFUSAL.search(text) and not _HURRIED.search(text)
    return Trouble(text[:_LENGTH], 0.0 if final else PATIENCE_SECONDS)


def last_warning(events: Sequence[Manifest], but: str) -> tuple[str, str] | None:
    """The newest warning of a namespace's events, not counting those of the component `but`: its reason (one
    word) and text.
    """
    told = [
        event
        for event in events
        if event.get("type") == "Warning" and (event.get("source") or {}).get("component") != but
    ]
    if not told:
        return None
    newest = max(told, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
    return str(newest.get("reason")), str(newest.get("message"))[:_LENGTH]


def missing_workloads(record: Record, pods: Sequence[Manifest]) -> bool:
    """Whether some workload has no pod yet."""
    return len({_label(pod) for pod in pods}) < record.workloads


def _leads(
    services: Sequence[Manifest], endpoints: Sequence[Manifest]
) -> Iterator[tuple[Port, tuple[IPv4Address, int]]]:
    """Where each service's ports lead: the first ready address, so that it stays the same while it lives."""
    subsets = {item["metadata"]["name"]: item.get("subsets") or [] for item in endpoints}
    for service in services:
        name = service["metadata"]["name"]
        for port in service["spec"].get("ports") or []:
            protocol = port.get("protocol", "TCP")
            targets = sorted(_targets(subsets.get(name, []), port.get("name"), protocol))
            if targets:
                yield (name, protocol, port["port"]), targets[0]


def _targets(
    subsets: Sequence[Mapping[str, Any]], port_name: str | None, protocol: str
) -> Iterator[tuple[IPv4Address, int]]:
    for subset in subsets:
        for port in subset.get("ports") or []:
            if (port.get("name") or None, port.get("protocol", "TCP")) == (port_name, protocol):
                for address in subset.get("addresses") or []:
                    try:
                        yield IPv4Address(address["ip"]), int(port["port"])
                    except AddressValueError:
                        continue


def _addresses(endpoints: Sequence[Manifest]) -> Iterator[str]:
    for item in endpoints:
        for subset in item.get("subsets") or []:
            yield from (str(address.get("ip")) for address in subset.get("addresses") or [])


def _troubles(pod: Manifest) -> Iterator[Trouble]:
    status = pod.get("status") or {}
    for kind, field in (("init container", "initContainerStatuses"), ("container", "containerStatuses")):
        for container in status.get(field) or []:
            found = _of_container(container, f"The {kind} {container.get('name')}", pod["metadata"]["name"])
            if found is not None:
                yield found
    # Whoever made the pod makes another, unless nobody did.
    if status.get("phase") == "Failed" and _label(pod).startswith("Pod."):
        yield _of_pod(pod)


def _of_container(container: Mapping[str, Any], who: str, pod: str) -> Trouble | None:
    name = str(container.get("name"))
    waiting = (container.get("state") or {}).get("waiting") or {}
    reason, message = waiting.get("reason"), str(waiting.get("message") or "")
    if reason in (*_HOPELESS, *_WAITING):
        final = reason in _HOPELESS or _FINAL.search(message)
        return Trouble(f"{who}: {reason}: {message}"[:_LENGTH], 0.0 if final else PATIENCE_SECONDS)
    ended = (container.get("lastState") or {}).get("terminated") or {}
    restarts = 0 if container.get("ready") else container.get("restartCount", 0)
    if ended.get("reason") == "OOMKilled" and restarts >= _OOM_RESTARTS:
        return Trouble(f"{who} needs more memory than its limit allows (OOMKilled).", 0.0, pod, name)
    if restarts >= _RESTARTS:
        code, why = ended.get("exitCode"), ended.get("reason")
        return Trouble(f"{who} ends again and again, last with status {code} ({why}).", 0.0, pod, name)
    return None


def _of_pod(pod: Manifest) -> Trouble:
    status = pod["status"]
    words = f"The pod failed: {status.get('reason') or ''} {status.get('message') or ''}".strip()
    for container in status.get("containerStatuses") or []:
        ended = (container.get("state") or {}).get("terminated") or {}
        if ended.get("exitCode"):
            name = str(container.get("name"))
            said = f"The container {name} ended with status {ended['exitCode']} ({ended.get('reason')})."
            return Trouble(said, 0.0, pod["metadata"]["name"], name)
    return Trouble(words[:_LENGTH])


def _waiting(pods: Sequence[Manifest]) -> Iterator[str]:
    for pod in pods:
        for condition in (pod.get("status") or {}).get("conditions") or []:
            if condition.get("status") == "False" and condition.get("message"):
                yield str(condition["message"])[:200]
                break


def _is_ready(pod: Manifest) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    ready = {condition.get("type"): condition.get("status") for condition in conditions}.get("Ready")
    return ready == "True" and not pod["metadata"].get("deletionTimestamp")


def _label(pod: Manifest) -> str:
    return str((pod["metadata"].get("labels") or {}).get(WORKLOAD_LABEL, pod["metadata"]["name"]))
