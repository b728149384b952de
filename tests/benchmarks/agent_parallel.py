"""Twenty deploy calls at once to a real agent on a real Kubernetes, new keys and repeated ones mixed."""

from __future__ import annotations

import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.benchmarks.figures import Figures
from tests.lab.cloudlet import Cloudlet, load_image
from tests.lab.machine import poll

CALLS = 20
_KEYS = 10


def run(max_size: int | None = None) -> Figures:
    """Return how many were answered, what was made twice or left over, and the slowest answer."""
    calls = min(CALLS, max_size or CALLS)
    keys = [os.urandom(32) for _ in range(max(1, calls * _KEYS // CALLS))]
    load_image()
    with tempfile.TemporaryDirectory() as folder, Cloudlet(Path(folder), "--idle-seconds", "60") as cloudlet:
        cloudlet.start()
        with ThreadPoolExecutor(calls) as callers:
            answers = list(callers.map(lambda n: _ask(cloudlet, keys[n % len(keys)]), range(calls)))
        records = cloudlet.records()
        blocks = {record.block for record in records}
        told = {str(answer["TunnelConfig"]["address"]) for status, answer, _ in answers if status == 200}
        duplicates = len(records) - len({record.key for record in records}) + len(told) - len(blocks)
        leaks = len(records) - len(keys) + cloudlet.peers() - len(keys)
        poll(lambda: all(_ask(cloudlet, key)[1].get("Status") == "Ready" for key in keys), 60, 0.5)
        leaks += len(cloudlet.records()) - len(keys)
    figures = {
        "answered": float(sum(status == 200 for status, _, _ in answers)),
        "duplicates": float(abs(duplicates)),
        "leaks": float(abs(leaks)),
        "p99_s": round(max(seconds for _, _, seconds in answers), 3),
    }
    unit = {"answered": "calls", "duplicates": "deployments", "leaks": "deployments", "p99_s": "s"}
    return Figures("agent_parallel", figures, unit, {"answered": float(calls), "duplicates": 0, "leaks": 0})


def _ask(cloudlet: Cloudlet, key: bytes) -> tuple[int, dict[str, object], float]:
    began = time.perf_counter()
    status, answer = cloudlet.deploy(key)
    return status, answer[0] if isinstance(answer, list) else answer, time.perf_counter() - began
