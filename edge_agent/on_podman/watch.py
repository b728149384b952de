"""What becomes of a deployment's pods: whether they are ready, and why not. Called by `podman.py`; asks the
guests (`probes.py`) and Podman.

A pod is ready when its containers run and their startup and readiness probes succeed; where there are none,
when its services' TCP ports accept connections once. Liveness is asked from then on. All of it happens at the
pace at which the agent looks, which is once in some seconds for what is ready.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from edge_agent.deployments.records import Observed, Port, Record
from edge_agent.errors import Unavailable
from edge_agent.on_podman import probes
from edge_agent.on_podman.blueprints import pod_address
from edge_agent.on_podman.making import statuses
from edge_agent.on_podman.podman_program import Podman
from edge_agent.on_podman.pods import INDEX_LABEL, PODS_LABEL, PROBES_LABEL, SERVES_LABEL, read_serves
from edge_agent.on_podman.probes import Probe

_LOG = logging.getLogger(__name__)

_RESTARTS = 3
_RESTARTS_UNSEEN = 12
"""Where none of its ends was seen: it may be up for longer each time."""
_KILLED = 137
"""The status of what was sent SIGKILL. `OOMKilled` says who did it where the kernel tells conmon; with
cgroups v1 and runc it stays false.
"""
_PROBE_SECONDS = 3.0
_LINES = 5
_TEXT = 300


class Watch:
    """Looks at pods. `connects` and `fetches` are those of `probes.py`."""

    def __init__(
        self,
        program: Podman,
        connects: Callable[[IPv4Address, int], bool] = probes.connects,
        fetches: Callable[[IPv4Address, int, str], bool] = probes.fetches,
    ) -> None:
        self._podman = program
        self._connects = connects
        self._fetches = fetches
        self._started: set[str] = set()
        self._failures: dict[tuple[str, str], int] = {}

    def keep(self, pods: Collection[str]) -> None:
        """Forget what was known of all pods but these."""
        self._started &= set(pods)
        self._failures = {key: count for key, count in self._failures.items() if key[0] in self._started}

    def look(self, record: Record, subnet: IPv4Network, pods: Sequence[Mapping[str, Any]]) -> Observed:
        """What is to be seen of a deployment that is meant to run."""
        endpoints: dict[Port, tuple[IPv4Address, int]] = {}
        reasons = []
        for pod in sorted(pods, key=lambda pod: _number(pod, INDEX_LABEL, 0)):
            ended = [name for name, status in statuses(pod).items() if status != "running"]
            if ended:
                failure = self._failure(ended)
                if failure:
                    return Observed("Failed", failure)
                reasons.append(f"waiting for {', '.join(ended)}")
                continue
            address = pod_address(subnet, _number(pod, INDEX_LABEL, 0))
            serves = read_serves(pod["Labels"].get(SERVES_LABEL, ""))
            unready = self._unready(pod, address, [(key[1], target) for key, target in serves.items()])
            if unready:
                reasons.append(unready)
            else:
                endpoints |= {
                    key: (address, target) for key, target in serves.items() if key not in endpoints
                }
        wanted = {(name, port.protocol, port.port) for name, ports in record.ports.items() for port in ports}
        count = max([_number(pod, PODS_LABEL, 0) for pod in pods], default=0)
        if len(pods) < max(count, record.workloads) or not wanted <= set(endpoints) or reasons:
            return Observed("Deploying", "; ".join(reasons) or "its pods are being started", endpoints)
        return Observed("Ready", "", endpoints)

    def _unready(
        self, pod: Mapping[str, Any], address: IPv4Address, ports: Sequence[tuple[str, int]]
    ) -> str | None:
        """Why a pod whose containers run is not ready."""
        asked = probes.parse_probes(pod["Labels"].get(PROBES_LABEL, ""))
        known = pod["Id"] in self._started
        ready = [probe for probe in asked if probe.kind == "ready" or (probe.kind == "start" and not known)]
        for probe in ready:
            if not self._succeeds(address, probe):
                return f"{probe.container} does not answer its {_KIND[probe.kind]} probe"
        if not known:
            if not any(probe.kind == "ready" for probe in ready):
                for protocol, port in ports:
                    if protocol == "TCP" and not self._connects(address, port):
                        return f"{pod['Name']} runs, and nothing accepts connections on its port {port}"
            self._started.add(pod["Id"])
        for probe in asked:
            if probe.kind == "alive":
                self._look_after(pod["Id"], address, probe)
        return None

    def _look_after(self, pod: str, address: IPv4Address, probe: Probe) -> None:
        key = pod, probe.container
        if self._succeeds(address, probe):
            self._failures.pop(key, None)
            return
        self._failures[key] = self._failures.get(key, 0) + 1
        if self._failures[key] >= probe.failures:
            _LOG.warning("not alive, it is started again", extra={"container": probe.container})
            self._failures.pop(key)
            self._started.discard(pod)
            with suppress(Unavailable):  # it ends just now
                self._podman.call("restart", "--time", "1", probe.container)

    def _succeeds(self, address: IPv4Address, probe: Probe) -> bool:
        if probe.command:
            try:
                self._podman.call("exec", probe.container, *probe.command, timeout=_PROBE_SECONDS)
            except Unavailable:
                return False
            return True
        if probe.path:
            return self._fetches(address, probe.port, probe.path)
        return self._connects(address, probe.port)

    def _failure(self, containers: Sequence[str]) -> str | None:
        """Why containers will not come back, if they will not."""
        try:
            states = self._podman.listing("container", "inspect", *containers)
        except Unavailable:
            return None  # not made yet, or just being removed
        for container, state in zip(containers, states, strict=False):
            ending = _ending(state)
            if ending == _AGAIN:  # none of its ends was seen
                ending += self._last_end(container)
            if ending:
                return f"The container {container} {ending}.{self._last_lines(container)}"
        return None

    def _last_end(self, container: str) -> str:
        """With which status it ended last, as Podman's own log has it; empty where it keeps none."""
        asked = (*("--stream=false", "--since", "10m", "--format", "json"), "--filter", "event=died")
        try:
            lines = self._podman.call("events", *asked, "--filter", f"container={container}").splitlines()
            return f", last {_with_status(json.loads(lines[-1])['ContainerExitCode'], oom=False)}"
        except (Unavailable, LookupError, TypeError, ValueError):
            return ""

    def _last_lines(self, container: str) -> str:
        """The end of its log, for people: a guest's own words, so printable and short."""
        try:
            log = self._podman.call("logs", "--tail", str(_LINES), container, complaints=True)
        except Unavailable:
            return ""
        text = " | ".join(
            line.strip() for line in log.decode("utf-8", "replace").splitlines() if line.strip()
        )
        shown = "".join(character if character.isprintable() else " " for character in text)[-_TEXT:]
        return f" Its last lines: {shown}" if shown else ""


_AGAIN = "ends again and again"
_KIND = {"start": "startup", "ready": "readiness"}


def _ending(state: Mapping[str, Any]) -> str | None:
    """How a container ended for good, from its inspection."""
    now = state.get("State") or {}
    policy = ((state.get("HostConfig") or {}).get("RestartPolicy") or {}).get("Name")
    status, restarts = now.get("ExitCode"), state.get("RestartCount", 0)
    ended = now.get("Status") in ("exited", "stopped")
    why = _with_status(status, oom=bool(now.get("OOMKilled"))) if ended else ""
    if restarts >= (_RESTARTS if ended else _RESTARTS_UNSEEN):
        return f"{_AGAIN}{', last ' if why else ''}{why}"
    if ended and (policy == "no" or (policy == "on-failure" and status == 0)):
        return f"has ended {why}"
    return None


def _with_status(status: Any, *, oom: bool) -> str:
    sure = "" if oom else "most likely "
    killed = f" (killed, {sure}since it used more memory than it may)" if oom or status == _KILLED else ""
    return f"with status {status}{killed}"


def _number(pod: Mapping[str, Any], label: str, other: int) -> int:
    text = pod["Labels"].get(label, "")
    return int(text) if text.isdigit() else other
