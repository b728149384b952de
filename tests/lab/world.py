"""A small world to try the whole job in: an internet, a home network, a root, cloudlets and a device.

Every host is a `Machine`; on each runs the real program: `cloud.local_root`, `sinfonia-agent` with Podman
and WireGuard, the `sinfonia` command line. Used by the demo, the live flow tests and the benchmarks.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.lab import images, podman
from tests.lab.machine import Machine, Network, Program, poll

PROJECT = Path(__file__).resolve().parents[2]
RECIPES = PROJECT / "infra" / "recipes"
HELLOWORLD = "00000000-0000-0000-0000-000000000000"
INTERNET = "198.51.100.0/24"  # TEST-NET-2 (RFC 5737)
HOME = "192.168.77.0/24"
ROOT_ADDRESS = "198.51.100.10"
DEVICE_ADDRESS = "198.51.100.200"
DEVICE_HOME_ADDRESS = "192.168.77.200"
BIN = Path(sys.executable).parent


@dataclass
class Host:
    """A machine with the one program that it is there for."""

    machine: Machine
    program: Program
    address: str
    url: str
    log: Path

    def get(self, path: str, timeout: float = 5.0) -> Any:
        """Return what a GET at this host's own address answers, parsed as JSON."""
        return json.loads(self.machine.run("curl", "-sS", "-m", str(timeout), self.url + path).stdout)

    def vanish(self) -> None:
        """Be gone at once, as in a power cut."""
        self.machine.close()


@dataclass
class World:
    """Hosts and networks under one `folder`; closing it takes all of them away."""

    folder: Path
    root: Host | None = None
    cloudlets: dict[str, Host] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._temporary = self.folder / "tmp"  # programs that are killed leave theirs behind
        self._temporary.mkdir(parents=True, exist_ok=True)
        self._kept_cgroups = podman.cgroups()
        self._closing = contextlib.ExitStack()
        try:
            self.internet = self._closing.enter_context(Network("internet", INTERNET))
            self.home = self._closing.enter_context(Network("home", HOME))
            self.device = self._closing.enter_context(Machine("device"))
            self.internet.attach(self.device, DEVICE_ADDRESS)
            self.home.attach(self.device, DEVICE_HOME_ADDRESS, "eth1")
        except BaseException:
            self.close()
            raise

    def start_root(self) -> Host:
        """Start a local root and wait until it answers."""
        machine = self._closing.enter_context(Machine("root"))
        self.internet.attach(machine, ROOT_ADDRESS)
        url = f"http://{ROOT_ADDRESS}:8080"
        log = self.folder / "root.log"
        command = [sys.executable, "-m", "cloud.local_root", "--host", ROOT_ADDRESS, "--port", "8080"]
        command += ["--recipes", str(RECIPES), "--data", str(self.folder / "root")]
        program = machine.popen(command, log=log, env={"PYTHONPATH": str(PROJECT), **self._environment})
        self.root = Host(machine, program, ROOT_ADDRESS, url, log)
        self._until_healthy(self.root)
        return self.root

    def start_cloudlet(
        self,
        name: str,
        address: str,
        location: str | None = None,
        *,
        roots: Sequence[str] = (),
        options: Sequence[str] = (),
        bare: bool = False,
        more_images: Sequence[str] = (),
    ) -> Host:
        """Start a cloudlet whose agent runs backends with Podman; an address at home puts it there. A `bare`
        one has neither recipes nor images; `more_images` it has beside helloworld's.
        """
        machine = self._closing.enter_context(Machine(name))
        network = self.home if address.startswith(HOME.rsplit(".", 1)[0] + ".") else self.internet
        network.attach(machine, address)
        folder = self.folder / name
        environment = {**podman.environment(folder), **self._environment}
        stores = _podman_stores(folder)
        if not bare:
            for image in ("helloworld", *more_images):
                images.load(image, machine, stores, environment)
        command = [str(BIN / "sinfonia-agent"), "run", "--runtime", "podman", "--name", name]
        command += [] if bare else ["--recipes", str(RECIPES)]
        command += [
            "--state",
            str(folder / "state"),
            "--listen",
            f"{address}:7070",
        ]
        for option, value in stores.items():
            command += [f"--podman-{option}", value]
        for root in roots:
            command += ["--root", root]
        if location:
            command.append(f"--location={location}")
        log = self.folder / f"{name}.log"
        program = machine.popen([*command, *options], log=log, env=environment)
        host = Host(machine, program, address, f"http://{address}:7070", log)
        self.cloudlets[name] = host
        self._until_healthy(host)
        if "--announce" in options and not poll(lambda: " announced " in log.read_text(), 10, 0.05):
            message = f"{name} did not announce itself:\n{log.read_text()[-2000:]}"
            raise AssertionError(message)
        return host

    def wait_for_cloudlets(self, count: int, timeout: float = 30.0) -> list[dict[str, Any]]:
        """Wait until the root lists `count` cloudlets; return them as it lists them."""
        root = self.root
        if root is None:
            message = "the world has no root"
            raise AssertionError(message)
        seen: list[dict[str, Any]] = []

        def all_there() -> bool:
            seen[:] = root.get("/api/v1/cloudlets/")
            return len(seen) >= count

        if not poll(all_there, timeout, 0.1):
            message = f"the root knows {len(seen)} cloudlets, not {count}"
            raise AssertionError(message)
        return seen

    def sinfonia(
        self, *arguments: str, check: bool = True, timeout: float = 60.0, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the device's command line to its end."""
        environment = {"XDG_STATE_HOME": str(self.folder / "device"), **self._environment, **(env or {})}
        return self.device.run(
            str(BIN / "sinfonia"), *arguments, check=check, timeout=timeout, env=environment
        )

    def close(self) -> None:
        """Take everything away: machines, networks, control groups and files."""
        self._closing.close()
        podman.sweep_cgroups(self._kept_cgroups)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _environment(self) -> dict[str, str]:
        return {"TMPDIR": str(self._temporary)}

    def _until_healthy(self, host: Host, timeout: float = 30.0) -> None:
        def healthy() -> bool:
            if host.program.poll() is not None:
                tail = host.log.read_text(errors="replace")[-2000:]
                message = f"{host.machine.name} ended with status {host.program.poll()}:\n{tail}"
                raise AssertionError(message)
            probe = host.machine.run(
                *("curl", "-fsS", "-m", "2", "-o", "/dev/null", f"{host.url}/api/v1/health"), check=False
            )
            return probe.returncode == 0

        if not poll(healthy, timeout, 0.05):
            tail = host.log.read_text(errors="replace")[-2000:]
            message = f"{host.machine.name} does not answer within {timeout:.0f} s:\n{tail}"
            raise AssertionError(message)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _podman_stores(folder: Path) -> dict[str, str]:
    """Return where a cloudlet's Podman keeps its things, by the name of the agent's option."""
    return {
        "root": str(folder / "containers"),
        "runroot": "/run/containers",
        "network-dir": str(folder / "networks"),
    }
