"""Kilo's Peer objects and the annotations of its nodes, read and written: pure, called by `kilo.py`.

Facts are those of `peers.kilo.squat.ai`, version v1alpha1, and of Kilo's documentation of annotations. What
others wrote may be of any form.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import Any
from uuid import UUID

from edge_agent.deployments.records import AGENT_LABEL, MANAGED_BY
from edge_agent.errors import InvalidRequest, Unavailable
from edge_agent.fields import format_key, parse_application_key
from edge_agent.on_kubernetes.api import Object

_KEY = "kilo.squat.ai/key"
_ENDPOINTS = ("kilo.squat.ai/force-endpoint", "kilo.squat.ai/endpoint")
_LEADER = "kilo.squat.ai/leader"


@dataclass(frozen=True)
class PeerObject:
    """A Peer as it is there, `mine` or somebody else's; `key` is None for one that Kilo passes over."""

    name: str
    uid: str
    mine: bool
    key: bytes | None
    blocks: frozenset[str]

    @classmethod
    def read(cls, item: Object, agent: UUID) -> PeerObject:
        """The Peer, whose it is as seen by an agent."""
        metadata, spec = _part(item, "metadata"), _part(item, "spec")
        mine = _part(metadata, "labels").get(AGENT_LABEL) == str(agent)
        listed = spec.get("allowedIPs")
        blocks = frozenset(map(str, listed if isinstance(listed, list) else ()))
        name, uid = str(metadata.get("name")), str(metadata.get("uid"))
        return cls(name, uid, mine, _key(spec.get("publicKey")), blocks)

    def takes(self, key: bytes, addresses: frozenset[IPv4Address]) -> bool:
        """Whether it has this key, or one of the addresses; a default route is everybody's."""
        networks = [network for network in map(read_network, self.blocks) if network and network.prefixlen]
        return self.key == key or any(address in network for network in networks for address in addresses)


def peer_name(agent: UUID, key: bytes) -> str:
    """The name of a device's Peer."""
    return f"sinfonia-{agent.hex[:8]}-{hashlib.sha256(key).hexdigest()[:16]}"


def peer_object(agent: UUID, key: bytes, addresses: frozenset[IPv4Address]) -> Object:
    """A device's Peer. Without a keepalive of ours: devices' answers to it would look like use."""
    labels = {MANAGED_BY: "sinfonia", AGENT_LABEL: str(agent)}
    return {
        "apiVersion": "kilo.squat.ai/v1alpha1",
        "kind": "Peer",
        "metadata": {"name": peer_name(agent, key), "labels": labels},
        "spec": {
            "allowedIPs": [f"{address}/32" for address in sorted(addresses)],
            "publicKey": format_key(key),
        },
    }


def choose_node(nodes: Sequence[Object], name: str | None, told: str | None) -> tuple[bytes, str]:
    """WireGuard key and endpoint of the node that devices enter at: the one of this `name`, else a leader,
    else the first. `told` is the endpoint that the operator gives. Raises `Unavailable` where there is none.
    """
    usable = sorted(_usable(nodes, told), key=lambda one: (not one[0], one[1]))
    for _, node, key, endpoint in usable:
        if name in (None, node):
            return key, endpoint
    raise Unavailable(
        f"There is no node {name or ''}".rstrip() + f" with Kilo's WireGuard key ({_KEY}) and endpoint"
        f" ({_ENDPOINTS[1]}), an IPv4 address and port; --wireguard-endpoint says the endpoint."
    )


def cluster_address(service: Object) -> IPv4Address | None:
    """The Service's own IPv4 address, None for a headless one, or one that has IPv6 only."""
    spec = _part(service, "spec")
    listed = spec.get("clusterIPs")
    for text in [spec.get("clusterIP"), *(listed if isinstance(listed, list) else ())]:
        try:
            return IPv4Address(str(text))
        except AddressValueError:
            continue
    return None


def read_network(text: str) -> IPv4Network | None:
    """One of a Peer's `allowedIPs`; None for what is of IPv6, or none, and what Kilo passes over."""
    try:
        return IPv4Network(text, strict=False)
    except ValueError:
        return None


def _usable(nodes: Sequence[Object], told: str | None) -> Iterator[tuple[bool, str, bytes, str]]:
    """Whether it leads, its name, key and endpoint, of each node that has both."""
    for node in nodes:
        metadata = _part(node, "metadata")
        notes = _part(metadata, "annotations")
        key = _key(notes.get(_KEY))
        said = next((str(notes[name]) for name in _ENDPOINTS if notes.get(name)), None)
        endpoint = told or _endpoint(said)
        if key is not None and endpoint is not None:
            yield _LEADER in notes, str(metadata.get("name")), key, endpoint


def _endpoint(text: str | None) -> str | None:
    host, _, port = (text or "").partition(":")
    try:
        address = IPv4Address(host)
    except AddressValueError:
        return None
    good = port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536
    return f"{address}:{int(port)}" if good else None


def _key(text: Any) -> bytes | None:
    try:
        return parse_application_key(str(text))
    except InvalidRequest:
        return None


def _part(thing: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = thing.get(name)
    return part if isinstance(part, dict) else {}
