"""Keeps an app at a living, good backend: one `step` after the other looks, judges and acts.

Made and driven by `association.py`. Looking is short and done here; whatever takes longer (asking roots,
bringing up another way) runs beside, so that a place that comes back to life is noticed meanwhile.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Literal
from uuid import UUID

from device_sdk.associating.events import Announcer
from device_sdk.associating.others import Others
from device_sdk.associating.outlook import Outlook
from device_sdk.associating.place import GIVE_BACK_SECONDS, Place, Ways
from device_sdk.associating.search import Known, Search
from device_sdk.associating.vitals import Patience
from device_sdk.background import Pending
from device_sdk.errors import NoCloudletError, RequestError, SinfoniaError, TunnelError
from device_sdk.target import Target

State = Literal["connected", "degraded", "draining", "lost", "released"]
Why = Literal["lost", "suspect", "draining", "degraded", "rediscover", "tidy"]

_TICK_SECONDS, _DOUBT_SECONDS = 0.25, 0.05
_AWAY_SECONDS = 3.0  # a step that comes so much too late was not late: the device slept
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # after a search, doubled until a place was stayed at for a while
_UNURGENT_PAUSE = 60.0
_REDISCOVER_SOON = 2.0  # after a change of the network: addresses come one by one
_CLOSE_SECONDS = 5.0
_TIDY_SECONDS = 10.0


class Keeper:
    """An app's place, and what is being done for it. `clock` counts also while the device sleeps; seconds."""

    def __init__(
        self,
        place: Place,
        ways: Ways,
        search: Search,
        announcer: Announcer,
        clock: Callable[[], float],
        patience: Patience,
    ) -> None:
        self.state: State = "connected"
        self._ways, self._search, self._announcer = ways, search, announcer
        self._clock, self._patience = clock, patience
        self._guard = threading.RLock()
        self._others = Others(search.drop, patience.linger)
        self._job: tuple[Why, Pending[Place | None]] | None = None
        self._pause, self._search_at, self._unurgent_at = _FIRST_PAUSE, 0.0, 0.0
        self._not_better: set[UUID] = set()
        self._preparing = 0
        self._closed = False
        self._stepped = self._rediscover_at = clock()
        self._settle(place)

    # What the app asks for.

    def prepare(self, make: Callable[[Place, Known], Place | None]) -> Place:
        """Have `make` bring up another place, to switch to later. Raises `SinfoniaError`."""
        with self._guard:
            self._preparing += 1
            tidying = self._job[1] if self._job is not None and self._job[0] == "tidy" else None
        try:
            if tidying is not None:
                with contextlib.suppress(TimeoutError):
                    tidying.result(_TIDY_SECONDS)
            made = make(self.place, self)
            if made is None:
                raise NoCloudletError("There is no other cloudlet to go to; the app stays where it is.")
            with self._guard:
                if self._closed:
                    self._others.part(made)
                    raise RequestError("The association has ended.")
                self._others.prepare(made)
        finally:
            with self._guard:
                self._preparing -= 1
        return made

    def switch(self) -> Place:
        """Go to the prepared place now. Raises `RequestError` where there is none, `TunnelError`."""
        with self._guard:
            prepared = self._others.take()
            if prepared is None:
                raise RequestError("No cloudlet is prepared; call prepare() first.")
            self._go(prepared, "the app asked for it")
            if self.place is not prepared:
                raise TunnelError(f"The change to {prepared.name} failed; the app stays where it is.")
            return prepared

    def close(self) -> None:
        """Give everything back but the app's own place, and let the root know."""
        with self._guard:
            self._closed, self.state = True, "released"
            job, self._job = self._job, None
            self._others.part_all()
        if job is not None and job[0] != "tidy":
            self._give_back_found(job[1])
        self._others.wait()
        last = Pending(lambda: self._search.tidy(self.place), "sinfonia-keep")
        with contextlib.suppress(TimeoutError):
            last.result(GIVE_BACK_SECONDS)

    # What a search asks (`search.Known`).

    def standing(self, target: Target) -> Place | None:
        """A place that stands for this target; it is no longer being left then."""
        with self._guard:
            return self._others.standing(target)

    def leaves(self, target: Target) -> bool:
        """Whether a place is just being left that stands for this target."""
        with self._guard:
            return self._others.leaves(target)

    # What goes on by itself.

    def changed(self) -> None:
        """The device's network has: look at once, and forget what was usual before."""
        now = self._clock()
        with self._guard:
            self._outlook.look_again()
            self._pause, self._search_at, self._unurgent_at = _FIRST_PAUSE, now, now
            self._not_better.clear()
            self._rediscover_at = min(self._rediscover_at, now + _REDISCOVER_SOON)

    @property
    def pause(self) -> float:
        """Seconds until the next step is due."""
        return _DOUBT_SECONDS if self._outlook.in_doubt or self._job is not None else _TICK_SECONDS

    def step(self) -> None:
        """Look, judge, act. To be called again after `pause`. Raises nothing that a network can cause."""
        if self._clock() - self._stepped > _AWAY_SECONDS:
            self.changed()
        outlook = self._outlook
        # While another way is brought up, the sandbox answers late: that is not to be taken for the network.
        outlook.observe(quietly=self._job is not None)
        with self._guard:
            if outlook is self._outlook and not self._closed:
                self._collect()
                self._decide()
                self._others.sweep(self._clock())
                self._tidy()
        self._stepped = self._clock()

    def _settle(self, place: Place) -> None:
        """Begin to watch the place."""
        self.place = place
        self._outlook = Outlook(place, self._patience, self._clock)
        self._settled = self._clock()
        after = place.target.deployment.rediscover_after_seconds
        self._rediscover_at = self._clock() + after if after else float("inf")

    def _decide(self) -> None:
        outlook = self._outlook
        lost = outlook.lost
        if lost:
            self._be("lost", "lost", lost)
            self._move("lost")
        elif outlook.suspect:
            if self._others.prepared is None:
                self._seek("suspect")
        else:
            self._well(outlook)

    def _well(self, outlook: Outlook) -> None:
        if self._others.on_suspicion:
            suspicion = self._others.take()
            if suspicion is not None:
                self._others.part(suspicion)
        if outlook.draining:
            self._be("draining", "draining", "the cloudlet will be away")
            self._move("draining")
        elif outlook.worse:
            self._be("degraded", "degraded", outlook.worse)
            self._seek("degraded")
        else:
            self._be("connected", "recovered", "all is well")
            if self._clock() >= self._settled + self._patience.stay:
                self._pause = _FIRST_PAUSE
            if self._clock() >= self._rediscover_at:
                self._seek("rediscover")

    def _be(self, state: State, kind: Literal["lost", "recovered", "draining", "degraded"], why: str) -> None:
        if self.state != state:
            self.state = state
            self._announcer.say(kind, self.place.name, why)

    def _move(self, why: Why) -> None:
        """Go to what is prepared, if that is alive; else look for another place."""
        prepared = self._others.take()
        if prepared is None:
            self._seek(why)
            return
        try:
            prepared.look(self._patience.suspect)
        except SinfoniaError:
            self._search.note_bad(prepared.uuid)
            self._others.part(prepared)
            self._seek(why)
        else:
            self._go(prepared, why)

    def _seek(self, why: Why) -> None:
        """Begin to look for another place, unless that is being done or was done in vain just before."""
        now, unurgent = self._clock(), why in ("degraded", "rediscover")
        if self._job is not None or now < (self._unurgent_at if unurgent else self._search_at):
            return
        if unurgent:
            self._unurgent_at = now + _UNURGENT_PAUSE
        if why == "rediscover":
            after = self.place.target.deployment.rediscover_after_seconds or 0
            self._rediscover_at = now + max(after, _UNURGENT_PAUSE)
        here = self.place
        self._job = why, Pending(lambda: self._elsewhere(here, why), "sinfonia-search")

    def _tidy(self) -> None:
        """Tell the root where the app is, once that is the only place: it lets go of all others then."""
        quiet = self._job is None and not self._preparing and self._others.gone
        if quiet and self.state == "connected" and self._search.untidy:
            here = self.place
            self._job = "tidy", Pending(lambda: self._search.tidy(here), "sinfonia-keep")

    def _elsewhere(self, here: Place, why: Why) -> Place | None:
        """Another place; what is not urgent has to be better, which is tried. Runs beside."""
        best = None
        if why == "rediscover":
            best = self._search.best()
            if best is None or best == here.uuid or best in self._not_better:
                return None
        # Choosing gives back what it does not choose, and what the app has prepared is not to be among that.
        prepared = self._others.prepared
        hurried = why in ("lost", "suspect") or prepared is not None
        place = self._search.elsewhere(here, self, hurried=hurried)
        if place is None or why not in ("degraded", "rediscover") or self._is_better(place, here):
            return place
        self._not_better |= {uuid for uuid in (place.uuid, best) if uuid is not None}
        if place is not prepared:
            self._search.drop(place)
        return None

    def _is_better(self, place: Place, here: Place) -> bool:
        try:
            there = place.round_trip()
        except TunnelError:
            return False
        try:
            return there <= self._patience.better_ratio * here.round_trip()
        except TunnelError:
            return True

    def _collect(self) -> None:
        """Take what a search has found."""
        if self._job is None or not self._job[1].done:
            return
        (why, pending), self._job = self._job, None
        try:
            found = pending.result(0)
        except SinfoniaError:
            found = None
        if why in ("lost", "suspect", "draining"):
            self._search_at = self._clock() + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        if found is None:
            return
        if self._others.prepared not in (None, found):  # the app has prepared another one meanwhile
            self._others.part(found)
        elif why == "suspect" or (why == "lost" and not self._outlook.lost):
            self._others.prepare(found, on_suspicion=True)
        else:
            self._others.take()
            self._go(found, why)

    def _go(self, to: Place, why: str) -> None:
        """Make `to` the app's place."""
        before = self.place
        self._announcer.say("handing_over", to.name, why)
        try:
            led = self._ways.lead(to.way)
        except SinfoniaError as error:
            self._others.part(to)
            self._announcer.say("degraded", before.name, f"the change to {to.name} failed: {error}")
            return
        if led is not to.way:  # a renewed way leads already, and what led before is gone
            self._others.leave(before, self._clock())
        if self.state in ("lost", "draining"):
            self._search.note_bad(before.uuid)
        self.state = "connected"
        self._settle(to)
        self._announcer.say("handed_over", to.name, why)

    def _give_back_found(self, job: Pending[Place | None]) -> None:
        """What a search finds after the end."""
        try:
            found = job.result(_CLOSE_SECONDS)
        except (SinfoniaError, TimeoutError):
            return
        if found is not None and found is not self.place:
            self._others.part(found)
