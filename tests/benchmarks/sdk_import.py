"""What an app pays at its start: `import device_sdk`, beside `import requests`, each in fresh interpreters.

The two take turns, so that a busy moment of this machine hits both. The import brings the API's names; their
modules come with first use, which `used_s` shows: everything but the HTTP library and cryptography, which a
call then loads. `cli_help_s` is the whole of `sinfonia --help`, beside all of an interpreter that imports
requests.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from tests.benchmarks.figures import Figures

ROUNDS = 15
_STATEMENTS = {
    "import_s": "import device_sdk",
    "used_s": "from device_sdk import *",
    "requests_s": "import requests",
}
_PROGRAMS = {
    "cli_help_s": ["-m", "device_sdk.cli", "--help"],
    "requests_program_s": ["-c", "import requests"],
}
_TIMED = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"


def run(max_size: int | None = None) -> Figures:
    """Return medians over `max_size` rounds (at most 15)."""
    rounds = min(ROUNDS, max_size or ROUNDS)
    seconds: dict[str, list[float]] = {name: [] for name in (*_STATEMENTS, *_PROGRAMS)}
    for _ in range(rounds + 1):
        for name, statement in _STATEMENTS.items():
            seconds[name].append(_once(statement))
        for name, arguments in _PROGRAMS.items():
            seconds[name].append(_whole(arguments))
    medians = {name: statistics.median(each[1:]) for name, each in seconds.items()}  # the first fills caches
    figures = {
        "ratio": round(medians["import_s"] / medians["requests_s"], 4),
        "used_ratio": round(medians["used_s"] / medians["requests_s"], 4),
        "cli_help_ratio": round(medians["cli_help_s"] / medians["requests_program_s"], 4),
        **{name: round(value, 5) for name, value in medians.items()},
    }
    units = {name: "x" if name.endswith("ratio") else "s" for name in figures}
    compared = {
        "ratio": 1.3,
        "used_ratio": "import requests",
        "cli_help_ratio": "python -c 'import requests'",
    }
    return Figures("sdk_import", figures, units, compared)


def _once(statement: str) -> float:
    command = [sys.executable, "-c", _TIMED.format(statement)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)


def _whole(arguments: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True, timeout=60)
    return time.perf_counter() - started
