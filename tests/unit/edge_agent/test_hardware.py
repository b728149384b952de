"""What this machine has, read from a `/proc` that a test made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_agent.roots.hardware import measure


def test_what_is_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemFree:  5 kB\nMemTotal:       16384 kB\n")
    gpu = tmp_path / "driver" / "nvidia" / "gpus" / "0000:01:00.0"
    gpu.mkdir(parents=True)
    (gpu / "information").write_text("Model: \t\t NVIDIA L4\nIRQ:   7\n")
    found = measure(tmp_path, tmp_path / "none")
    assert (found.memory_bytes, found.gpu) == (16384 * 1024, "NVIDIA L4")
    assert found.cores is not None
    assert found.cores >= 1


def test_what_is_not_there_is_left_out(tmp_path: Path) -> None:
    found = measure(tmp_path)
    assert (found.memory_bytes, found.gpu) == (None, None)
    (tmp_path / "meminfo").write_text("MemTotal: lots\n")
    assert measure(tmp_path).to_json().keys() == {"cores"}


def test_this_machine_has_memory() -> None:
    assert (measure().memory_bytes or 0) > 1 << 20


@pytest.mark.parametrize(
    ("cpu", "memory", "cores", "memory_bytes"),
    [
        ("100000 100000", "1048576", 1, 1048576),
        ("50000 100000", "99999999999", 1, 16384 * 1024),
        ("max 100000", "max", len(os.sched_getaffinity(0)), 16384 * 1024),
        ("99999999 100000", "", len(os.sched_getaffinity(0)), 16384 * 1024),
        ("0 0", "lots of it", len(os.sched_getaffinity(0)), 16384 * 1024),
    ],
)
def test_a_container_has_what_it_is_bounded_to(
    tmp_path: Path, cpu: str, memory: str, cores: int, memory_bytes: int
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:       16384 kB\n")
    (tmp_path / "cpu.max").write_text(f"{cpu}\n")
    (tmp_path / "memory.max").write_text(f"{memory}\n")
    found = measure(tmp_path, tmp_path)
    assert (found.cores, found.memory_bytes) == (cores, memory_bytes)
