"""Finding another place for an app: asking for targets and bringing up the way to one, beside the one in use.

Called by `keeper.py`; calls the deploy call (`sources`), `choosing`, the tunnels' `stand_by`, and `place.py`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from device_sdk.associating.place import Place, Way, Ways
from device_sdk.background import Pending
from device_sdk.choosing.result import Chosen
from device_sdk.choosing.side_by_side import Room
from device_sdk.choosing.surplus import Surplus
from device_sdk.errors import NoCloudletError, SinfoniaError, TunnelError
from device_sdk.keys import KeyPair
from device_sdk.target import Target
from device_sdk.tunnels.routes import TunnelPlan
from device_sdk.wire import Candidate, Location

_BAD_SECONDS = 60.0  # for which a cloudlet that could not be used is not asked again
MOST_AVOIDED = 16  # as the contract has it
_TRIES, _HURRIED_TRIES = 2, 3  # a cloudlet that can't be used is replaced by another so often
_ANSWER_SECONDS = 3.0  # for the gateway to answer, where the app has no other


class Known(Protocol):
    """Places beside the app's own: `keeper.Keeper`."""

    def standing(self, target: Target) -> Place | None:
        """One that stands for this target already; it is no longer being left then."""

    def leaves(self, target: Target) -> bool:
        """Whether one is just being left that stands for it."""


@dataclass(frozen=True)
class Wanted:
    """What is asked for: other cloudlets than those to `avoid`, where the device will be if the app said so,
    on how many, and the only cloudlet that will do.
    """

    avoid: tuple[UUID, ...] = ()
    location: Location | None = None
    results: int = 1
    cloudlet: UUID | None = None


@dataclass(frozen=True)
class Source:
    """Who knows cloudlets: deploy calls and looks with the app's own arguments."""

    targets: Callable[[Wanted], Sequence[Target]]
    candidates: Callable[[Location | None], Sequence[Candidate]]


@dataclass(frozen=True)
class Choice:
    """How the app chooses: one of up to `results` targets by `choose`, which makes the ways in the room."""

    results: int
    choose: Callable[[Sequence[Target], Room], Chosen]


class Search:
    """Brings up places in `ways`, and waits for each up to `ready_seconds`. Safe between threads."""

    def __init__(
        self,
        source: Source,
        ways: Ways,
        clock: Callable[[], float],
        ready_seconds: float,
        choice: Choice,
        make: Callable[[Target, Way, Callable[[], float]], Place] = Place,
    ) -> None:
        self.location: Location | None = None
        self._source = source
        self._ways = ways
        self._clock = clock
        self._ready_seconds = ready_seconds
        self._choice = choice
        self._make = make
        self._guard = threading.Lock()
        self._bad: dict[UUID, float] = {}
        self._surplus: list[Surplus] = []

    def elsewhere(self, here: Place, known: Known, *, hurried: bool = False) -> Place | None:
        """A ready place that is not `here`; None where there is no other, and `here` is as good as it was.

        It is chosen as the app asked for, among as many. `hurried`: one is asked for at a time, which is the
        soonest, and the first is taken that answers through its tunnel and is ready. `known` has places that
        stand already. Raises `SinfoniaError`.
        """
        problem: SinfoniaError = NoCloudletError("There is no other cloudlet.")
        for _ in range(_HURRIED_TRIES if hurried else _TRIES):
            targets = self._other_targets(here, 1 if hurried else self._choice.results)
            others = [target for target in targets if not target.same_backend(here.target)]
            if not others:
                return None
            try:
                return self._one_of(others, here, known, hurried=hurried)
            except SinfoniaError as error:
                problem = error
        raise problem

    def at(self, cloudlet: UUID, here: Place, known: Known) -> Place:
        """A ready place on this cloudlet. Raises `SinfoniaError`."""
        if cloudlet == here.uuid:
            raise NoCloudletError(f"The app is on the cloudlet {cloudlet} already.")
        try:
            (target, *_) = self._targets([here.uuid], keep_bad=False, cloudlet=cloudlet)
        except NoCloudletError as error:
            raise NoCloudletError(
                f"The cloudlet {cloudlet} can't be had: the root does not know it, or it does not take this "
                "device and app now."
            ) from error
        if target.cloudlet is None or target.cloudlet.uuid != cloudlet:
            self._decline(target, here, known)
            raise NoCloudletError(
                f"The cloudlet {cloudlet} can't be had: this root chooses by itself, and named another."
            )
        return self._bring_up(target, here, known)

    def best(self) -> UUID | None:
        """The cloudlet that the first answer would be, as of now."""
        found = self._source.candidates(self.location)
        return found[0].uuid if found else None

    def note_surplus(self, surplus: Surplus) -> None:
        """The root had more deployed than was chosen, and knows no better."""
        if surplus.keep is not None:
            with self._guard:
                self._surplus.append(surplus)

    @property
    def untidy(self) -> bool:
        """Whether the root may hold for the app's what is not, and can be told so."""
        return bool(self._surplus) and all(each.released for each in self._surplus)

    def tidy(self, here: Place) -> None:
        """Have the root let go of all but `here`: of what the app is about to use elsewhere, too."""
        with self._guard:
            surplus, self._surplus = self._surplus, []
        if surplus and all(each.is_free() for each in surplus):
            surplus[-1].tell_root(here.target)

    def note_bad(self, cloudlet: UUID | None) -> None:
        """It could not be used now."""
        if cloudlet is not None:
            with self._guard:
                self._bad[cloudlet] = self._clock() + _BAD_SECONDS

    def drop(self, place: Place) -> None:
        """Give a place back that the app does not use, and take the way to it down."""
        place.give_back()
        self._ways.drop(place.way)

    def _other_targets(self, here: Place, results: int) -> Sequence[Target]:
        """Rather those that were bad a moment ago than none, and rather the one where the app is."""
        with contextlib.suppress(NoCloudletError):
            return self._targets([here.uuid], results)
        if self._bad:
            with contextlib.suppress(NoCloudletError):
                return self._targets([here.uuid], results, keep_bad=False)
        return self._targets([], results, keep_bad=False)

    def _targets(
        self,
        avoid: Collection[UUID | None],
        results: int = 1,
        *,
        keep_bad: bool = True,
        cloudlet: UUID | None = None,
    ) -> Sequence[Target]:
        with self._guard:
            now = self._clock()
            self._bad = {uuid: until for uuid, until in self._bad.items() if until > now}
            bad = list(self._bad) if keep_bad else []
        avoided = tuple(dict.fromkeys(uuid for uuid in [*avoid, *bad] if uuid is not None))
        return self._source.targets(Wanted(avoided[:MOST_AVOIDED], self.location, results, cloudlet))

    def _one_of(self, targets: Sequence[Target], here: Place, known: Known, *, hurried: bool) -> Place:
        """A ready place at one of these."""
        fit = [each for each in targets if not (_one_gateway(each, here) or known.leaves(each))]
        if hurried or len(fit) < 2:
            return self._bring_up((fit or targets)[0], here, known, hurried=hurried)
        room = _Standing(self._ways, [place for each in fit if (place := known.standing(each))])
        try:
            chosen = self._choice.choose(fit, room)
        except SinfoniaError:
            for target in fit:
                self.note_bad(target.cloudlet.uuid if target.cloudlet else None)
            raise
        self.note_surplus(chosen.surplus)
        return known.standing(chosen.target) or self._make(chosen.target, chosen.way, self._clock)

    def _bring_up(self, target: Target, here: Place, known: Known, *, hurried: bool = False) -> Place:
        place = known.standing(target)
        if place is None:
            try:
                place = self._make(target, self._way(target, here), self._clock)
            except TunnelError:
                self.note_bad(target.cloudlet.uuid if target.cloudlet else None)
                raise
        try:
            if hurried and not place.answers(_ANSWER_SECONDS):
                raise TunnelError(f"Its gateway did not answer within {_ANSWER_SECONDS:g} s.")
            place.wait_ready(self._ready_seconds)
        except SinfoniaError:
            self.note_bad(place.uuid)
            self._drop_beside(place)
            raise
        return place

    def _decline(self, target: Target, here: Place, known: Known) -> None:
        """Give back what nobody asked for."""
        if target.same_backend(here.target) or known.leaves(target) or known.standing(target):
            return
        with contextlib.suppress(TunnelError):  # its lease ends; that is enough
            self._drop_beside(self._make(target, self._ways.stand_by(target.plan, target.key), self._clock))

    def _drop_beside(self, place: Place) -> None:
        """One that is dead takes seconds to be told, and nobody waits for that."""
        Pending(lambda: self.drop(place), "sinfonia-goodbye")

    def _way(self, target: Target, here: Place) -> Way:
        """To one gateway there can be but one: it gives the backend another block when it began anew."""
        if _one_gateway(target, here):
            return self._ways.renew(target.plan, target.key)
        return self._ways.stand_by(target.plan, target.key)


class _Standing:
    """The app's network for choosing: ways that stand already are taken as they are, and stay."""

    def __init__(self, ways: Ways, places: Sequence[Place]) -> None:
        self._ways = ways
        self._standing = {place.target.plan.public_key: place.way for place in places}

    def stand_by(self, plan: TunnelPlan, key: KeyPair) -> Way:
        return self._standing.get(plan.public_key) or self._ways.stand_by(plan, key)

    def drop(self, way: Way) -> None:
        if way not in self._standing.values():
            self._ways.drop(way)


def _one_gateway(target: Target, here: Place) -> bool:
    return target.plan.public_key == here.target.plan.public_key
