"""How much guests wrote onto the disk: into their containers' own layers, which Podman bounds on few file
systems. Called by `podman.py`; calls `podman_program.py`.

So they are looked at every now and then, in the background, and a deployment that is beyond its limit fails.
Sizes are those that files have, holes included. Volumes are in memory and logs have a size of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edge_agent.on_podman.podman_program import Podman

STORAGE_LABEL = "sinfonia/storage"
LOOK_SECONDS = 20.0
_MEASURE_SECONDS = 300.0


class Disk:
    """`later` does a job in the background; `clock` is monotonic."""

    def __init__(
        self,
        program: Podman,
        later: Callable[[Callable[[], None]], None],
        clock: Callable[[], float],
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._podman = program
        self._later = later
        self._clock = clock
        self._look_seconds = look_seconds
        self._next_at = 0.0
        self._written: Mapping[str, int] = {}

    def look(self, pods: Sequence[Mapping[str, Any]]) -> None:
        """Begin to measure pods, if it is time; returns at once."""
        if pods and self._clock() >= self._next_at:
            self._next_at = float("inf")
            ids = [str(pod["Id"]) for pod in pods]
            self._later(lambda: self._measure(ids))

    def excess(self, pods: Sequence[Mapping[str, Any]]) -> str:
        """Why a deployment with these pods has to end; empty while it need not."""
        limits = [str(pod["Labels"].get(STORAGE_LABEL, "")) for pod in pods]
        written = sum(self._written.get(str(pod["Id"]), 0) for pod in pods)
        most = max((int(limit) for limit in limits if limit.isdigit()), default=written)
        if written <= most:
            return ""
        return f"It wrote {written >> 20} MiB onto the disk; its limit is {most >> 20} MiB."

    def _measure(self, pods: Sequence[str]) -> None:
        chosen = [word for pod in pods for word in ("--filter", f"pod={pod}")]
        try:
            listed = self._podman.listing("ps", "--all", "--size", *chosen, timeout=_MEASURE_SECONDS)
            written: dict[str, int] = {}
            for container in listed:
                size = (container.get("Size") or {}).get("rwSize") or 0
                written[container["Pod"]] = written.get(container["Pod"], 0) + int(size)
            self._written = written
        finally:
            self._next_at = self._clock() + self._look_seconds
