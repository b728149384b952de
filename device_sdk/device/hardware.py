"""What the device is made of, read from Linux's own files. Called by `gathering.py`.

Each function returns None where the system does not tell. `root` is where the system's files are.
"""

from __future__ import annotations

import os
from pathlib import Path

from device_sdk.fields import printable

_VENDORS = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel"}  # the PCI ID database
_MOST_FILES = 64


def cores(_root: Path) -> int | None:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) or None


def memory_bytes(root: Path) -> int | None:
    """The system's memory (proc(5), MemTotal)."""
    for line in read(root / "proc/meminfo").splitlines():
        words = line.split()
        if words[:1] == ["MemTotal:"] and words[1:2] and words[1].isdecimal():
            return int(words[1]) * 1024
    return None


def gpu(root: Path) -> str | None:
    """The name of the first graphics processor, as far as its driver tells; at least its maker's."""
    for path in listed(root / "proc/driver/nvidia/gpus"):
        for line in read(path / "information").splitlines():
            name, _, value = line.partition(":")
            if name == "Model":
                return printable(value, 128)
    for path in listed(root / "sys/class/drm"):
        vendor = _VENDORS.get(read(path / "device/vendor").strip())
        if vendor and "-" not in path.name:
            product = read(path / "device/product_name").strip()
            return printable(f"{vendor} {product or 'GPU'}", 128)
    return None


def battery_percent(root: Path) -> float | None:
    """The charge of the device's own battery (not of a mouse's)."""
    for path in listed(root / "sys/class/power_supply"):
        own = read(path / "scope").strip() in ("", "System")
        charge = read(path / "capacity").strip()
        if read(path / "type").strip() == "Battery" and own and charge.isdecimal():
            return float(min(100, int(charge)))
    return None


def read(path: Path) -> str:
    """A small file's text; empty where it can't be read."""
    try:
        with path.open("rb") as file:
            return file.read(64 * 1024).decode("utf-8", "replace")
    except OSError:
        return ""


def listed(folder: Path) -> list[Path]:
    """What is in a folder, in order; nothing where there is none."""
    try:
        return sorted(folder.iterdir())[:_MOST_FILES]
    except OSError:
        return []
