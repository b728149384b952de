"""What the agent may do in a cluster: exactly the calls of this room, and why each is needed.

The Helm chart's ClusterRole and Role are held to these tables by a test, and `sinfonia-agent check` asks the
cluster for each. Kubernetes can't confine a right on namespaces, or on what is in them, to those with a
label: rights that are `Everywhere` hold in every namespace, so that whoever has the agent's token has much.
Sending by server-side apply takes `create` and `patch`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Scope = Literal["everywhere", "own namespace"]


@dataclass(frozen=True)
class Right:
    """Verbs on a resource of an API group (empty for the core): a line of a role."""

    resource: str
    group: str
    verbs: tuple[str, ...]
    why: str
    scope: Scope = "everywhere"


_SEND = ("create", "patch")
_FOLLOW = ("list", "watch")

RIGHTS = (
    Right("namespaces", "", ("get", *_FOLLOW, *_SEND, "delete"), "each deployment is a namespace"),
    Right("services", "", (*_FOLLOW, *_SEND), "guests' services, and where their ports lead"),
    Right("endpoints", "", _FOLLOW, "the ready addresses behind guests' services"),
    Right(
        "pods",
        "",
        (*_FOLLOW, *_SEND, "deletecollection"),
        "guests' pods, and ending them quickly; what all pods ask of their nodes",
    ),
    Right("nodes", "", ("list",), "whether any takes guests, what it has for them, its images and addresses"),
    Right("nodes", "metrics.k8s.io", ("list",), "how busy nodes are, where there is a metrics server"),
    Right("pods/log", "", ("get",), "the last lines of a backend that crashes, for its developer"),
    Right("configmaps", "", _SEND, "guests' settings"),
    Right("secrets", "", _SEND, "guests' secrets, which are sent and never read"),
    Right("serviceaccounts", "", _SEND, "no token for guests"),
    Right("resourcequotas", "", ("get", *_SEND), "what a deployment may use in all"),
    Right("limitranges", "", _SEND, "limits of containers that name none"),
    Right("events", "", ("create", "list"), "what became of a deployment, and why pods don't start"),
    Right("deployments", "apps", ("list", *_SEND, "deletecollection"), "guests' workloads"),
    Right("statefulsets", "apps", (*_SEND, "deletecollection"), "guests' workloads"),
    Right("networkpolicies", "networking.k8s.io", _SEND, "guests reach themselves and the internet only"),
    Right("leases", "coordination.k8s.io", _SEND, "when a deployment was last in use"),
    Right(
        "leases",
        "coordination.k8s.io",
        ("get", "create", "update"),
        "one agent of this identity at a time",
        "own namespace",
    ),
)

KILO_RIGHTS = (
    Right(
        "peers",
        "kilo.squat.ai",
        ("list", "create", "patch", "delete"),
        "a tunnel for each device, where Kilo is the gateway",
    ),
)
"""What `--gateway kilo` takes besides."""
