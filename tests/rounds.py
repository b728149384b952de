"""`python -m tests.rounds [N] [--json]`: kill a real agent at random points, N times, and see what is left.

Each round starts the agent on a real Kubernetes and asks it for backends, while others grow idle, rest and
go, and kills it within a few seconds. The next start has to finish or undo what it finds: no two records
for a key, an address for each record. Every tenth time, and in the end, all is left to grow idle: then
nothing may stay, no record, no namespace that is ending, no peer.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from http.client import HTTPException
from pathlib import Path

from tests.lab.cloudlet import Cloudlet, load_image
from tests.lab.machine import end_as_by_ctrl_c, poll

CHECKED_EVERY = 10
_KEYS = 4
_OPTIONS = ("--trial", "--idle-seconds", "2", "--rest-seconds", "1")
_SHORT_SECONDS, _LONG_SECONDS = 3.0, 9.0
"""Most lives are short; in a long one, what it was asked for grows idle as well, rests and goes."""
_LONG_SHARE = 0.3
_GONE_SECONDS = 240.0


@dataclass
class Tally:
    """What was seen in all rounds. Those from `wrong_answers` to `orphan_peers` have to be zero. A start that
    was slow with little CPU of its own was held up by the machine.
    """

    rounds: int = 0
    checks: int = 0
    answered: int = 0
    died_first: int = 0
    wrong_answers: int = 0
    doubles: int = 0
    orphans: int = 0
    orphan_peers: int = 0
    slowest_start_s: float = 0.0
    most_start_cpu_s: float = 0.0

    @property
    def good(self) -> bool:
        """Whether nothing was lost or doubled."""
        return not (self.wrong_answers or self.doubles or self.orphans or self.orphan_peers)


def run(rounds: int, seed: int, folder: Path, devices: int = _KEYS) -> Tally:
    """Kill so many times, and let everything go idle now and then to count what stays."""
    chance = random.Random(seed)
    keys = [chance.randbytes(32) for _ in range(devices)]
    tally = Tally()
    load_image()
    with Cloudlet(folder, *_OPTIONS) as cloudlet, ThreadPoolExecutor(devices) as callers:
        while tally.rounds < rounds:
            tally.slowest_start_s = max(tally.slowest_start_s, round(cloudlet.start(), 1))
            tally.most_start_cpu_s = max(tally.most_start_cpu_s, cloudlet.use().cpu_s)
            tally.doubles += _doubles(cloudlet)
            calls = [callers.submit(_ask, cloudlet, key) for key in keys if chance.random() < 0.6]
            longest = _LONG_SECONDS if chance.random() < _LONG_SHARE else _SHORT_SECONDS
            threading.Event().wait(chance.uniform(0.0, longest))
            cloudlet.kill()
            statuses = [call.result() for call in calls]
            tally.rounds += 1
            tally.answered += statuses.count(200)
            tally.died_first += statuses.count(0)
            tally.wrong_answers += sum(status not in (0, 200, 503) for status in statuses)
            _say(f"round {tally.rounds}: {statuses}, {len(cloudlet.records())} records")
            if tally.rounds % CHECKED_EVERY == 0 or tally.rounds == rounds:
                _check(cloudlet, tally)
    return tally


def _check(cloudlet: Cloudlet, tally: Tally) -> None:
    """Start the agent, ask for nothing, and count what stays."""
    took, began = cloudlet.start(), time.monotonic()
    poll(lambda: not cloudlet.homes() and not cloudlet.peers(), _GONE_SECONDS, 0.5)
    tally.checks += 1
    tally.orphans += len(cloudlet.homes())
    tally.orphan_peers += cloudlet.peers()
    _say(f"check: started in {took:.1f} s, nothing left {time.monotonic() - began:.1f} s later; {tally}")
    cloudlet.kill()


def _ask(cloudlet: Cloudlet, key: bytes) -> int:
    """The status of a deploy call; 0 where the agent died before it answered."""
    try:
        return cloudlet.deploy(key)[0]
    except (OSError, HTTPException, ValueError):
        return 0


def _doubles(cloudlet: Cloudlet) -> int:
    records = cloudlet.records()
    keys, blocks = {(one.app, one.key) for one in records}, {one.block for one in records}
    return 2 * len(records) - len(keys) - len(blocks)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - this is a program


def main() -> int:
    """Exit status 0 if nothing was lost or doubled."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.rounds", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("rounds", type=int, nargs="?", default=100)
    parser.add_argument("--seed", type=int, default=0, help="where to kill, repeatably (default: 0)")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    options = parser.parse_args()
    end_as_by_ctrl_c()
    with tempfile.TemporaryDirectory() as folder:
        tally = run(options.rounds, options.seed, Path(folder))
    print(json.dumps(asdict(tally)) if options.json else tally)  # noqa: T201
    return 0 if tally.good else 1


if __name__ == "__main__":
    sys.exit(main())
