"""Podman on machines like ours: settings that work where crun, cgroup v2 or systemd are missing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_CONF = """\
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"""
_CGROUPS = Path("/sys/fs/cgroup")
_PARENT = "libpod_parent"


def environment(folder: Path) -> Mapping[str, str]:
    """Write a containers.conf into `folder` and return the variables that make Podman read it."""
    folder.mkdir(parents=True, exist_ok=True)
    conf = folder / "containers.conf"
    conf.write_text(_CONF)
    return {"CONTAINERS_CONF": str(conf)}


def cgroups() -> frozenset[Path]:
    """Return Podman's control groups that exist now, the deepest first when sorted in reverse."""
    found = [path for path in _CGROUPS.glob(f"*/{_PARENT}/**") if path.is_dir()]
    found += [path for path in _CGROUPS.glob(f"{_PARENT}/**") if path.is_dir()]
    return frozenset(found)


def sweep_cgroups(kept: frozenset[Path]) -> None:
    """Remove the control groups that came after `kept` was taken and whose processes are gone.

    A container that dies with its machine has nobody left to remove its group; the kernel refuses to
    remove one that is still in use.
    """
    for path in sorted(cgroups() - kept, reverse=True):
        try:
            path.rmdir()
        except OSError:
            continue
