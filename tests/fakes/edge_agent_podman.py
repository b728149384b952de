"""Podman on a machine of its own, and the agent's runtime on it, for tests that need no whole agent."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from edge_agent.deployments.records import Observed, Record
from edge_agent.on_podman.disk import Disk
from edge_agent.on_podman.isolation import Isolation
from edge_agent.on_podman.podman import PodmanRuntime
from edge_agent.on_podman.podman_program import Podman
from edge_agent.on_podman.watch import Watch
from edge_agent.recipes.limits import STANDARD, Limits
from edge_agent.recipes.manifests import Backend
from edge_agent.workers import Workers
from tests.lab import images, podman
from tests.lab.machine import Machine, Network, poll
from tests.unit.edge_agent.test_records import RECORD

NEEDS = ("root", "podman", "runc", "netavark", "catatonit", "busybox-static", "nft", "ip", "curl")


class PodmanHost:
    """`machine` with Podman and the helloworld image; its stores lie in `folder`."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine = machine
        self.environment = podman.environment(folder)
        self.names = folder / "names"
        stores = {"root": str(folder / "root"), "runroot": "/run/containers"}
        images.load_helloworld(machine, stores, self.environment)
        self.options = [word for name, value in stores.items() for word in (f"--{name}", value)]
        self.options += ["--network-config-dir", str(folder / "networks")]

    def run(self, arguments: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        """As `subprocess.run`, inside of the machine."""
        options["env"] = {**os.environ, **options.get("env", {}), **self.environment}
        return subprocess.run(self.machine.command(*arguments), **options)

    def runtime(self, agent: uuid.UUID, run: Callable[..., Any] | None = None) -> PodmanRuntime:
        """The runtime of an agent here, whose programs are started with `run`."""
        clocks: dict[str, Any] = {"clock": time.monotonic, "sleep": time.sleep}  # noqa: TID251 - arguments
        program = Podman(agent, self.options, run=run or self.run, **clocks)
        watch = Watch(program, self.connects, self.fetches)
        disk = Disk(program, Workers(1).submit, time.monotonic, look_seconds=0.5)
        isolation = Isolation(agent, run or self.run)
        return PodmanRuntime(agent, program, isolation, self.names / str(agent), disk, watch)

    @contextmanager
    def own_runtime(self, agent: uuid.UUID | None = None) -> Iterator[PodmanRuntime]:
        """The runtime of an agent that is nobody else's; at the end everything of it has to go."""
        runtime = self.runtime(agent or uuid.uuid4())
        yield runtime
        for record in runtime.records():
            runtime.delete(record)
        assert self.left() == []

    def connects(self, address: IPv4Address, port: int) -> bool:
        """Whether the machine reaches the port."""
        probe = self.machine.run("bash", "-c", f"exec 3<>/dev/tcp/{address}/{port}", check=False, timeout=5)
        return probe.returncode == 0

    def fetches(self, address: IPv4Address, port: int, path: str) -> bool:
        """Whether the machine gets the page."""
        url = f"http://{address}:{port}{path}"
        return self.machine.run("curl", "-fsS", "-m", "1", url, check=False).returncode == 0

    def podman(self, *arguments: str, check: bool = True) -> str:
        """What the operator's own podman prints."""
        command = ("podman", *self.options, *arguments)
        return self.machine.run(*command, env=self.environment, timeout=60, check=check).stdout

    def inside(self, container: str, script: str) -> str:
        """What a shell in a guest's container prints, on either output."""
        shell = ("exec", container, "/bin/busybox", "sh", "-c", f"{{ {script}; }} 2>&1")
        return self.podman(*shell, check=False)

    def left(self) -> list[str]:
        """Everything of deployments that is still there."""
        found = self.podman("network", "ls", "--filter", "label=sinfonia/agent", "-q").split()
        found += self.podman("pod", "ps", "-q").split() + self.podman("ps", "--all", "-q").split()
        tables = self.machine.run("nft", "list", "tables").stdout.split()
        found += [path.name for path in self.names.glob("*/*")]
        return found + self.podman("volume", "ls", "-q").split() + [one for one in tables if "pods" in one]


INTERNET = "192.0.2.1"


@dataclass(frozen=True)
class GuestSite:
    """A host with Podman, 203.0.113.7, and its neighbour, 203.0.113.8, which plays the Internet too. Both
    serve a page on port 8000 of all their addresses.
    """

    host: PodmanHost
    neighbour: Machine
    folder: Path


@contextmanager
def guest_site() -> Iterator[GuestSite]:
    """Make the two, and take them away at the end."""
    folder = Path(tempfile.mkdtemp(prefix="guests-"))
    kept = podman.cgroups()
    with ExitStack() as stack:
        lan = stack.enter_context(Network("lan", "203.0.113.0/24"))
        machine = stack.enter_context(Machine("cloudlet"))
        neighbour = stack.enter_context(Machine("neighbour"))
        lan.attach(machine, "203.0.113.7")
        lan.attach(neighbour, "203.0.113.8")
        neighbour.run("ip", "route", "add", "default", "via", "203.0.113.7")
        neighbour.run("ip", "address", "add", f"{INTERNET}/32", "dev", "lo")
        machine.run("ip", "route", "add", "default", "via", "203.0.113.8")
        machine.run("ip", "address", "add", "169.254.169.254/32", "dev", "lo")
        for host in (machine, neighbour):
            host.popen(["/bin/busybox", "httpd", "-f", "-p", "8000", "-h", str(folder)])
        (folder / "index.html").write_text("a page")
        yield GuestSite(PodmanHost(machine, folder), neighbour, folder)
    podman.sweep_cgroups(kept)
    shutil.rmtree(folder, ignore_errors=True)


def started(
    runtime: PodmanRuntime, chosen: Backend, name: str = "guest", limits: Limits = STANDARD
) -> Record:
    record = planned(chosen, name)
    runtime.create(record)
    runtime.apply(record, chosen.placed(record.home), limits)
    return record


def planned(chosen: Backend, name: str = "guest") -> Record:
    block = IPv4Network("100.71.0.8/29")
    return replace(RECORD, name=name, ports=chosen.ports, workloads=chosen.workloads, block=block)


def settled(runtime: PodmanRuntime, record: Record, timeout: float = 60.0) -> Observed:
    seen: list[Observed] = []

    def done() -> bool:
        seen.append(runtime.observe([record])[record.name])
        return seen[-1].state != "Deploying"

    assert poll(done, timeout, 0.1), seen[-1]
    return seen[-1]


def named(host: PodmanHost, container: str, name: str) -> str:
    """The address by which a guest knows a name."""
    hosts = host.inside(container, "/bin/busybox cat /etc/hosts").splitlines()
    return next(line.split()[0] for line in hosts if name in line.split()[1:])


def got(host: PodmanHost, container: str, target: str, *options: str) -> str:
    """The page that a guest gets from an address and port; empty for none."""
    page: str = within(host, container, "curl", "-sS", "-m", "3", *options, f"http://{target}/").stdout
    return page


def within(host: PodmanHost, container: str, *command: str) -> Any:
    """A program of the machine's, on a guest's network."""
    pid = host.podman("container", "inspect", container, "--format", "{{.State.Pid}}").strip()
    return host.machine.run("nsenter", "--target", pid, "--net", *command, check=False)
