"""NetworkPolicy, enforced: what a cluster's network plug-in does, for a cluster of one node that has none.

The pure part reads policies as the documentation of Kubernetes has them
(https://kubernetes.io/docs/concepts/services-networking/network-policies/): `fences` says for each pod that
a policy selects who may reach it and whom it may reach, `ruleset` puts that into nftables' words. `Enforcer`
keeps the table in the node's network namespace up to date. What is decided:

- Rules add up; a direction that a policy selects is closed but for them. Replies pass, and a pod reaches
  itself. What the node itself sends to its pods passes; what it forwards for others is others' traffic.
- Pods are known by their addresses after services' addresses were rewritten, so a policy sees pods.
- A pod's way to its own node is judged as any other. The documentation excepts it; widespread plug-ins
  (Calico, Cilium) judge it, and the project's policies mean to close it.

What is refused is told so: TCP by a reset, as messages of ICMP are too few a second for many tries; those
alone are rewritten for who asked a service's address.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    collapse_addresses,
    ip_address,
    ip_network,
)
from types import TracebackType
from typing import Any, Self

from edge_agent.errors import Unavailable
from edge_agent.on_kubernetes.api import Api
from tests.lab import node

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Object = dict[str, Any]
Labels = Mapping[str, str]
Port = tuple[str, int, int]
"""Protocol as nftables has it, first and last number."""

TABLE = "sinfonia_lab_policies"
_EVERYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))
_ALL_PORTS = (0, 65535)
_EVERY_SECONDS = 0.2


@dataclass(frozen=True)
class Pod:
    """A pod that has addresses of its own; `ports` are its named ones: name, protocol, number."""

    namespace: str
    name: str
    labels: Labels
    addresses: tuple[Address, ...]
    ports: tuple[tuple[str, str, int], ...] = ()

    @classmethod
    def read(cls, pod: Object) -> Pod | None:
        """The pod, or None where policies can't hold on to it: no address yet or any more, or its node's."""
        spec, status = pod["spec"], pod.get("status") or {}
        given = [one["ip"] for one in status.get("podIPs") or [] if one.get("ip")]
        if not given or spec.get("hostNetwork") or status.get("phase") in ("Succeeded", "Failed"):
            return None
        named = tuple(
            (port["name"], port.get("protocol", "TCP").lower(), port["containerPort"])
            for container in spec["containers"]
            for port in container.get("ports") or []
            if port.get("name")
        )
        metadata = pod["metadata"]
        addresses = tuple(map(ip_address, given))
        return cls(metadata["namespace"], metadata["name"], metadata.get("labels") or {}, addresses, named)


@dataclass(frozen=True)
class Way:
    """Traffic that may pass: the other end is in `network` and not in `but`; `ports`: None for all."""

    network: Network
    but: tuple[Network, ...] = ()
    ports: frozenset[Port] | None = None


@dataclass(frozen=True)
class Fence:
    """What a pod may do; None for a direction that no policy selects."""

    pod: Pod
    ingress: frozenset[Way] | None
    egress: frozenset[Way] | None


def fences(policies: Sequence[Object], namespaces: Mapping[str, Labels], pods: Sequence[Pod]) -> list[Fence]:
    """The pods that a policy selects. `namespaces`: their labels by name, of those that pods are in."""
    found = []
    for pod in pods:
        specs = [
            policy["spec"]
            for policy in policies
            if policy["metadata"]["namespace"] == pod.namespace
            and selects(policy["spec"].get("podSelector") or {}, pod.labels)
        ]
        cluster = _Cluster(pod.namespace, namespaces, pods)
        if specs:
            found.append(Fence(pod, _ingress(specs, pod, cluster), _egress(specs, cluster)))
    return found


def selects(selector: Mapping[str, Any], labels: Labels) -> bool:
    """Whether a label selector selects; an empty one selects all."""
    wanted = selector.get("matchLabels") or {}
    expressions = selector.get("matchExpressions") or []
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _holds(expression, labels) for expression in expressions
    )


def _holds(expression: Mapping[str, Any], labels: Labels) -> bool:
    there, value = expression["key"] in labels, labels.get(expression["key"])
    among = value in (expression.get("values") or [])
    return {
        "In": there and among,
        "NotIn": not there or not among,
        "Exists": there,
        "DoesNotExist": not there,
    }[expression["operator"]]


@dataclass(frozen=True)
class _Cluster:
    """Whom the peers of a policy in `home` mean."""

    home: str
    namespaces: Mapping[str, Labels]
    pods: Sequence[Pod]

    def ends(self, peers: Sequence[Object]) -> Iterator[tuple[Network, tuple[Network, ...], Pod | None]]:
        """Each other end: its network, what of it is excepted, the pod that it is. No peers: everybody."""
        if not peers:
            yield from ((network, (), None) for network in _EVERYWHERE)
            yield from self._addresses(self.pods)
        for peer in peers:
            if "ipBlock" in peer:
                block = peer["ipBlock"]
                yield ip_network(block["cidr"]), tuple(map(ip_network, block.get("except") or [])), None
            else:
                yield from self._addresses([pod for pod in self.pods if self._meant(peer, pod)])

    def _meant(self, peer: Object, pod: Pod) -> bool:
        if "namespaceSelector" not in peer:
            near = pod.namespace == self.home
        else:
            near = selects(peer["namespaceSelector"] or {}, self.namespaces[pod.namespace])
        return near and selects(peer.get("podSelector") or {}, pod.labels)

    @staticmethod
    def _addresses(pods: Sequence[Pod]) -> Iterator[tuple[Network, tuple[Network, ...], Pod | None]]:
        for pod in pods:
            yield from ((ip_network(address), (), pod) for address in pod.addresses)


def _ingress(specs: Sequence[Object], pod: Pod, cluster: _Cluster) -> frozenset[Way] | None:
    if not any("Ingress" in _types(spec) for spec in specs):
        return None
    return frozenset(
        Way(network, but, ports)
        for spec in specs
        if "Ingress" in _types(spec)
        for rule in spec.get("ingress") or []
        for network, but, _ in cluster.ends(rule.get("from") or [])
        for ports in [_ports(rule, pod)]
        if ports is None or ports
    )


def _egress(specs: Sequence[Object], cluster: _Cluster) -> frozenset[Way] | None:
    if not any("Egress" in _types(spec) for spec in specs):
        return None
    return frozenset(
        Way(network, but, ports)
        for spec in specs
        if "Egress" in _types(spec)
        for rule in spec.get("egress") or []
        for network, but, end in cluster.ends(rule.get("to") or [])
        for ports in [_ports(rule, end)]
        if ports is None or ports
    )


def _types(spec: Object) -> Sequence[str]:
    """Without them, a policy is about ingress, and about egress if it has rules for it."""
    return spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]


def _ports(rule: Object, holder: Pod | None) -> frozenset[Port] | None:
    """A rule's ports, None for all; a port by name is that of the pod which holds it."""
    if not rule.get("ports"):
        return None
    found: set[Port] = set()
    for entry in rule["ports"]:
        protocol, port = entry.get("protocol", "TCP").lower(), entry.get("port")
        if port is None:
            found.add((protocol, *_ALL_PORTS))
        elif isinstance(port, int):
            found.add((protocol, port, entry.get("endPort") or port))
        else:
            named = holder.ports if holder else ()
            found |= {
                (protocol, number, number) for name, of, number in named if (name, of) == (port, protocol)
            }
    return frozenset(found)


_REFUSAL = (
    "ct status dnat reject with icmpx type admin-prohibited",
    "meta l4proto tcp reject with tcp reset",
    "reject with icmpx type admin-prohibited",
)
_RULESET = """\
add table inet {table}
delete table inet {table}
table inet {table} {{
  chain forward {{
    type filter hook forward priority -10; policy accept;
    ct direction reply ct state established,related return
    ct state related return
    jump leaving
    jump arriving
  }}
  chain input {{
    type filter hook input priority -10; policy accept;
    ct direction reply ct state established,related return
    ct state related return
    jump leaving
  }}
{chains}}}
"""


def ruleset(fences: Sequence[Fence], table: str = TABLE) -> str:
    """The text for `nft -f -`: it replaces the whole table in one step."""
    chains: list[tuple[str, list[str]]] = []
    for hook, end, other in (("leaving", "saddr", "daddr"), ("arriving", "daddr", "saddr")):
        jumps: list[str] = []
        chains.append((hook, jumps))
        for number, fence in enumerate(fences):
            ways = fence.egress if hook == "leaving" else fence.ingress
            if ways is not None:
                name = f"{hook}{number}"
                jumps += [f"{_ip(one)} {end} {one} jump {name}" for one in fence.pod.addresses]
                chains.insert(0, (name, _judgement(fence.pod, ways, other)))
    return _RULESET.format(table=table, chains="".join(_chain(name, rules) for name, rules in chains))


def _chain(name: str, rules: Sequence[str]) -> str:
    return "\n    ".join([f"  chain {name} {{", *rules]) + "\n  }\n"


def _judgement(pod: Pod, ways: frozenset[Way], other: str) -> list[str]:
    own = [f"{_ip(address)} {other} {address} return" for address in pod.addresses]
    lets = [
        f"{where}{which} return"
        for way in ways
        for where in [_where(way, other)]
        for which in _which(way.ports)
    ]
    return [*own, *sorted(set(lets)), *_REFUSAL]


def _where(way: Way, other: str) -> str:
    ip = _ip(way.network)
    everywhere = {"ip": "ipv4", "ip6": "ipv6"}[ip]
    place = f"{ip} {other} {way.network}" if way.network.prefixlen else f"meta nfproto {everywhere}"
    if not way.but:
        return place
    but = ", ".join(map(str, collapse_addresses(way.but)))  # type: ignore[type-var]
    return f"{place} {ip} {other} != {{ {but} }}"


def _which(ports: frozenset[Port] | None) -> list[str]:
    if ports is None:
        return [""]
    return [
        f" meta l4proto {protocol}" + ("" if (first, last) == _ALL_PORTS else f" th dport {first}-{last}")
        for protocol, first, last in ports
    ]


def _ip(where: Address | Network) -> str:
    return "ip" if where.version == 4 else "ip6"


class Enforcer:
    """Enforces from `__enter__` to `__exit__` the policies of namespaces with one of the sets of labels
    `within`: others may use the same cluster for tests of their own. A pod is judged once its address is in
    its status.
    """

    def __init__(self, api: Api, *within: Labels) -> None:
        self._api = api
        self._within = within
        self._written = ""
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def refresh(self) -> None:
        """Enforce what the cluster says now."""
        with self._lock:
            listed = self._api.items("/api/v1/namespaces")
            namespaces = {one["metadata"]["name"]: one["metadata"].get("labels") or {} for one in listed}
            policies = [
                one
                for one in self._api.items("/apis/networking.k8s.io/v1/networkpolicies")
                if self._is_within(namespaces.get(one["metadata"]["namespace"], {}))
            ]
            pods = [pod for pod in map(Pod.read, self._api.items("/api/v1/pods")) if pod]
            known = [pod for pod in pods if pod.namespace in namespaces]
            text = ruleset(fences(policies, namespaces, known))
            if text != self._written:
                node.run("nft", "-f", "-", text=text)
                self._written = text

    def _is_within(self, labels: Labels) -> bool:
        return any(selects({"matchLabels": one}, labels) for one in self._within)

    def _follow(self) -> None:
        while not self._end.wait(_EVERY_SECONDS):
            try:
                self.refresh()
            except Unavailable:  # what stands goes on standing
                continue

    def __enter__(self) -> Self:
        try:
            self.refresh()
        except BaseException:
            self._remove()
            raise
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(60)
        self._remove()

    @staticmethod
    def _remove() -> None:
        node.run("nft", "-f", "-", text=f"add table inet {TABLE}\ndelete table inet {TABLE}\n")
