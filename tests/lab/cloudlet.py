"""A real agent process on this machine, over the cluster of `SINFONIA_TEST_KUBECONFIG`, that may be killed
and started again. Used by the rounds of deaths and the agent's benchmarks.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from edge_agent.deployments.records import AGENT_LABEL, Record
from tests.lab import cluster, images
from tests.lab.machine import poll
from tests.lab.world import HELLOWORLD, PROJECT, RECIPES

_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_NOBODY = "http://127.0.0.1:9"  # a root that is always away


@dataclass(frozen=True)
class Use:
    """What a process used until now: seconds of CPU, and MB that are resident."""

    cpu_s: float
    rss_mb: float


class Cloudlet:
    """One agent's state folder and ports; closing it removes everything that the agent made. It serves at
    `host`, an address of this machine.
    """

    def __init__(self, folder: Path, *options: str, host: str = "127.0.0.1") -> None:
        self.folder = folder
        self.log = folder / "agent.log"
        self.url = f"http://{host}:{_free(socket.SOCK_STREAM)}"
        self.api = cluster.admin()
        self.metrics = f"127.0.0.1:{_free(socket.SOCK_STREAM)}"
        self._udp = _free(socket.SOCK_DGRAM)
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._forwarding = _FORWARDING.read_text()
        self.uuid = ""

    def start(self, timeout: float = 120.0) -> float:
        """Start the agent; return the seconds until it serves."""
        command = [sys.executable, "-m", "edge_agent", "run", "--runtime", "kubernetes", "--root", _NOBODY]
        command += ["--kubeconfig", os.environ["SINFONIA_TEST_KUBECONFIG"], "--recipes", str(RECIPES)]
        command += ["--state", str(self.folder / "state"), "--listen", self.url.removeprefix("http://")]
        if "--gateway" not in self._options:
            command += ["--wireguard-port", str(self._udp), "--wireguard-endpoint", "127.0.0.1"]
        command += ["--metrics", self.metrics]
        with self.log.open("ab") as sink:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command, *self._options],
                stdout=sink,
                stderr=sink,
                cwd=PROJECT,
            )
        began = time.monotonic()
        assert poll(self._serves, timeout, 0.05), self.log.read_text(errors="replace")[-3000:]
        return time.monotonic() - began

    def _serves(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text(errors="replace")[-3000:]
        with contextlib.suppress(OSError, ValueError):
            status, health = self.call("GET", "/api/v1/health")
            self.uuid = health.get("uuid", self.uuid)
            return status == 200 and self.deploy_status() != 503
        return False

    def deploy_status(self) -> int:
        """What a look for a deployment that nobody has is answered with: 503 until the agent serves."""
        return self.call("GET", f"/api/v1/deploy/{HELLOWORLD}/{_text(bytes(32))}")[0]

    def use(self) -> Use:
        """What the agent used since its start; the programs that it ran left out."""
        assert self._process is not None
        place = Path(f"/proc/{self._process.pid}")
        fields = (place / "stat").read_text().rsplit(")", 1)[1].split()
        pages = int((place / "statm").read_text().split()[1])
        cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return Use(cpu, pages * os.sysconf("SC_PAGE_SIZE") / 1e6)

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(30)

    def call(self, method: str, path: str, timeout: float = 40.0) -> tuple[int, Any]:
        """The status and JSON of an answer; `OSError` where there is none."""
        request = urllib.request.Request(self.url + path, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read() or b"{}")

    def deploy(self, key: bytes, wait: float = 0.0) -> tuple[int, Any]:
        """Ask for helloworld."""
        return self.call("POST", f"/api/v1/deploy/{HELLOWORLD}/{_text(key)}?wait={wait:g}")

    def records(self) -> list[Record]:
        """The records in the cluster that are not being deleted."""
        found = [one for one in self._namespaces() if not one.get("deletionTimestamp")]
        return [Record.read({**one["labels"], **one["annotations"]}) for one in found]

    def homes(self) -> list[str]:
        """The namespaces of this agent's backends, those included that are being deleted."""
        return [str(one["name"]) for one in self._namespaces()]

    def _namespaces(self) -> list[dict[str, Any]]:
        found = self.api.items("/api/v1/namespaces", labelSelector=f"{AGENT_LABEL}={self.uuid}")
        return [one["metadata"] for one in found]

    def peers(self) -> int:
        """How many peers the gateway has."""
        listing = subprocess.run(
            ["wg", "show", f"sf-{self.uuid[:8]}", "peers"], capture_output=True, text=True, check=False
        )
        return len(listing.stdout.split())

    def close(self) -> None:
        """Let an agent that removes everything clean up, and remove by hand what it could not."""
        self.kill()
        if self.uuid:
            for record in self.records():
                with contextlib.suppress(Exception):
                    self.api.call("DELETE", f"/api/v1/namespaces/{record.home}")
            self._options = (*self._options, "--on-exit", "remove")
            with contextlib.suppress(AssertionError):
                self.start()
            assert self._process is not None
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(60)
            self.kill()
        _FORWARDING.write_text(self._forwarding)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@functools.cache
def load_image() -> None:
    """Let the cluster have helloworld's image, once."""
    load = os.environ.get("SINFONIA_TEST_LOAD_IMAGE")
    if load:
        command = [*shlex.split(load), str(images.helloworld_archive())]
        subprocess.run(command, check=True, timeout=120, stdout=sys.stderr)


def _text(key: bytes) -> str:
    return urlsafe_b64encode(key).decode().rstrip("=")


def _free(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
