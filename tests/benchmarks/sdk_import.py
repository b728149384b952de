"""What an app pays at its start: `import device_sdk`, beside `import requests`, each in fresh interpreters.

The two take turns, so that a busy moment of this machine hits both. The import brings the API's names; their
modules come with first use, which `used_s` shows: everything but the HTTP library and cryptography, which a
call then loads.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

from tests.benchmarks.figures import Figures

ROUNDS = 15
_STATEMENTS = {
    "import_s": "import device_sdk",
    "used_s": "from device_sdk import *",
    "requests_s": "import requests",
}
_TIMED = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"


def run(max_size: int | None = None) -> Figures:
    """Return medians over `max_size` rounds (at most 15)."""
    rounds = min(ROUNDS, max_size or ROUNDS)
    seconds: dict[str, list[float]] = {name: [] for name in _STATEMENTS}
    for _ in range(rounds + 1):
        for name, statement in _STATEMENTS.items():
            seconds[name].append(_once(statement))
    medians = {name: statistics.median(each[1:]) for name, each in seconds.items()}  # the first fills caches
    figures = {
        "ratio": round(medians["import_s"] / medians["requests_s"], 4),
        "used_ratio": round(medians["used_s"] / medians["requests_s"], 4),
        **{name: round(value, 5) for name, value in medians.items()},
    }
    units = {"ratio": "x", "used_ratio": "x", **dict.fromkeys(_STATEMENTS, "s")}
    return Figures("sdk_import", figures, units, {"ratio": 1.3, "used_ratio": "import requests"})


def _once(statement: str) -> float:
    command = [sys.executable, "-c", _TIMED.format(statement)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)
