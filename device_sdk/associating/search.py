"""Finding another place for an app: asking for a target and bringing up the way to it, beside the one in use.

Called by `keeper.py`; calls the deploy call (`sources`), the tunnels' `stand_by`, and `place.py`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from device_sdk.associating.place import Place, Way, Ways
from device_sdk.errors import NoCloudletError, SinfoniaError, TunnelError
from device_sdk.target import Target
from device_sdk.wire import Candidate, Location

Standing = Callable[[Target], Place | None]
"""Finds a place that stands already."""

_BAD_SECONDS = 60.0  # for which a cloudlet that could not be used is not asked again
_MOST_AVOIDED = 16  # as the contract has it
_TRIES = 2  # a cloudlet that does not get ready is replaced by so many others


@dataclass(frozen=True)
class Source:
    """Who knows cloudlets: deploy calls and looks with the app's own arguments.

    `targets` gets the cloudlets to avoid and where the device will be, if the app said so.
    """

    targets: Callable[[tuple[UUID, ...], Location | None], Sequence[Target]]
    candidates: Callable[[Location | None], Sequence[Candidate]]


class Search:
    """Brings up places in `ways`, and waits for each up to `ready_seconds`. Safe between threads."""

    def __init__(
        self,
        source: Source,
        ways: Ways,
        clock: Callable[[], float],
        ready_seconds: float,
        make: Callable[[Target, Way, Callable[[], float]], Place] = Place,
    ) -> None:
        self.location: Location | None = None
        self._source = source
        self._ways = ways
        self._clock = clock
        self._ready_seconds = ready_seconds
        self._make = make
        self._guard = threading.Lock()
        self._bad: dict[UUID, float] = {}

    def elsewhere(self, here: Place, known: Standing) -> Place | None:
        """A ready place that is not `here`; None where there is no other, and `here` is as good as it was.

        `known` has places that stand already. Raises `SinfoniaError`.
        """
        problem: SinfoniaError = NoCloudletError("There is no other cloudlet.")
        for _ in range(_TRIES):
            target = self._other_target(here)
            if target.same_backend(here.target):
                return None
            try:
                return self._bring_up(target, here, known)
            except SinfoniaError as error:
                problem = error
        raise problem

    def at(self, cloudlet: UUID, here: Place, known: Standing) -> Place:
        """A ready place on this cloudlet. Raises `SinfoniaError`."""
        others = [one.uuid for one in self._source.candidates(self.location) if one.uuid != cloudlet]
        target = self._target([here.uuid, *others], keep_bad=False)
        if target.cloudlet is None or target.cloudlet.uuid != cloudlet:
            raise NoCloudletError(f"The cloudlet {cloudlet} is none that can be had from here.")
        return self._bring_up(target, here, known)

    def best(self) -> UUID | None:
        """The cloudlet that the first answer would be, as of now."""
        found = self._source.candidates(self.location)
        return found[0].uuid if found else None

    def note_bad(self, cloudlet: UUID | None) -> None:
        """It could not be used now."""
        if cloudlet is not None:
            with self._guard:
                self._bad[cloudlet] = self._clock() + _BAD_SECONDS

    def drop(self, place: Place) -> None:
        """Give a place back that the app does not use, and take the way to it down."""
        place.give_back()
        self._ways.drop(place.way)

    def _other_target(self, here: Place) -> Target:
        """Rather one that was bad a moment ago than none, and rather the one where the app is."""
        with contextlib.suppress(NoCloudletError):
            return self._target([here.uuid])
        if self._bad:
            with contextlib.suppress(NoCloudletError):
                return self._target([here.uuid], keep_bad=False)
        return self._target([], keep_bad=False)

    def _target(self, avoid: Collection[UUID | None], *, keep_bad: bool = True) -> Target:
        with self._guard:
            now = self._clock()
            self._bad = {uuid: until for uuid, until in self._bad.items() if until > now}
            bad = list(self._bad) if keep_bad else []
        wanted = dict.fromkeys(uuid for uuid in [*avoid, *bad] if uuid is not None)
        return self._source.targets(tuple(wanted)[:_MOST_AVOIDED], self.location)[0]

    def _bring_up(self, target: Target, here: Place, known: Standing) -> Place:
        place = known(target)
        if place is None:
            try:
                place = self._make(target, self._way(target, here), self._clock)
            except TunnelError:
                self.note_bad(target.cloudlet.uuid if target.cloudlet else None)
                raise
        try:
            place.wait_ready(self._ready_seconds)
        except SinfoniaError:
            self.note_bad(place.uuid)
            self.drop(place)
            raise
        return place

    def _way(self, target: Target, here: Place) -> Way:
        """To one gateway there can be but one: it gives the backend another block when it began anew."""
        if target.plan.public_key == here.target.plan.public_key:
            return self._ways.renew(target.plan, target.key)
        return self._ways.stand_by(target.plan, target.key)
