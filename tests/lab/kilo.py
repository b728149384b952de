"""A stand-in for `kg`, Kilo's agent on each node, for a cluster of one node that is a network namespace here.

It does what devices and the cloudlet's agent see of it (https://kilo.squat.ai/docs/): it makes Peer objects
known to the API, has an interface `kilo0` whose WireGuard peers are those objects, leads what they may send
from into it, and says its key and endpoint in annotations of the node. Like Kilo, it forwards whatever a
peer sends, and hides where it comes from behind the node's address unless it is for a pod, a node or a peer.
It also has the rule that the project asks operators of Kilo for: kube-proxy does not hide it.
"""

from __future__ import annotations

import base64
import binascii
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from types import TracebackType
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge_agent.errors import Unavailable
from edge_agent.on_kubernetes.api import Api, Refused
from tests.lab import node
from tests.lab.machine import poll

Object = dict[str, Any]
PEERS = "/apis/kilo.squat.ai/v1alpha1/peers"
PORT = 51820  # Kilo's own choice
INTERFACE = "kilo0"
_TABLE = "sinfonia_lab_kilo"
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_CRD = f"{_CRDS}/peers.kilo.squat.ai"
_LABEL = "sinfonia-lab/stand-in"
_EVERY_SECONDS = 0.2
_HOLD = f"mkdir -p /run/wireguard; mount -t tmpfs tmpfs /run/wireguard; exec wireguard-go -f {INTERFACE}"
_RULES = """\
add table ip {table}
delete table ip {table}
table ip {table} {{
  chain unmask {{
    type filter hook postrouting priority mangle; policy accept;
    ip saddr {network} meta mark set meta mark and 0xffffbfff comment "kube-proxy's mark for masquerading"
  }}
  chain hide {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {network} ip daddr != {{ {seen} }} masquerade
  }}
}}
"""


def crd() -> Object:
    """The definition of Peer objects, with the fields that Kilo's has."""
    text, number = {"type": "string"}, {"type": "integer"}
    endpoint = {
        "type": "object",
        "required": ["dnsOrIP", "port"],
        "properties": {
            "dnsOrIP": {"type": "object", "properties": {"dns": text, "ip": text}},
            "port": {**number, "format": "int32"},
        },
    }
    spec = {
        "type": "object",
        "required": ["allowedIPs", "publicKey"],
        "properties": {
            "allowedIPs": {"type": "array", "items": text},
            "endpoint": endpoint,
            "persistentKeepalive": number,
            "presharedKey": text,
            "publicKey": text,
        },
    }
    schema = {"type": "object", "required": ["spec"], "properties": {"spec": spec}}
    version = {"name": "v1alpha1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"kind": "Peer", "listKind": "PeerList", "plural": "peers", "singular": "peer"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "peers.kilo.squat.ai", "labels": {_LABEL: "true"}},
        "spec": {"group": "kilo.squat.ai", "names": names, "scope": "Cluster", "versions": [version]},
    }


@dataclass(frozen=True)
class Peer:
    """What of a Peer object comes to be WireGuard's."""

    key: str
    allowed_ips: tuple[IPv4Network | IPv6Network, ...]
    keepalive: int = 0

    @classmethod
    def read(cls, peer: Object) -> Peer | None:
        """The peer, or None for one that is none: Kilo passes it over."""
        spec = peer["spec"]
        try:
            key = base64.b64decode(spec["publicKey"], validate=True)
            allowed = tuple(map(ip_network, spec["allowedIPs"]))
        except (ValueError, binascii.Error):
            return None
        keepalive = spec.get("persistentKeepalive") or 0
        if len(key) != 32 or not allowed or keepalive < 0:
            return None
        return cls(base64.b64encode(key).decode(), allowed, keepalive)


def config(private_key: str, peers: Sequence[Peer]) -> str:
    """The text for `wg syncconf`."""
    sections = [f"[Interface]\nPrivateKey = {private_key}\nListenPort = {PORT}\n"]
    for peer in peers:
        allowed = ", ".join(map(str, peer.allowed_ips))
        keepalive = f"PersistentKeepalive = {peer.keepalive}\n" if peer.keepalive else ""
        sections.append(f"[Peer]\nPublicKey = {peer.key}\nAllowedIPs = {allowed}\n{keepalive}")
    return "\n".join(sections)


class Kilo:
    """Runs from `__enter__` to `__exit__`. `address`: where devices reach the node; `network`: of tunnels;
    `beside`: an address outside the cluster that passes for a pod's.
    """

    def __init__(self, api: Api, address: str, network: str, beside: str) -> None:
        self._api = api
        self._network = network
        self._beside = beside
        private = X25519PrivateKey.generate()
        self._private = base64.b64encode(private.private_bytes_raw()).decode()
        self.key = base64.b64encode(private.public_key().public_bytes_raw()).decode()
        self.endpoint = f"{address}:{PORT}"
        self._pid = 0
        self._written = ""
        self._routes: set[str] = set()
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._closing = ExitStack()

    def refresh(self) -> None:
        """Make WireGuard's peers what the API says now; sessions of those that stay go on."""
        with self._lock:
            found = {peer.key: peer for peer in map(Peer.read, self._api.items(PEERS)) if peer is not None}
            wanted = config(self._private, [found[key] for key in sorted(found)])
            if wanted == self._written:
                return
            self._run("wg", "syncconf", INTERFACE, "/dev/stdin", text=wanted)
            routes = {str(one) for peer in found.values() for one in peer.allowed_ips}
            for gone in self._routes - routes:
                node.run("ip", "route", "del", gone, "dev", INTERFACE)
            for come in routes - self._routes:
                node.run("ip", "route", "replace", come, "dev", INTERFACE)
            self._written, self._routes = wanted, routes

    def peers(self) -> set[str]:
        """The keys of WireGuard's peers."""
        return set(self._run("wg", "show", INTERFACE, "peers").split())

    def handshakes(self) -> dict[str, int]:
        """When each peer's session began, in seconds since 1970; 0 for none."""
        lines = self._run("wg", "show", INTERFACE, "latest-handshakes").splitlines()
        return {key: int(seconds) for key, seconds in (line.split() for line in lines)}

    def __enter__(self) -> Self:
        try:
            self._define()
            self._interface()
            (found,) = self._api.items("/api/v1/nodes")
            self._rule(found["spec"]["podCIDR"])
            self._annotate(f"/api/v1/nodes/{found['metadata']['name']}")
            self.refresh()
            thread = threading.Thread(target=self._follow, daemon=True)
            thread.start()
            self._closing.callback(thread.join, 60)
            self._closing.callback(self._end.set)
        except BaseException:
            self._closing.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    def _define(self) -> None:
        """Make the definition anew where there is that of a run that was killed; somebody's stays."""
        try:
            self._undefine()
            self._api.call("POST", _CRDS, crd())
            self._closing.callback(self._api.call, "DELETE", _CRD)
        except Refused as error:
            if error.status != 409:
                raise

        def established() -> bool:
            conditions = self._api.call("GET", _CRD).get("status", {}).get("conditions") or []
            return any((one["type"], one["status"]) == ("Established", "True") for one in conditions)

        assert poll(established, 60, 0.1)

    def _undefine(self) -> None:
        """With it go its Peers: not so if it is deleted as one of a list."""
        mine = {"labelSelector": f"{_LABEL}=true"}
        if self._api.items(_CRDS, **mine):
            self._api.call("DELETE", _CRD)
        assert poll(lambda: not self._api.items(_CRDS, **mine), 60, 0.1)

    def _interface(self) -> None:
        """The interface is gone with its process, and that with ours."""
        command = ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net={node.namespace()}"]
        program = subprocess.Popen(
            [*command, "unshare", "--mount", "sh", "-c", _HOLD],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._closing.callback(program.wait, 30)
        self._closing.callback(program.kill)
        self._pid = program.pid
        assert poll(lambda: self._enter("wg", "show", INTERFACE).returncode == 0, 30), "wireguard-go"
        node.run("ip", "link", "set", INTERFACE, "mtu", "1420", "up")

    def _rule(self, pods: str) -> None:
        seen = ", ".join((pods, node.address(), self._network, self._beside))
        node.run("nft", "-f", "-", text=_RULES.format(table=_TABLE, network=self._network, seen=seen))
        self._closing.callback(node.run, "nft", "delete", "table", "ip", _TABLE)

    def _annotate(self, path: str) -> None:
        notes = {"key": self.key, "endpoint": self.endpoint, "leader": ""}
        self._note(path, notes)
        self._closing.callback(self._note, path, dict.fromkeys(notes))

    def _note(self, path: str, notes: Mapping[str, str | None]) -> None:
        annotations = {f"kilo.squat.ai/{name}": text for name, text in notes.items()}
        body = {"metadata": {"annotations": annotations}}
        self._api.call("PATCH", path, body, "application/merge-patch+json")

    def _follow(self) -> None:
        while not self._end.wait(_EVERY_SECONDS):
            try:
                self.refresh()
            except Unavailable:  # what stands goes on standing
                continue

    def _run(self, *command: str, text: str | None = None) -> str:
        done = self._enter(*command, text=text)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def _enter(self, *command: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run where the interface's socket is."""
        enter = ["nsenter", "--target", str(self._pid), "--net", "--mount", "--", *command]
        return subprocess.run(enter, input=text, capture_output=True, text=True, timeout=30, check=False)
