"""The images of `infra/images`: built once from local files, loaded into the stores of machines."""

from __future__ import annotations

import fcntl
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.lab import podman
from tests.lab.machine import Machine

PROJECT = Path(__file__).resolve().parents[2]
HELLOWORLD_IMAGE = "localhost/sinfonia-helloworld:1"
_SOURCES = PROJECT / "infra" / "images"
_ARCHIVES = PROJECT / ".build" / "images"


def helloworld_archive() -> Path:
    """Return the helloworld image as an archive that `podman load` takes."""
    return archive("helloworld")


def archive(name: str) -> Path:
    """Return the image as an archive that `podman load` takes, built where it is older than its files."""
    made = _ARCHIVES / f"{name}.tar"
    _ARCHIVES.mkdir(parents=True, exist_ok=True)
    with (_ARCHIVES / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        newest = max(path.stat().st_mtime for path in (_SOURCES / name).iterdir())
        if not made.exists() or made.stat().st_mtime < newest:
            with tempfile.TemporaryDirectory() as scratch:
                _build(name, made, podman.environment(Path(scratch)))
    return made


def load_helloworld(machine: Machine, stores: Mapping[str, str], environment: Mapping[str, str]) -> None:
    """Load the helloworld image into a machine's Podman store."""
    load("helloworld", machine, stores, environment)


def load(name: str, machine: Machine, stores: Mapping[str, str], environment: Mapping[str, str]) -> None:
    """Load the image into a machine's Podman store; `stores` maps the names of its options to folders."""
    options = [f"--{option}={value}" for option, value in stores.items() if option in ("root", "runroot")]
    machine.run("podman", *options, "load", "-q", "-i", str(archive(name)), env=environment, timeout=60)


def _build(name: str, archive: Path, environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        [str(_SOURCES / name / "build"), str(archive)],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environment},
    )
    if done.returncode:
        message = f"infra/images/{name}/build: status {done.returncode}\n{done.stdout}{done.stderr}"
        raise AssertionError(message)
