"""How often `fastest` picks the nearest of three cloudlets, over emulated paths that are others in each run.

Real WireGuard tunnels, made anew for each run in a device of its own; the cloudlets are stand-ins whose
gateways serve probes. The nearest has a round trip of 4 to 40 ms, each other at least 2 ms and a quarter more
than the one before it, up to three times that; every packet jitters by a twentieth, and one in 200 is lost.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from device_sdk.choosing.choose import choose
from device_sdk.choosing.means import Means
from tests.benchmarks.figures import Figures
from tests.lab.apart import Apart
from tests.lab.machine import inside
from tests.lab.slow_path import Quality

RUNS = 100
CLOUDLETS = 3
_JITTER, _LOSS = 0.05, 0.005
_WARM_UP_SECONDS = 0.05  # until the paths are the new ones


def run(max_size: int | None = None) -> Figures:
    """Return how many of `max_size` runs (at most 100) picked the fastest, and what the others cost."""
    runs = min(RUNS, max_size or RUNS)
    chance = random.Random(2026)
    picked, excess, at_random, took = 0, [], [], []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        apart = Apart(stack, Path(folder), CLOUDLETS)
        targets = apart.targets()
        stack.enter_context(inside(apart.device))
        for number in range(runs):
            round_trips = _round_trips(chance)
            apart.be([Quality(ms / 2, ms / 2 * _JITTER, _LOSS) for ms in round_trips])
            time.sleep(_WARM_UP_SECONDS)  # noqa: TID251
            means = Means(Path(folder) / f"state{number}")
            began = time.perf_counter()
            with choose(targets, "fastest", ready_timeout=0, means=means) as chosen:
                took.append(time.perf_counter() - began)
                chosen.wait_released(10)
            got, best = round_trips[targets.index(chosen.target)], min(round_trips)
            picked += got == best
            excess.append(got - best)
            at_random.append(statistics.mean(round_trips) - best)
    figures = {
        "picked_fastest": picked,
        "runs": runs,
        "mean_excess_ms": round(statistics.mean(excess), 3),
        "random_excess_ms": round(statistics.mean(at_random), 3),
        "choose_s": round(statistics.median(took), 3),
    }
    unit = {
        "picked_fastest": "runs",
        "runs": "runs",
        "mean_excess_ms": "ms",
        "random_excess_ms": "ms",
        "choose_s": "s",
    }
    compared: dict[str, float | str] = {
        "picked_fastest": 0.95 * runs,
        "mean_excess_ms": "random_excess_ms: the mean of choosing by chance",
    }
    return Figures("choosing", figures, unit, compared)


def _round_trips(chance: random.Random) -> list[float]:
    """In milliseconds, in any order."""
    found = [chance.uniform(4, 40)]
    while len(found) < CLOUDLETS:
        found.append(max(found[-1] + 2, found[-1] * chance.uniform(1.25, 3)))
    chance.shuffle(found)
    return found
