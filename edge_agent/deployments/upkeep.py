"""What keeps deployments true over time: taking over at a start, watching, expiry. One thread calls `tick`.

Called by `__main__.py`; calls `lifecycle.py`, the runtime and the gateway. It never acts on a blank: what
can't be seen is left as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from ipaddress import IPv4Address

from edge_agent.deployments.leases import Activity, Leases
from edge_agent.deployments.lifecycle import Lifecycle
from edge_agent.deployments.live import Live, Phase
from edge_agent.deployments.lives import LOOK_SECONDS, Lives
from edge_agent.deployments.records import Observed, Port, Record
from edge_agent.deployments.routes import Routes
from edge_agent.deployments.runtime import Runtime
from edge_agent.errors import Unavailable

_LOG = logging.getLogger(__name__)

_COMPARE_SECONDS = 60.0
AGE_GRACE_SECONDS = 600.0
"""Ages of what an earlier run made are told by the time of day, which may have jumped meanwhile: after a
start nobody ends of age for so long, or for half the greatest age where that is less.
"""


class Upkeep:
    """The agent's care for its deployments. `count` is shown the traffic of each; none gets older than
    `max_age_seconds`.
    """

    def __init__(
        self,
        lifecycle: Lifecycle,
        runtime: Runtime,
        routes: Routes,
        lives: Lives,
        leases: Leases,
        clock: Callable[[], float],
        count: Callable[[Iterable[Live], Mapping[bytes, Activity]], None],
        max_age_seconds: float | None = None,
    ) -> None:
        self._max_age_seconds = max_age_seconds
        self._aging_from = float("-inf")
        self._clock = clock
        self._count = count
        self._expired_at = self._compared_at = float("-inf")
        self._strays: set[str] = set()
        self._lifecycle = lifecycle
        self._runtime = runtime
        self._routes = routes
        self._lives = lives
        self._leases = leases

    def restore(self) -> None:
        """Take over what an earlier run left: adopt, finish or undo. Raises `Unavailable`, and may be tried
        again.
        """
        records = self._runtime.records()
        observed = self._runtime.observe(records)
        self._runtime.sweep([record.name for record in records])
        known = {live.record.name for live in self._lives.all()}  # of an attempt that got no further
        fresh = sorted((record for record in records if record.name not in known), key=_age)
        with self._routes.held():  # what ends at once must not make the gateway forget those not yet known
            ready = [record.name for record in fresh if self._take_over(record, observed.get(record.name))]
            self._routes.sync()  # with the endpoints that are there: sessions go on
        for live in self._lives.all():
            if live.record.name in ready:
                self._lifecycle.ready(live)
                self._lifecycle.touch_later(live)  # it is held anew, by this run
        if self._max_age_seconds:
            self._aging_from = self._clock() + min(AGE_GRACE_SECONDS, self._max_age_seconds / 2)
        _LOG.info("deployments taken over", extra={"count": len(records)})

    def _take_over(self, record: Record, seen: Observed | None) -> bool:
        """Add a deployment that is there, and say whether it is ready."""
        live = self._lifecycle.take_over(record)
        if not live.usable:
            return False
        if seen is not None and seen.state == "Ready":
            live.endpoints = seen.endpoints or {}
            return True
        if seen is not None and seen.state == "Resting":
            live.rested = True
            self._lives.turn(live, Phase.RESTING, "It rests until it is used again.")
            return False
        self._lifecycle.resume(live)
        return False

    def tick(self) -> None:
        """Look at what runs, end what is idle, retry what is due."""
        try:
            self._look()
        except Unavailable as error:
            _LOG.warning("the runtime can't be read", extra={"reason": str(error)})
            self._lives.hold()
        if self._clock() - self._expired_at >= LOOK_SECONDS:
            self._expired_at = self._clock()
            self._expire()
        if self._clock() - self._compared_at >= _COMPARE_SECONDS:
            self._compared_at = self._clock()
            self._compare()
        for live in self._lives.due_for_start():
            if self._lives.overdue(live):
                self._lifecycle.fail(live, live.reason)
            else:
                self._lifecycle.follow(live)
        for live in self._lives.due_for_rest():
            self._lifecycle.queue_rest(live)
        for live in self._lives.due_for_removal():
            self._lifecycle.queue_removal(live)
        if self._routes.dirty:
            self._routes.sync_or_retry()

    def _compare(self) -> None:
        """Hold what is known here to the records that there are."""
        resting = [live for live in self._lives.all() if live.phase is Phase.RESTING]
        try:
            records = self._runtime.records()
            self._end_lost(resting, {record.name for record in records})
        except Unavailable:  # `_look` tells
            return
        self._end_strays(records)

    def _end_lost(self, resting: Sequence[Live], there: Collection[str]) -> None:
        """Forget those that rest and whose records somebody removed; others are looked at anyway."""
        lost = [live for live in resting if live.record.name not in there]
        found = self._runtime.observe([live.record for live in lost]) if lost else {}
        for live in lost:
            if live.record.name not in found and live.phase is Phase.RESTING:
                self._lifecycle.remove_later(live, "somebody removed its record")

    def _end_strays(self, records: Sequence[Record]) -> None:
        """Remove records that nobody here knows, if they stay: a call that was given up may have made them
        after all.
        """
        known = {live.record.name for live in self._lives.all()}
        strays = [record for record in records if record.name not in known]
        for record in strays:
            if record.name in self._strays:
                self._lifecycle.remove_later(self._lifecycle.take_over(record), "nobody here knows it")
        self._strays = {record.name for record in strays}

    def _look(self) -> None:
        lives = self._lives.due_for_look()
        if not lives:
            return
        observed = self._runtime.observe([live.record for live in lives])
        for live in lives:
            seen = observed.get(live.record.name)
            if live.phase not in (Phase.WATCHED, Phase.READY):
                continue
            if seen is None:
                self._lifecycle.fail(live, "It was removed from the runtime.")
            else:
                self._note(live, seen)

    def _note(self, live: Live, seen: Observed) -> None:
        endpoints: Mapping[Port, tuple[IPv4Address, int]] = seen.endpoints or {}
        if endpoints != live.endpoints:
            live.endpoints = endpoints
            self._routes.sync_or_retry()
        waits = seen.state in ("Deploying", "Resting")
        if seen.state == "Failed" or (waits and self._lives.overdue(live)):
            self._lifecycle.fail(live, live.unapplied or seen.reason or "It did not become ready in time.")
        elif waits and self._lives.start_due(live):
            self._lifecycle.resume(live)
        elif waits:
            self._lives.turn(live, Phase.WATCHED)
            live.reason = live.unapplied or seen.reason
        elif not self._routes.dirty:  # the way there comes before the word that it is there
            self._lifecycle.ready(live)

    def _expire(self) -> None:
        try:
            activity = self._routes.activity()
        except Unavailable as error:
            _LOG.warning("the gateway can't be read", extra={"reason": str(error)})
            self._leases.hold()
            self._routes.dirty = True  # setting it may mend it
            return
        lives = {live.record.name: live for live in self._lives.all()}
        self._count(lives.values(), activity)
        seen = {name: activity[live.key] for name, live in lives.items() if live.key in activity}
        self._leases.hold(lives.keys() - seen.keys())
        for name in self._leases.note(seen):
            self._lifecycle.wake(lives[name])
            if self._lives.touch_due(lives[name]):
                self._lifecycle.touch_later(lives[name])
        over = set(self._leases.rested())
        standing = {name: live for name, live in lives.items() if live.usable}  # others end at their own pace
        for name in self._leases.idle():
            if name in over and name in standing:
                self._lifecycle.remove_later(standing[name], "idle")
            elif name in standing and standing[name].phase is not Phase.RESTING:
                self._lifecycle.rest_later(standing[name])
        if self._max_age_seconds and self._clock() >= self._aging_from:
            for live in self._lives.older_than(self._max_age_seconds):
                self._lifecycle.remove_later(live, "it is as old as the operator allows")


def _age(record: Record) -> tuple[datetime, str]:
    """The order in which records are taken over: of two with the same addresses, the older keeps them."""
    return record.created, record.name
