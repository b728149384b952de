"""The device's uptime: what associations and tunnels count by, as its wall clock may be wrong, and be set."""

from __future__ import annotations

import time


def boot_clock() -> float:
    """Seconds since the device was started, those in which it slept included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
