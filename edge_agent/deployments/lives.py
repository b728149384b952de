"""All deployments of the running agent: a table with a condition to wait on. Used by `deploy.py`,
`lifecycle.py` and `upkeep.py`; calls `addresses.py`.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network
from uuid import UUID

from edge_agent.deployments.addresses import Plan
from edge_agent.deployments.live import Live, Phase
from edge_agent.deployments.records import Record
from edge_agent.roots.root_wire import MAX_CACHED

LOOK_SECONDS = 5.0
"""A ready backend is looked at so often: its pods may have moved."""
TOLD_SECONDS = 60.0
"""A failed deployment is told about for so long."""
RETRY_SECONDS = 5.0
WAITING_SECONDS = 1.0
"""Whether the last one of a name is gone is looked at so often where the next one waits for it."""
_SLOWEST_SECONDS = 60.0
"""What can't be removed, as a namespace that somebody else holds, is tried so often in the end."""
TOUCH_SECONDS = 60.0

WAITS = "The last one is still being removed."

Turned = Callable[[Phase, Phase, float, str], None]
"""Told of each turn: the phase that ended, the next one, the seconds that it took, the reason."""


class Lives:
    """The table. Safe between threads."""

    def __init__(
        self, clock: Callable[[], float], start_seconds: float = 180.0, turned: Turned = lambda *_: None
    ) -> None:
        self._clock = clock
        self._turned = turned
        self._start_seconds = start_seconds
        self._lives: list[Live] = []
        self._blocks: Counter[IPv4Network] = Counter()
        self._ready_apps: OrderedDict[UUID, None] = OrderedDict()
        self._changed = threading.Condition()

    def add(self, record: Record, plan: Plan, age_seconds: float) -> Live:
        """A deployment that the runtime has already; barred where its block is not free."""
        with self._changed:
            barred = not plan.holds(record.block) or record.block in self._blocks
            now = self._clock()
            born = now - max(age_seconds, 0.0)
            live = Live(record, Phase.WATCHED, now, taken_over=True, barred=barred, born=born)
            return self._enter(live)

    def reserve(
        self,
        plan: Plan,
        seed: int,
        make: Callable[[IPv4Network], Record],
        check: Callable[[Sequence[Live]], None],
        after: Live | None = None,
    ) -> Live:
        """A new deployment with a free block; raises `Unavailable` where none is left, and what `check` of
        those that are there raises. It gets the block of `after`, which ends, and its place in the table,
        and waits for it where that is still there.
        """
        with self._changed:
            check([live for live in self._lives if live is not after])
            now = self._clock()
            if after is not None and after in self._lives:
                self.drop(after)
                live = Live(make(after.record.block), Phase.WAITING, now, WAITS, born=now, after=after)
            else:
                live = Live(make(plan.choose(seed, self._blocks)), Phase.STARTING, now, born=now)
            return self._enter(live)

    def _enter(self, live: Live) -> Live:
        self._lives.append(live)
        self._blocks[live.record.block] += 1
        return live

    def drop(self, live: Live) -> None:
        """Forget it."""
        with self._changed:
            others = [other for other in self._lives if other is not live]
            if len(others) < len(self._lives):
                self._blocks -= Counter([live.record.block])  # leaves no zeros
            self._lives = others
            self._changed.notify_all()

    def all(self) -> list[Live]:
        """Every deployment, those that end included."""
        with self._changed:
            return list(self._lives)

    def ready_apps(self) -> tuple[UUID, ...]:
        """The apps that were ready here last, at most 16: their images are there, unless somebody removed
        them.
        """
        with self._changed:
            return tuple(reversed(self._ready_apps))[:MAX_CACHED]

    def longest_resting(self, root: str | None) -> Live | None:
        """The one that rests for the longest time, of a root's or of all."""
        resting = [
            live
            for live in self.all()
            if live.phase is Phase.RESTING and (root is None or live.record.root == root)
        ]
        return min(resting, key=lambda live: live.since, default=None)

    def older_than(self, seconds: float) -> list[Live]:
        """Those whose records are older than this, and that have not ended."""
        now = self._clock()
        return [live for live in self.all() if live.usable and now - live.born > seconds]

    def peers(self) -> list[Live]:
        """Those whose devices have a tunnel, those that end included: the answer still has to get out."""
        return [live for live in self.all() if not live.barred]

    def of(self, app: UUID, key: bytes) -> Live | None:
        """The deployment of an app and key."""
        return next((live for live in self.all() if (live.record.app, live.key) == (app, key)), None)

    def at(self, device: IPv4Address) -> Live | None:
        """The deployment whose device has this tunnel address."""
        return next((live for live in self.peers() if live.device == device), None)

    def turn(self, live: Live, phase: Phase, reason: str = "") -> None:
        """Move on. Nothing leads back from REMOVING, and from FAILED only REMOVING does.

        While it is unapplied, `since` stays that of the first try: it has to end.
        """
        with self._changed:
            ended = live.phase is Phase.REMOVING or (
                live.phase is Phase.FAILED and phase is not Phase.REMOVING
            )
            if not ended and phase is not live.phase:
                self._turned(live.phase, phase, self._clock() - live.since, reason)
                live.phase, live.reason = phase, reason
                if phase is Phase.READY:
                    self._ready_apps[live.record.app] = None
                    self._ready_apps.move_to_end(live.record.app)
                if not (live.unapplied and live.pending):
                    live.since, live.unapplied = self._clock(), ""
                self._changed.notify_all()

    def postpone(self, live: Live, why: str) -> None:
        """It can't be started now: watch it, and start it again a little later."""
        with self._changed:
            self.turn(live, Phase.WATCHED)
            live.unapplied, live.tried_at = why, self._clock()

    def start_due(self, live: Live) -> bool:
        """Whether it has to be started again now."""
        return bool(live.unapplied) and self._clock() - live.tried_at >= RETRY_SECONDS

    def hold(self) -> None:
        """The runtime can't be read: nobody grows overdue meanwhile."""
        with self._changed:
            for live in self._lives:
                if live.phase in (Phase.WAITING, Phase.WATCHED):
                    live.since = self._clock()

    def wait(self, seconds: float, done: Callable[[], bool]) -> bool:
        """Wait at most so long for a change that makes `done` true."""
        with self._changed:
            return self._changed.wait_for(done, seconds)

    def pause(self, stopped: Callable[[], bool]) -> None:
        """The watching thread's pace: quick while something young is awaited, else once a second.

        Ends at once when something new is to be awaited, or when `stopped` and woken.
        """
        before = self._awaited()
        youngest = min((self._clock() - live.since for live in before), default=10.0)
        seconds = min(1.0, max(0.05, youngest / 10))
        self.wait(seconds, lambda: stopped() or not self._awaited() <= before)

    def _awaited(self) -> set[Live]:
        return {live for live in self.all() if live.phase is Phase.WATCHED}

    def wake(self) -> None:
        """Let everybody who waits look again."""
        with self._changed:
            self._changed.notify_all()

    def overdue(self, live: Live) -> bool:
        """Whether it has been starting, or waiting to be, for too long."""
        return (
            live.phase in (Phase.WAITING, Phase.WATCHED) and self._clock() - live.since > self._start_seconds
        )

    def due_for_look(self) -> list[Live]:
        """Those that are awaited, and the ready ones that were not looked at for a while."""
        now = self._clock()
        due = [
            live
            for live in self.all()
            if live.phase is Phase.WATCHED
            or (live.phase is Phase.READY and now - live.looked_at >= LOOK_SECONDS)
        ]
        for live in due:
            live.looked_at = now
        return due

    def due_for_removal(self) -> list[Live]:
        """Those whose removal failed a while ago, and the failed ones that were told about for long
        enough.
        """
        now = self._clock()
        for live in self.all():
            if live.phase is Phase.FAILED and now - live.since > TOLD_SECONDS:
                self.turn(live, Phase.REMOVING)
        ending = [live for live in self.all() if live.phase in (Phase.FAILED, Phase.REMOVING)]
        return [
            live
            for live in ending
            if not live.removal_queued
            and now - live.tried_at >= min(_SLOWEST_SECONDS, RETRY_SECONDS * 2 ** min(live.tries - 1, 9))
            and not (live.gone and live.phase is Phase.FAILED)
        ]

    def due_for_start(self) -> list[Live]:
        """Those that wait for the last one of their name to be gone."""
        now = self._clock()
        waiting = [live for live in self.all() if live.phase is Phase.WAITING]
        return [live for live in waiting if now - live.tried_at >= WAITING_SECONDS]

    def due_for_rest(self) -> list[Live]:
        """Those whose pods could not be taken down a while ago."""
        now = self._clock()
        return [
            live
            for live in self.all()
            if live.phase is Phase.RESTING and not live.rested and now - live.tried_at >= RETRY_SECONDS
        ]

    def touch_due(self, live: Live) -> bool:
        """Whether its use has to be written down again."""
        due = self._clock() - live.touched_at >= TOUCH_SECONDS
        if due:
            live.touched_at = self._clock()
        return due

    def removed(self, live: Live) -> bool:
        """The runtime has it no more. Whether it was in the table, and not followed by another one."""
        with self._changed:
            live.gone, there = True, live in self._lives
            if live.phase is Phase.REMOVING:
                self.drop(live)
            self._changed.notify_all()
            return there

    def tried(self, live: Live) -> None:
        """A removal was tried."""
        with self._changed:
            live.tried_at = self._clock()
            live.tries += 1
            live.removal_queued = False

    def trying(self, live: Live) -> None:
        """A step is about to be tried, and not again for a while."""
        live.tried_at = self._clock()
