"""Kilo on the cluster, where it is to be the gateway: its Peers, where devices enter, and whether their own
addresses arrive. Called by `check.py`; calls `on_kubernetes/kilo.py`, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Network
from typing import Any

import yaml

from edge_agent.checking.findings import Finding
from edge_agent.deployments.leases import Activity
from edge_agent.deployments.site import Entrance
from edge_agent.errors import AgentError
from edge_agent.on_kubernetes.api import Object
from edge_agent.on_kubernetes.kilo import GROUP, PEERS, Api
from edge_agent.on_kubernetes.kilo_objects import read_network

_PART = "Kilo"
_SOME_PODS = 200
_PROXY = "/api/v1/namespaces/kube-system/configmaps/kube-proxy"


def peers(api: Api, agent: str | None, network: IPv4Network) -> Iterator[Finding]:
    """Whether the cluster knows Peers, and whether others' have addresses of the tunnels' `network`; `agent`
    is the UUID of our own, None for one that never ran.
    """
    try:
        known = api.call("GET", GROUP).get("resources") or []
    except AgentError as error:
        advice = "install Kilo (https://kilo.squat.ai), or leave --gateway kilo out"
        yield Finding(_PART, "Peers", "bad", f"the cluster does not know them: {error}", advice)
        return
    if not any(one.get("name") == "peers" for one in known):
        yield Finding(_PART, "Peers", "bad", "the cluster does not know them", "install Kilo's CRD")
        return
    others = [one for one in api.items(PEERS) if _labels(one).get("sinfonia/agent") != agent]
    taking = [str(one["metadata"].get("name")) for one in others if _takes(one, network)]
    if taking:
        text = f"{', '.join(taking[:3])} {'has' if len(taking) == 1 else 'have'} addresses of {network}"
        advice = "devices with these get no tunnel: give another --tunnel-network"
        yield Finding(_PART, "Peers", "warning", text, advice)
    else:
        yield Finding(_PART, "Peers", "good", f"known, and nobody else's has addresses of {network}")


def entrance(look: Callable[[], Entrance]) -> Iterator[Finding]:
    """Where devices enter, as `look` finds it."""
    try:
        found = look()
    except AgentError as error:
        advice = "does Kilo run, and is the Service there? `kubectl describe nodes` shows its annotations"
        yield Finding(_PART, "entrance", "bad", str(error), advice)
        return
    text = f"devices enter at {found.endpoint}, and find status and names at {found.address}"
    yield Finding(_PART, "entrance", "good", text)


def pods(api: Api, network: IPv4Network) -> Iterator[Finding]:
    """Whether pods have addresses of the tunnels' network, or others than Kilo knows of: it masquerades what
    goes to these.
    """
    blocks = [block for node in api.items("/api/v1/nodes") for block in _pod_blocks(node)]
    clash = next((block for block in blocks if block.overlaps(network)), None)
    if clash:
        text = f"pods have addresses of {network} ({clash})"
        yield Finding(_PART, "addresses", "bad", text, "give another --tunnel-network")
        return
    some = api.call("GET", "/api/v1/pods", limit=str(_SOME_PODS)).get("items") or []
    strays = [address for address in map(_pod_address, some) if address and not _held(address, blocks)]
    if strays:
        text = f"Kilo masquerades devices to pods such as {strays[0]}, which is in no node's podCIDR"
        advice = "let the network give pods their addresses by nodes' podCIDR (host-local)"
        yield Finding(_PART, "addresses", "warning", text, advice)
    else:
        text = f"no node's pods have addresses of {network}, and all have those that Kilo knows of"
        yield Finding(_PART, "addresses", "good", text)


def masquerading(api: Api, network: IPv4Network) -> Iterator[Finding]:
    """Whether kube-proxy leaves the devices' addresses as they are, as far as its configuration tells."""
    subject = "masquerading"
    advice = (
        "devices are known by their addresses: on every node, iptables -t mangle -A POSTROUTING"
        f" -s {network} -j MARK --and-mark 0xffffbfff, or choose --tunnel-network within kube-proxy's"
        " clusterCIDR and outside of all nodes' pods"
    )
    try:
        text = (api.call("GET", _PROXY).get("data") or {}).get("config.conf")
        said = yaml.safe_load(text or "")
    except (AgentError, yaml.YAMLError):
        yield Finding(_PART, subject, "unknown", "can't be told with the agent's rights", advice)
        return
    proxy: dict[str, Any] = said if isinstance(said, dict) else {}
    rules = proxy.get("iptables")
    if isinstance(rules, dict) and rules.get("masqueradeAll") is True:
        yield Finding(_PART, subject, "warning", "kube-proxy masquerades everything", advice)
    elif proxy.get("detectLocalMode") in (None, "", "ClusterCIDR") and _within(network, proxy):
        yield Finding(_PART, subject, "good", f"kube-proxy takes {network} for the cluster's own")
    else:
        text = f"kube-proxy masquerades what comes from {network}, unless the nodes have a rule against it"
        yield Finding(_PART, subject, "warning", text, advice)


def signs_of_life(told: Callable[[], Mapping[bytes, Activity]] | None) -> Iterator[Finding]:
    """Whether an exporter's metrics say which peers are there."""
    subject = "signs of life"
    if told is None:
        text = "without --prometheus nothing tells who is there: backends end by --max-age alone"
        yield Finding(_PART, subject, "warning", text, "have a WireGuard exporter on Kilo's nodes")
        return
    try:
        count = len(told())
    except AgentError as error:
        advice = "Kilo's manifests have a WireGuard exporter; without any peer it says nothing"
        yield Finding(_PART, subject, "warning", str(error), advice)
    else:
        yield Finding(_PART, subject, "good", f"known of {count} peers")


def _within(network: IPv4Network, proxy: dict[str, Any]) -> bool:
    blocks = [read_network(block) for block in str(proxy.get("clusterCIDR") or "").split(",")]
    return any(block and network.subnet_of(block) for block in blocks)


def _pod_blocks(node: Object) -> list[IPv4Network]:
    spec = node.get("spec") or {}
    blocks = map(read_network, map(str, spec.get("podCIDRs") or [spec.get("podCIDR")]))
    return [block for block in blocks if block]


def _pod_address(pod: Object) -> str | None:
    """A running pod's own address; None for one that has its node's."""
    status = pod.get("status") or {}
    own = status.get("phase") == "Running" and not (pod.get("spec") or {}).get("hostNetwork")
    return status.get("podIP") if own else None


def _held(address: str, blocks: list[IPv4Network]) -> bool:
    found = read_network(address)
    return found is None or any(found.subnet_of(block) for block in blocks)


def _labels(item: Object) -> Object:
    return (item.get("metadata") or {}).get("labels") or {}


def _takes(item: Object, network: IPv4Network) -> bool:
    routes = [read_network(str(block)) for block in (item.get("spec") or {}).get("allowedIPs") or []]
    return any(route and route.prefixlen and route.overlaps(network) for route in routes)
