"""An API server with Kilo's Peers, annotated nodes and one Service, in memory: what `kilo.py` asks.

Peers are held to the schema of Kilo's own CRD, as a real server does.
"""

from __future__ import annotations

import base64
import copy
from typing import Any

from jsonschema import Draft202012Validator

from edge_agent.errors import Unavailable
from edge_agent.on_kubernetes.api import Refused
from edge_agent.on_kubernetes.kilo import PEERS

PEER_SCHEMA = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "apiVersion": {"const": "kilo.squat.ai/v1alpha1"},
        "kind": {"const": "Peer"},
        "metadata": {"type": "object", "required": ["name"]},
        "spec": {
            "type": "object",
            "required": ["allowedIPs", "publicKey"],
            "additionalProperties": False,  # a server drops them: the agent would send them in vain
            "properties": {
                "allowedIPs": {"type": "array", "items": {"type": "string"}},
                "endpoint": {"type": "object", "required": ["dnsOrIP", "port"]},
                "persistentKeepalive": {"type": "integer"},
                "presharedKey": {"type": "string"},
                "publicKey": {"type": "string"},
            },
        },
    },
}
"""Fields of `peers.kilo.squat.ai`, version v1alpha1."""
NODE_KEY = bytes(range(100, 132))


def node(name: str, key: bytes = NODE_KEY, endpoint: str = "192.0.2.7:51820", **more: str) -> dict[str, Any]:
    """A node as Kilo annotates it; `more` are further annotations of Kilo's, by their last parts."""
    notes = {"key": base64.b64encode(key).decode(), "endpoint": endpoint, **more}
    annotations = {f"kilo.squat.ai/{part.replace('_', '-')}": text for part, text in notes.items()}
    return {"metadata": {"name": name, "annotations": annotations}}


class FakeKilo:
    """The API server. `away` makes it fail, `refuses` answers a method with a status; `calls` are changes."""

    def __init__(self) -> None:
        self.peers: dict[str, dict[str, Any]] = {}
        self.nodes = [node("one")]
        self.services = [{"metadata": {"name": "tunnels"}, "spec": {"clusterIP": "10.96.0.80"}}]
        self.away = False
        self.refuses: dict[str, int] = {}
        self.calls: list[str] = []
        self.lists = 0
        self._made = 0

    def add(self, name: str, key: bytes, *blocks: str) -> None:
        """A Peer of somebody else."""
        spec = {"publicKey": base64.b64encode(key).decode(), "allowedIPs": list(blocks)}
        self._put({"metadata": {"name": name}, "spec": spec})

    def allowed(self) -> dict[bytes, set[str]]:
        """What each key may send from, of all Peers."""
        specs = [peer["spec"] for peer in self.peers.values()]
        return {base64.b64decode(spec["publicKey"]): set(spec["allowedIPs"]) for spec in specs}

    def items(self, path: str, **query: str) -> list[dict[str, Any]]:
        self._check("GET")
        self.lists += path == PEERS
        if path == "/api/v1/namespaces/edge/services":
            _, _, name = query["fieldSelector"].partition("=")
            return [one for one in self.services if one["metadata"]["name"] == name]
        found = {PEERS: list(self.peers.values()), "/api/v1/nodes": self.nodes}[path]
        return copy.deepcopy(found)

    def call(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", **_: str
    ) -> dict[str, Any]:
        self._check(method)
        self.calls.append(f"{method} {path}")
        name = path.removeprefix(PEERS).strip("/") or body["metadata"]["name"]
        found = self.peers.get(name)
        if method == "POST":
            if found:
                raise Refused(409, "exists")
            return self._put(body)
        if found is None:
            raise Refused(404, "not found")
        wanted = body["preconditions"]["uid"] if method == "DELETE" else body["metadata"]["uid"]
        if wanted != found["metadata"]["uid"]:
            raise Refused(409, "another uid")
        if method == "DELETE":
            return self.peers.pop(name)
        assert content_type == "application/merge-patch+json"
        return self._put({**found, "spec": {**found["spec"], **body["spec"]}})

    def _put(self, body: dict[str, Any]) -> dict[str, Any]:
        Draft202012Validator(PEER_SCHEMA).validate(body)
        self._made += 1
        metadata = {"uid": f"uid-{self._made}", **body["metadata"]}
        self.peers[metadata["name"]] = {**copy.deepcopy(body), "metadata": metadata}
        return self.peers[metadata["name"]]

    def _check(self, method: str) -> None:
        if self.away:
            raise Unavailable("the API is away")
        if method in self.refuses:
            raise Refused(self.refuses[method], "a test")
