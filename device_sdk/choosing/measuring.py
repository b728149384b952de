"""Trying all targets at once: who is late loses. Called by `choose.py`; calls `side_by_side.py` for the ways,
`trial.py` for one target's figures, `memory.py` for those of last time.
"""

from __future__ import annotations

import math
import queue
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from uuid import UUID

from device_sdk.background import Pending
from device_sdk.choosing.means import Means
from device_sdk.choosing.memory import Memory, Remembered
from device_sdk.choosing.ranking import near_best, ranked
from device_sdk.choosing.result import Measured
from device_sdk.choosing.side_by_side import SideBySide
from device_sdk.choosing.trial import Test, Trial
from device_sdk.errors import TunnelError
from device_sdk.progress import Reporter
from device_sdk.target import Target

_PATIENCE_SECONDS = 1.0  # with others once one is done; or as long again as that one took
_LOOK_SECONDS = 0.02
_LATE = "too slow to be measured in time"
_TRANSFER_SECONDS = 0.2  # less is not worth beginning with
_OPENING_SHARE = 0.5  # of the time; a way that is not begun by then is not opened

Work = Callable[[Trial], Measured]


class Measuring:
    """Targets that are tried for so many seconds, the opening of the ways to them included."""

    def __init__(
        self, targets: Sequence[Target], ways: SideBySide, means: Means, report: Reporter, seconds: float
    ) -> None:
        self._means = means
        self._app_uuid = targets[0].app_uuid
        self._trials: list[Trial] = []
        self._rest: list[Measured] = []
        began = means.clock()
        self._deadline = began + seconds
        to_open = began + _OPENING_SHARE * seconds
        with report.phase("tunnel", f"to {len(targets)} cloudlets"):
            for target in targets:
                if self._trials and means.clock() >= to_open:
                    self._rest.append(Measured(target))
                    continue
                try:
                    self._trials.append(ways.trial(target))
                except TunnelError as error:
                    self._rest.append(Measured(target, error=str(error).rstrip(".")))
        # That this device is slow to open them is none of the targets' doing.
        self._fair = means.clock() <= to_open
        for trial in self._trials:
            trial.deadline = self._deadline

    def by_test(self, test: Test) -> list[Measured]:
        """The order that the app's own test finds, the best first."""
        tried = self._together(self._trials, lambda trial: trial.run(test), patient=True)
        return ranked(tried + self._rest)

    def by_speed(self, weigh: float) -> list[Measured]:
        """The order of their round trips, the best first; the root is told, and it is kept."""
        means = self._means
        memory = Memory(means.state, self._app_uuid, means.network(), means.wall_clock)
        before = memory.recall()
        measured = self._together(self._trials, Trial.measure, patient=bool(weigh))
        measured = self._with_throughput(measured, all_of_them=bool(weigh))
        memory.keep(measured)
        _tell(measured)
        return ranked([_with(one, before) for one in measured + self._rest], weigh)

    def _with_throughput(self, measured: list[Measured], *, all_of_them: bool) -> list[Measured]:
        """The same, with throughput for those where it can make a difference."""
        worth = {
            id(one.target): one
            for one in (near_best(measured) if not all_of_them else measured)
            if one.rtt_ms is not None
        }
        if len(worth) < 2 or self._deadline - self._means.clock() < _TRANSFER_SECONDS:
            return measured
        trials = [trial for trial in self._trials if id(trial.target) in worth]
        again = self._together(
            trials, lambda trial: trial.measure_throughput(worth[id(trial.target)]), patient=True
        )
        found = {id(one.target): one for one in again if one.throughput_mbps is not None}
        return [found.get(id(one.target), one) for one in measured]

    def _together(self, trials: Sequence[Trial], work: Work, *, patient: bool) -> list[Measured]:
        """What `work` tells of each, in their order; who is late has that as the error.

        Unless `patient`, the first that is done leaves the others little time, and none if they are clearly
        slower.
        """
        clock, began = self._means.clock, self._means.clock()
        done: queue.SimpleQueue[Measured] = queue.SimpleQueue()
        for trial in trials:
            _start(trial, work, done)
        results: dict[int, Measured] = {}
        until = self._deadline
        best = math.inf
        while len(results) < len(trials) and (left := until - clock()) > 0:
            if all(id(one.target) in results or one.seems_slower_than(best) for one in trials):
                break
            with suppress(queue.Empty):
                one = done.get(timeout=min(left, _LOOK_SECONDS))
                results[id(one.target)] = one
                if not patient and one.rtt_ms is not None:
                    best = min(best, one.rtt_ms)
                    now = clock()
                    until = min(until, now + max(_PATIENCE_SECONDS, now - began))
        return [self._judged(results.get(id(trial.target)) or trial.so_far(_LATE)) for trial in trials]

    def _judged(self, measured: Measured) -> Measured:
        """Who had no fair time to answer is not thought worse of than who was not tried."""
        return measured if self._fair or measured.usable else Measured(measured.target)


def _start(trial: Trial, work: Work, done: queue.SimpleQueue[Measured]) -> None:
    Pending(lambda: done.put(work(trial)), "sinfonia-trial")


def _with(one: Measured, before: Mapping[UUID, Remembered]) -> Measured:
    cloudlet = one.target.cloudlet
    known = before.get(cloudlet.uuid) if cloudlet else None
    return replace(one, remembered_ms=known.rtt_ms) if known else one


def _tell(measured: Sequence[Measured]) -> None:
    """Let the root know in the background, where the app agrees; nobody hears of a failure."""
    for one in measured:
        if one.target.measured is not None and one.rtt_ms is not None:
            Pending(_telling(one), "sinfonia-measurement")


def _telling(one: Measured) -> Callable[[], None]:
    def tell() -> None:
        if one.target.measured is not None and one.rtt_ms is not None:
            median = one.rtt_ms + (one.jitter_ms or 0.0)  # as the contract has it
            one.target.measured(median / 1000, one.throughput_mbps)

    return tell
