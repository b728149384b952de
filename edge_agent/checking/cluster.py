"""The cluster that backends run on: server, rights, nodes, and what fences guests in. Called by `check.py`;
calls `on_kubernetes/api.py`, and changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from edge_agent.checking.findings import Finding
from edge_agent.errors import AgentError
from edge_agent.on_kubernetes.nodes import takes_guests
from edge_agent.on_kubernetes.placement import Placement
from edge_agent.on_kubernetes.rights import RIGHTS, Right

_PART = "cluster"
_OLDEST = (1, 20)
_POD_SECURITY = (1, 25)
_ADMISSION_POLICY = (1, 30)
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_ENFORCING = {
    "calico-node": "Calico",
    "canal": "Canal",
    "cilium": "Cilium",
    "antrea-agent": "Antrea",
    "weave-net": "Weave Net",
    "kube-router": "kube-router",
    "ovnkube-node": "OVN-Kubernetes",
    "azure-npm": "Azure NPM",
    "aws-node": "Amazon VPC CNI (where its network policies are switched on)",
    "kindnet": "kindnet (0.24 and later)",
}
"""DaemonSets of networks that enforce NetworkPolicy."""
_NOT_ENFORCING = {"kube-flannel-ds": "Flannel", "kube-flannel": "Flannel"}


class Api(Protocol):
    """What is needed of the API server's client."""

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """The answer's object; raises `AgentError`."""


def server(api: Api) -> Iterator[Finding]:
    """Its version, and what follows from that alone."""
    said = str(api.call("GET", "/version").get("gitVersion"))
    found = re.match(r"v(\d+)\.(\d+)", said)
    version = (int(found[1]), int(found[2])) if found else (0, 0)
    if version < _OLDEST:
        wanted = ".".join(map(str, _OLDEST))
        yield Finding(_PART, "server", "bad", said, f"Kubernetes {wanted} or newer is needed")
    else:
        yield Finding(_PART, "server", "good", said)
    if version < _POD_SECURITY:
        advice = (
            "nothing but the agent's own checks keeps guests from privileges: 1.25 and later enforce them too"
        )
        yield Finding(_PART, "pod security", "warning", "may not be enforced by this version", advice)
    else:
        yield Finding(_PART, "pod security", "good", "enforced by the server")
    if version < _ADMISSION_POLICY:
        advice = (
            "the agent's account can change any namespace; from 1.30 on the Helm chart's policy prevents it"
        )
        yield Finding(_PART, "admission policy", "warning", "this version has none", advice)


def rights(api: Api, own_namespace: str | None, table: Sequence[Right] = RIGHTS) -> Iterator[Finding]:
    """Each right of the agent's table, as the server says that we have it."""
    asked, missing = 0, []
    for right in table:
        if right.scope == "own namespace" and own_namespace is None:
            continue
        namespace = own_namespace if right.scope == "own namespace" else None
        lacking = [verb for verb in right.verbs if not _may(api, right, verb, namespace)]
        asked += len(right.verbs)
        if lacking:
            missing.append(
                f"{' and '.join(lacking)} {right.resource}{'.' if right.group else ''}{right.group}"
            )
    if missing:
        advice = "the Helm chart's roles grant just these; with --kubeconfig, its user needs them"
        yield Finding(_PART, "rights", "bad", f"missing: {'; '.join(missing)}", advice)
    else:
        yield Finding(_PART, "rights", "good", f"all {asked} of them")


def more_than_needed(api: Api) -> Iterator[Finding]:
    """Whether we could do what the agent never does: read every secret, or make roles."""
    asked = (
        Right("secrets", "", ("get", "list"), ""),
        Right("pods/exec", "", ("create",), ""),
        Right("clusterroles", "rbac.authorization.k8s.io", ("create",), ""),
        Right("nodes", "", ("patch", "delete"), ""),
    )
    may = [
        f"{verb} {right.resource}" for right in asked for verb in right.verbs if _may(api, right, verb, None)
    ]
    if may:
        advice = "give it an account of its own, with the Helm chart's roles"
        yield Finding(_PART, "too many rights", "warning", f"it could {', '.join(may)}", advice)


def nodes(api: Api, placement: Placement) -> Iterator[Finding]:
    """Whether somebody would run guests' pods."""
    found = _look(api, "/api/v1/nodes")
    if found is None:
        yield Finding(_PART, "nodes", "unknown", "can't be seen with the agent's rights")
        return
    ready = [one for one in found if takes_guests(one, placement)]
    text = f"{len(ready)} of {len(found)} take guests"
    advice = (
        "" if ready else "`kubectl describe nodes` says why: readiness, taints, the labels of --guest-nodes"
    )
    yield Finding(_PART, "nodes", "good" if ready else "bad", text, advice)


def network_policy(api: Api) -> Iterator[Finding]:
    """Whether NetworkPolicy is more than words here, as far as the network's name tells."""
    found = _look(api, "/apis/apps/v1/namespaces/kube-system/daemonsets")
    if found is None:
        text = "can't be told with the agent's rights"
        advice = "make sure that your network enforces NetworkPolicy: it keeps guests from your own services"
        yield Finding(_PART, "NetworkPolicy", "unknown", text, advice)
        return
    names = [str((one.get("metadata") or {}).get("name")) for one in found]
    enforcing = [_ENFORCING[name] for name in names if name in _ENFORCING]
    idle = [_NOT_ENFORCING[name] for name in names if name in _NOT_ENFORCING]
    if enforcing:
        yield Finding(_PART, "NetworkPolicy", "good", f"enforced by {enforcing[0]}")
        return
    text = f"not enforced by {idle[0]}" if idle else "no network that is known to enforce it was found"
    advice = "guests could reach your own services: use Calico, Cilium or another network that enforces it"
    yield Finding(_PART, "NetworkPolicy", "warning", text, advice)


def names(api: Api) -> Iterator[Finding]:
    """Whether guests find names of the internet."""
    found = _look(api, "/api/v1/namespaces/kube-system/services")
    if found is None:
        yield Finding(_PART, "DNS", "unknown", "can't be seen with the agent's rights")
    elif any((one.get("metadata") or {}).get("name") in ("kube-dns", "coredns") for one in found):
        yield Finding(_PART, "DNS", "good", "kube-dns is there")
    else:
        advice = "backends that look up names will fail: install CoreDNS"
        yield Finding(_PART, "DNS", "warning", "there is no service kube-dns in kube-system", advice)


def _may(api: Api, right: Right, verb: str, namespace: str | None) -> bool:
    resource, _, part = right.resource.partition("/")
    wanted = {"verb": verb, "group": right.group, "resource": resource}
    wanted |= ({"subresource": part} if part else {}) | ({"namespace": namespace} if namespace else {})
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": wanted},
    }
    return bool((api.call("POST", _REVIEWS, review).get("status") or {}).get("allowed"))


def _look(api: Api, path: str) -> list[dict[str, Any]] | None:
    """A list's objects, None where we may not look."""
    try:
        items = api.call("GET", path).get("items")
    except AgentError:
        return None
    return [one for one in items if isinstance(one, dict)] if isinstance(items, list) else []
