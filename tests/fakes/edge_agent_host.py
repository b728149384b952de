"""A real agent on a machine of its own, and a device that talks to it, for live tests."""

from __future__ import annotations

import base64
import json
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.lab import images, podman
from tests.lab.machine import Machine, Program, poll

PROJECT = Path(__file__).resolve().parents[2]
RECIPES = PROJECT / "infra" / "recipes"
HELLOWORLD = uuid.UUID(int=0)


class AgentHost:
    """`sinfonia-agent` with Podman in `machine`: `start` it, `kill` its program, look at what is there."""

    def __init__(self, machine: Machine, address: str, folder: Path, recipes: Path = RECIPES) -> None:
        self.machine = machine
        self.address = address
        self.folder = folder
        self.recipes = recipes
        self.url = f"http://{address}:7070"
        self.log = folder / "agent.log"
        self.environment = podman.environment(folder)
        self.stores = {"root": str(folder / "containers"), "runroot": "/run/containers"}
        self.stores["network-dir"] = str(folder / "networks")
        self.program: Program | None = None
        images.load_helloworld(machine, self.stores, self.environment)

    def start(self, *options: str, env: dict[str, str] | None = None, wait: bool = True) -> Program:
        """Start the agent, and wait until it serves."""
        command = [
            sys.executable,
            "-m",
            "edge_agent",
            "run",
            "--runtime",
            "podman",
            "--name",
            self.machine.name,
        ]
        command += ["--recipes", str(self.recipes), "--state", str(self.folder / "state")]
        command += ["--listen", f"{self.address}:7070", *options]
        if not {"--root", "--announce"} & set(options):
            command += ["--root", "http://127.0.0.1:9"]
        for name, value in self.stores.items():
            command += [f"--podman-{name}", value]
        environment = {**self.environment, "PYTHONPATH": str(PROJECT), **(env or {})}
        self.program = self.machine.popen(command, log=self.log, env=environment)
        if wait:
            assert poll(lambda: self.health() is not None, 60, 0.05), self.log.read_text()
        return self.program

    def health(self) -> Any:
        """What health answers, or None."""
        answer = self.machine.run("curl", "-fsS", "-m", "2", f"{self.url}/api/v1/health", check=False)
        return json.loads(answer.stdout) if answer.returncode == 0 else None

    def podman(self, *arguments: str) -> str:
        """What the operator's own podman prints."""
        options = ["--root", self.stores["root"], "--runroot", self.stores["runroot"]]
        options += ["--network-config-dir", self.stores["network-dir"]]
        return self.machine.run("podman", *options, *arguments, env=self.environment, timeout=60).stdout

    def left(self) -> list[str]:
        """Everything of deployments that is still there: networks, pods, containers, volumes, peers."""
        found = self.podman(
            "network", "ls", "--filter", "label=sinfonia/agent", "--format", "{{.Name}}"
        ).split()
        found += self.podman("pod", "ps", "--format", "{{.Name}}").split()
        found += self.podman("ps", "--all", "--format", "{{.Names}}").split()
        found += self.podman("volume", "ls", "--format", "{{.Name}}").split()
        return found + self.machine.run("wg", "show", "all", "peers", check=False).stdout.splitlines()


class DeviceHost:
    """A device on `machine`: asks an agent for a backend and binds a tunnel to what it is told."""

    def __init__(self, machine: Machine, folder: Path, name: str = "wg0") -> None:
        self.machine = machine
        self.folder = folder
        self.interface = name
        self.secret = X25519PrivateKey.generate()
        self.key = self.secret.public_key().public_bytes_raw()
        machine.run("wireguard-go", name)

    @property
    def urlsafe_key(self) -> str:
        return base64.urlsafe_b64encode(self.key).decode().rstrip("=")

    def deploy(self, url: str, *, wait: float = 0, app: uuid.UUID = HELLOWORLD, method: str = "POST") -> Any:
        """(status, JSON) of a deploy call."""
        target = f"{url}/api/v1/deploy/{app}/{self.urlsafe_key}?wait={wait}"
        return self.curl(target, "-X", method)

    def curl(self, url: str, *options: str) -> Any:
        """(status, JSON) of a call; status 0 without an answer."""
        done = self.machine.run("curl", "-sS", "-m", "40", "-w", "\n%{http_code}", *options, url, check=False)
        text, _, status = done.stdout.rpartition("\n")
        return int(status or 0), (json.loads(text) if text.startswith(("[", "{")) else text)

    def bind(self, deployment: dict[str, Any]) -> None:
        """Set the tunnel up as the answer says."""
        tunnel = deployment["TunnelConfig"]
        config = self.folder / f"{self.machine.name}.conf"
        config.write_text(
            f"[Interface]\nPrivateKey = {base64.b64encode(self.secret.private_bytes_raw()).decode()}\n"
            f"[Peer]\nPublicKey = {tunnel['publicKey']}\nEndpoint = {tunnel['endpoint']}\n"
            f"AllowedIPs = {', '.join(tunnel['allowedIPs'])}\nPersistentKeepalive = 1\n"
        )
        self.machine.run("wg", "setconf", self.interface, str(config))
        self.machine.run("ip", "address", "flush", "dev", self.interface)
        self.machine.run("ip", "address", "add", tunnel["address"][0], "dev", self.interface)
        self.machine.run("ip", "link", "set", self.interface, "mtu", "1420", "up")
        for network in tunnel["allowedIPs"]:
            self.machine.run("ip", "route", "replace", network, "dev", self.interface)

    def resolve(self, deployment: dict[str, Any], name: str, kind: str = "A") -> list[str]:
        """Ask the deployment's name server."""
        script = (
            "import sys; from dnslib import DNSRecord; q = DNSRecord.question(*sys.argv[2:]); "
            "print(DNSRecord.parse(q.send(sys.argv[1], 53, timeout=3)).short())"
        )
        server = deployment["TunnelConfig"]["dns"][0]
        return self.machine.run(sys.executable, "-c", script, server, name, kind).stdout.split()


def until(condition: Any, timeout: float = 60.0) -> None:
    """Fail where it does not become true."""
    assert poll(condition, timeout, 0.1)


def names_of(listing: Sequence[dict[str, Any]]) -> list[str]:
    """Deployment names of an answer."""
    return [item["DeploymentName"] for item in listing]
