"""The probes of a pod's containers: read from its spec (`pods.py`), kept in a label of the pod, and asked by
`watch.py`. Kubelets do this elsewhere; Podman would need systemd for it.

What is asked is a guest, so an answer is waited for in few short steps, and nothing of it is believed but the
number in its first line.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from typing import Any

from edge_agent.errors import DeployFailed
from edge_agent.recipes.manifests import Manifest

_KINDS = {"startupProbe": "start", "readinessProbe": "ready", "livenessProbe": "alive"}
_STEP_SECONDS = 0.25
_STEPS = 4
_LINE_BYTES = 256


@dataclass(frozen=True)
class Probe:
    """One question to a container: `kind` is start, ready or alive.

    With a `command` it is run inside; with a `path` it is an HTTP request to the port; else a connection. A
    container that is not `alive` for `failures` looks on end is started again.
    """

    container: str
    kind: str
    port: int = 0
    path: str = ""
    command: tuple[str, ...] = ()
    failures: int = 3


def read_probes(pod: str, spec: Manifest) -> list[Probe]:
    """The probes in a pod's spec; raises `DeployFailed` for those that can't be asked here."""
    return [
        _probe(f"{pod}-{container['name']}", kind, container[field], spec["containers"])
        for container in spec["containers"]
        for field, kind in _KINDS.items()
        if container.get(field)
    ]


def write_probes(probes: Sequence[Probe]) -> str:
    """As the text of a label."""
    return json.dumps([asdict(probe) for probe in probes]) if probes else ""


def parse_probes(text: str) -> list[Probe]:
    """The same, read back; raises `ValueError`, `TypeError`."""
    return [Probe(**{**one, "command": tuple(one["command"])}) for one in json.loads(text or "[]")]


def connects(address: IPv4Address, port: int) -> bool:
    """Whether somebody accepts TCP connections there."""
    try:
        socket.create_connection((str(address), port), _STEP_SECONDS).close()
    except OSError:
        return False
    return True


def fetches(address: IPv4Address, port: int, path: str) -> bool:
    """Whether an HTTP GET is answered there with a status from 200 to 399."""
    request = f"GET {path} HTTP/1.1\r\nHost: {address}:{port}\r\nConnection: close\r\n\r\n"
    line = b""
    try:
        with socket.create_connection((str(address), port), _STEP_SECONDS) as connection:
            connection.sendall(request.encode())
            for _ in range(_STEPS):
                piece = connection.recv(_LINE_BYTES)
                line += piece
                if not piece or b"\n" in line or len(line) >= _LINE_BYTES:
                    break
    except OSError:
        return False
    words = line.split(None, 2)
    return (
        len(words) > 1
        and words[0].startswith(b"HTTP/")
        and words[1][:3].isdigit()
        and 200 <= int(words[1][:3]) < 400
    )


def container_port(wanted: Any, protocol: str, containers: Sequence[Manifest]) -> int | None:
    """A port's number, which may be given as a name that one of the containers has for it."""
    if isinstance(wanted, int):
        return wanted
    for container in containers:
        for offered in container.get("ports") or []:
            number = offered.get("containerPort")
            if (offered.get("name"), offered.get("protocol", "TCP")) == (wanted, protocol) and isinstance(
                number, int
            ):
                return number
    return None


def _probe(container: str, kind: str, asked: Mapping[str, Any], containers: Sequence[Manifest]) -> Probe:
    failures = asked.get("failureThreshold") or 3
    if "exec" in asked:
        command = asked["exec"].get("command") or []
        return Probe(container, kind, command=tuple(str(word) for word in command), failures=failures)
    how = asked.get("httpGet") or asked.get("tcpSocket")
    if not how:
        raise DeployFailed(f"The container {container} has a probe that is none of httpGet, tcpSocket, exec.")
    if how.get("host"):
        raise DeployFailed(f"A probe of {container} names another host, {how['host']}, which is not asked.")
    if how.get("scheme", "HTTP") != "HTTP" or how.get("httpHeaders"):
        raise DeployFailed(f"A probe of {container} wants HTTPS or headers of its own, which Podman has not.")
    port = container_port(how.get("port"), "TCP", containers)
    if port is None or not 0 < port < 65536:
        raise DeployFailed(f"A probe of {container} asks the port {how.get('port')!r}, which it has not.")
    path = str(how.get("path") or "/") if "httpGet" in asked else ""
    if any(character <= " " for character in path):
        raise DeployFailed(f"A probe of {container} asks for a path with blanks in it.")
    return Probe(
        container, kind, port, path if path.startswith("/") or not path else f"/{path}", (), failures
    )
