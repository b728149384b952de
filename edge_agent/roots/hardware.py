"""What this machine has, for roots and devices that choose by it. Called by `choices.py`; reads `/proc`, and
what a container that stands for a machine is bounded to.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from edge_agent.deployments.requirements import Hardware


def measure(root: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> Hardware:
    """Cores that may be used, memory, and the model of the first GPU where NVIDIA's driver names one.

    Only in a container has the uppermost `cgroup` limits (cgroups 2; Linux, admin-guide/cgroup-v2).
    """
    cores, memory = len(os.sched_getaffinity(0)), _memory_bytes(root)
    quota, period = _numbers(cgroup / "cpu.max", 2) or (0, 0)
    if quota and period:
        cores = max(1, min(cores, quota // period))
    (most,) = _numbers(cgroup / "memory.max", 1) or (0,)
    return Hardware(cores, min(memory, most) if memory and most else memory, _gpu(root))


def completed(said: Hardware, found: Hardware) -> Hardware:
    """What the operator says; the rest as found."""
    cores, memory = said.cores or found.cores, said.memory_bytes or found.memory_bytes
    return Hardware(cores, memory, said.gpu or found.gpu)


def _memory_bytes(root: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError, LookupError):
        lines = (line.split() for line in (root / "meminfo").read_text().splitlines())
        return next(int(words[1]) * 1024 for words in lines if words[:1] == ["MemTotal:"])
    return None


def _numbers(file: Path, count: int) -> list[int] | None:
    """Whole numbers of a file; None where there are others, as `max`, or no file."""
    with contextlib.suppress(OSError, ValueError):
        found = [int(word) for word in file.read_text().split()]
        return found if len(found) == count else None
    return None


def _gpu(root: Path) -> str | None:
    for file in sorted(root.glob("driver/nvidia/gpus/*/information")):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            for line in file.read_text().splitlines():
                name, _, model = line.partition(":")
                if name == "Model" and model.strip().isprintable() and model.strip():
                    return model.strip()[:64]
    return None
