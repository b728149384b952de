"""The `podman` program: the only module that starts it. Called by `podman.py`.

The program and not its REST socket: a call takes 30 ms, needs no service that has to be watched, and finds
the same storage and containers.conf as the operator's own `podman`.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from edge_agent.errors import Unavailable

_LOG = logging.getLogger(__name__)

QUICK_SECONDS = 20.0
_ORPHAN_SECONDS = 60.0
_MARK = "SINFONIA_AGENT"

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


class PodmanError(Unavailable):
    """Podman said no; the text is its last line."""


class Podman:
    """Podman with an agent's global options (`--root`, `--runroot` …). `run` is `subprocess.run`."""

    def __init__(
        self,
        agent: UUID,
        options: Sequence[str],
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], object],
        run: Run = subprocess.run,
    ) -> None:
        self._agent = str(agent)
        self._command = ["podman", *options]
        self._environment = {**os.environ, _MARK: self._agent}
        self._clock = clock
        self._sleep = sleep
        self._run = run

    def call(
        self,
        *arguments: str,
        text: bytes = b"",
        timeout: float = QUICK_SECONDS,
        complaints: bool = False,
    ) -> bytes:
        """What it prints, with `complaints` on either output; raises `PodmanError`, or `Unavailable` where it
        is missing or too slow.
        """
        try:
            done = self._run(
                [*self._command, *arguments],
                input=text,
                capture_output=True,
                timeout=timeout,
                check=False,
                start_new_session=True,
                env=self._environment,
            )
        except FileNotFoundError as error:
            raise Unavailable("podman is not installed") from error
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"podman {arguments[0]} {arguments[1]} took more than {timeout:g} s") from error
        if done.returncode:
            raise PodmanError(_reason(done.stderr))
        output: bytes = done.stdout + done.stderr if complaints else done.stdout
        return output

    def listing(self, *arguments: str, timeout: float = QUICK_SECONDS) -> list[dict[str, Any]]:
        """The objects that a listing or an inspection prints as JSON."""
        options = () if "inspect" in arguments else ("--format", "json")
        try:
            listing = json.loads(self.call(*arguments, *options, timeout=timeout) or b"[]")
        except ValueError as error:
            raise Unavailable(f"podman {arguments[0]}: its listing is not JSON") from error
        return [item for item in listing or [] if isinstance(item, dict)]

    def await_orphans(self) -> None:
        """Let the steps end that an earlier run of the agent began before it was killed.

        To kill them too would leave Podman's storage half mounted; to overlook them would miss what they
        make.
        """
        deadline = self._clock() + _ORPHAN_SECONDS
        while (orphans := _marked(self._agent)) and self._clock() < deadline:
            self._sleep(0.05)
        if orphans:
            _LOG.warning("an earlier podman does not end", extra={"processes": orphans})


def _marked(agent: str) -> list[int]:
    """The podman processes that an agent of this UUID started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (folder / "comm").read_text().strip() == "podman":
                variables = (folder / "environ").read_bytes().split(b"\0")
                if f"{_MARK}={agent}".encode() in variables:
                    found.append(int(folder.name))
    return found


def _reason(stderr: bytes) -> str:
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    spoken = [line for line in lines if not line.startswith("time=")] or lines
    return (spoken[-1] if spoken else "it says nothing").removeprefix("Error: ")[:400]
