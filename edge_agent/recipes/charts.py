"""Charts rendered by the real `helm`, version 3 or 4: called by `recipes.py`, calls `archives.py` and the
`helm` program.

Helm runs with a home of its own that is thrown away, with a limit of time and of memory and without a
cluster: `lookup` finds nothing, tests are left out, and no repository is asked. It is not told which versions
of Kubernetes and which APIs there are: what guests may have is the same in all, and a chart that asks for an
operator's API gets to know that it isn't there.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from edge_agent.errors import RecipeUnusable, SettingsError, Unavailable
from edge_agent.recipes.archives import check_schemas, unpack
from edge_agent.recipes.manifests import MAX_TEXT_BYTES, PLACEHOLDER

_LOG = logging.getLogger(__name__)

_MOST_MEMORY = 512 << 20
"""Helm 4 needs less than a quarter of it for the charts that are usual."""
_OUT_OF_MEMORY = b"out of memory"


def find_helm(given: str | None = None) -> str:
    """The `helm` that was given, else on the PATH, else beside this Python; raises `SettingsError`."""
    if given is not None:
        program = shutil.which(given)
        if program is None:
            raise SettingsError(f"--helm {given}: is not a program that can be run")
        return program
    beside = Path(sys.executable).parent / "helm"
    found = shutil.which("helm") or (str(beside) if os.access(beside, os.X_OK) else None)
    if found is None:
        raise SettingsError("helm is not on the PATH; it renders the recipes' charts (https://helm.sh)")
    return found


class Helm:
    """`helm template`, at most `timeout_seconds` long.

    `cloudlet` (its UUID and name) is what every chart may know of where it runs, as
    `.Values.global.sinfonia.cloudlet`; a recipe's own `global` values stay beside it.
    """

    def __init__(self, program: str, cloudlet: Mapping[str, str], timeout_seconds: float = 20.0) -> None:
        self._program = program
        self._cloudlet = dict(cloudlet)
        self._timeout = timeout_seconds

    def render(self, chart: Path, release: str, values: Mapping[str, Any]) -> str:
        """The manifests of a chart (archive or folder) as YAML; raises `RecipeUnusable`, or
        `Unavailable` where this machine can't run Helm.
        """
        try:
            with tempfile.TemporaryDirectory(prefix="sinfonia-helm-") as home:
                folder = chart if chart.is_dir() else unpack(chart, Path(home, "chart"))
                check_schemas(folder)
                file = Path(home, "values.json")
                file.write_text(json.dumps(self._with_cloudlet(values)))
                options = ("--namespace", PLACEHOLDER, "--skip-tests", "--values", str(file))
                return self._run(["template", release, str(folder), *options], home)
        except OSError as error:
            raise Unavailable(f"Helm can't be run: {error.strerror or error}.") from error

    def _with_cloudlet(self, values: Mapping[str, Any]) -> dict[str, Any]:
        given = values.get("global")
        kept = given if isinstance(given, dict) else {}
        return {**values, "global": {**kept, "sinfonia": {"cloudlet": self._cloudlet}}}

    def _run(self, arguments: list[str], home: str) -> str:
        environment = {"PATH": os.defpath, "HOME": home, "HELM_CACHE_HOME": home, "HELM_CONFIG_HOME": home}
        with Path(home, "out").open("w+b") as out, Path(home, "err").open("w+b") as err:
            process = subprocess.Popen(
                [self._program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**environment, "HELM_DATA_HOME": home},
                start_new_session=True,
            )
            _bound(process.pid)
            try:
                status = process.wait(self._timeout)
            except subprocess.TimeoutExpired as error:
                raise RecipeUnusable(f"The chart was not rendered within {self._timeout:g} s.") from error
            finally:
                _end(process)
            out.seek(0)
            err.seek(0)
            if status and os.fstat(out.fileno()).st_size <= MAX_TEXT_BYTES:  # more is refused for that
                raise RecipeUnusable(f"Helm can't render the chart: {_reason(err.read(65536))}")
            return out.read(MAX_TEXT_BYTES + 1).decode("utf-8", "replace")


def _bound(pid: int) -> None:
    """Keep it from filling memory or disk: a template can make much of little."""
    limits = {resource.RLIMIT_DATA: _MOST_MEMORY, resource.RLIMIT_FSIZE: 2 * MAX_TEXT_BYTES}
    with suppress(ProcessLookupError):  # it has ended already
        for kind, most in limits.items():
            _, hard = resource.prlimit(pid, kind)
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.prlimit(pid, kind, (most, most))


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def _reason(stderr: bytes) -> str:
    if _OUT_OF_MEMORY in stderr:
        return f"it needs more than {_MOST_MEMORY >> 20} MiB of memory"
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(("WARNING", "Use --debug"))]
    return (lines[-1] if lines else "it says nothing").removeprefix("Error: ")[:400]
