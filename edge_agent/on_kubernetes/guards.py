"""What fences a guest in: the objects that stand in its namespace before the app comes, and the limits of its
containers. Pure; called by `cluster.py`.

Guards keep a guest small and alone: a quota for the namespace, limits for each container, no access to the
Kubernetes API, and a network policy that lets in the gateway and the deployment itself, and lets out to the
deployment itself, cluster DNS and the public internet, the cloudlet's own machines excepted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Any

from edge_agent.on_kubernetes.namespaces import bare_object
from edge_agent.recipes.limits import Limits, amount, millis
from edge_agent.recipes.manifests import WORKLOADS, Manifest, pod_template

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

QUOTA = "sinfonia"

_COUNTS = {
    "services": "10",
    "services.nodeports": "0",
    "services.loadbalancers": "0",
    "persistentvolumeclaims": "0",
    "configmaps": "30",
    "secrets": "30",
}
_INSIDE: Manifest = {"podSelector": {}}
_DNS = [
    {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}},
    {"ipBlock": {"cidr": "169.254.20.10/32"}},  # where node-local caches listen
]
_NOT_PUBLIC = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",  # shared address space, and the tunnels
    "127.0.0.0/8",
    "169.254.0.0/16",  # link-local: the metadata services of clouds
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/3",  # multicast, reserved, broadcast
]
"""Where the cloudlet's own machines are, the Kubernetes API among them (RFC 6890)."""
_NOT_PUBLIC_6 = [
    "::/96",  # unspecified, loopback
    "64:ff9b::/96",  # translated to IPv4, private addresses included
    "2002::/16",
    "fc00::/7",
    "fe80::/10",
    "ff00::/8",
]
_SIDES = ("limits", "requests")
_READ = {"cpu": millis, "memory": amount, "ephemeral-storage": amount}
_USUAL = {"cpu": 1000, "memory": 512 << 20, "ephemeral-storage": 1 << 30}
"""What a container may use that names no limit, where the deployment has room for it."""
_LEAST = {"cpu": 10, "memory": 32 << 20, "ephemeral-storage": 16 << 20}
"""What such a container is sure to get."""


def guards(policy: Manifest, limits: Limits) -> list[Manifest]:
    """What stands before the app comes. `policy` says whom its pods may reach, and who reaches them; `limits`
    is what the deployment may use in all.
    """
    most = _in_all(limits)
    hard = {f"{side}.{name}": _quantity(name, value) for side in _SIDES for name, value in most.items()}
    standard = {name: _quantity(name, min(value, most[name])) for name, value in _USUAL.items()}
    least = {name: _quantity(name, min(value, most[name])) for name, value in _LEAST.items()}
    container = {"type": "Container", "default": standard, "defaultRequest": least}
    return [
        bare_object("v1", "ServiceAccount", "default", automountServiceAccountToken=False),
        bare_object(
            "v1", "ResourceQuota", QUOTA, spec={"hard": {"pods": str(limits.pods), **_COUNTS, **hard}}
        ),
        bare_object("v1", "LimitRange", "sinfonia", spec={"limits": [container]}),
        fence(policy),
    ]


def fence(policy: Manifest) -> Manifest:
    """The network policy alone, as an object."""
    return bare_object("networking.k8s.io/v1", "NetworkPolicy", "sinfonia", spec=policy)


def behind_gateway(gateways: Sequence[Mapping[str, Any]], machines: Iterable[Address] = ()) -> Manifest:
    """The policy where the agent's own gateway leads devices to pods. `gateways` are network-policy peers
    from where it sends, `machines` the cloudlet's own.
    """
    return _policy([{"from": [_INSIDE, *gateways]}], map(ip_network, machines))


def for_device(
    device: IPv4Address,
    manifests: Sequence[Manifest],
    tunnels: IPv4Network,
    machines: Iterable[Address] = (),
) -> Manifest:
    """The policy where nodes lead devices to pods: this device alone may come in, to what the services lead
    to. `tunnels` is the network of all devices, `machines` are the cloudlet's own.
    """
    ports = [
        {"protocol": port["protocol"], "port": port.get("targetPort") or port["port"]}
        for manifest in manifests
        if manifest["kind"] == "Service"
        for port in manifest["spec"].get("ports") or []
    ]
    rules: list[Manifest] = [{"from": [_INSIDE]}]
    if ports:  # none would be all
        rules.append({"from": [{"ipBlock": {"cidr": f"{device}/32"}}], "ports": ports})
    return _policy(rules, [tunnels, *map(ip_network, machines)])


def _policy(ingress: Sequence[Manifest], ours: Iterable[Network]) -> Manifest:
    """`ours` is what pods are kept from though it may be public."""
    kept = sorted(set(ours), key=str)
    return {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": list(ingress),
        "egress": [
            {"to": [_INSIDE]},
            {"to": _DNS, "ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]},
            {
                "to": [
                    {"ipBlock": {"cidr": "0.0.0.0/0", "except": _except(_NOT_PUBLIC, kept, 4)}},
                    {"ipBlock": {"cidr": "::/0", "except": _except(_NOT_PUBLIC_6, kept, 6)}},
                ]
            },
        ],
    }


def _except(not_public: Sequence[str], ours: Sequence[Network], version: int) -> list[str]:
    """What is not public, and what of ours is."""
    known: list[Any] = [ip_network(block) for block in not_public]
    mine: list[Any] = [one for one in ours if one.version == version]
    return [*not_public, *(str(one) for one in mine if not any(one.subnet_of(block) for block in known))]


def gateway_peers(addresses: Sequence[str], own_namespace: str | None) -> list[Mapping[str, Any]]:
    """From where the gateway sends: IPv4 and IPv6 addresses, and the namespace that the agent's pod is in."""
    blocks = [str(ip_network(address)) for address in addresses]
    peers: list[Mapping[str, Any]] = [{"ipBlock": {"cidr": block}} for block in blocks]
    if own_namespace:
        labels = {"kubernetes.io/metadata.name": own_namespace}
        peers.append({"namespaceSelector": {"matchLabels": labels}})
    return peers


def limited(manifests: Sequence[Manifest], limits: Limits) -> list[Manifest]:
    """The manifests with limits on every container. One that names none gets what is usual, an equal part of
    what the others leave of the deployment's, or what it requests, if that is more.
    """
    shares = {name: _share(name, manifests, most) for name, most in _in_all(limits).items()}
    return [
        _limited(manifest, shares) if manifest["kind"] in WORKLOADS else manifest for manifest in manifests
    ]


def _limited(manifest: Manifest, shares: Mapping[str, int]) -> Manifest:
    template = pod_template(manifest)
    spec = dict(template["spec"])
    for field in ("initContainers", "containers"):
        if spec.get(field):
            spec[field] = [_container(container, shares) for container in spec[field]]
    if manifest["kind"] == "Pod":
        return {**manifest, "spec": spec}
    return {**manifest, "spec": {**manifest["spec"], "template": {**template, "spec": spec}}}


def _container(container: Manifest, shares: Mapping[str, int]) -> Manifest:
    resources = container.get("resources") or {}
    most, least = dict(resources.get("limits") or {}), dict(resources.get("requests") or {})
    for name, share in shares.items():
        if name not in most:
            limit = max(share, _READ[name](least.get(name)) or 0)
            most[name] = _quantity(name, limit)
            least.setdefault(name, _quantity(name, min(_LEAST[name], limit)))
    return {**container, "resources": {**resources, "limits": most, "requests": least}}


def _share(name: str, manifests: Sequence[Manifest], most: int) -> int:
    """The limit of each container that names none."""
    named = silent = 0
    for container, replicas in _containers(manifests):
        value = _READ[name]((container.get("resources") or {}).get("limits", {}).get(name))
        named += replicas * (value or 0)
        silent += replicas * (value is None)
    return max(1, min(_USUAL[name], (most - named) // max(1, silent)))


def _containers(manifests: Sequence[Manifest]) -> Iterator[tuple[Manifest, int]]:
    for manifest in manifests:
        if manifest["kind"] in WORKLOADS:
            replicas = 1 if manifest["kind"] == "Pod" else manifest["spec"].get("replicas") or 1
            for container in pod_template(manifest)["spec"].get("containers") or []:
                yield container, replicas


def _in_all(limits: Limits) -> dict[str, int]:
    return {
        "cpu": limits.cpu_millis,
        "memory": limits.memory_bytes,
        "ephemeral-storage": limits.storage_bytes,
    }


def _quantity(name: str, value: int) -> str:
    return f"{value}m" if name == "cpu" else str(value)
