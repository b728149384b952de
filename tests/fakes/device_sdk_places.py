"""Cloudlets as an association sees them, with no network: places that can be silent, slow, draining or gone,
on a clock that the test winds.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from device_sdk.associating.events import Announcer, AssociationEvent
from device_sdk.associating.keeper import Keeper
from device_sdk.associating.place import Look
from device_sdk.associating.search import Choice, Search, Source, Wanted
from device_sdk.associating.vitals import Patience
from device_sdk.choosing.side_by_side import Room
from device_sdk.choosing.surplus import Surplus
from device_sdk.errors import DeploymentError, NoCloudletError, SinfoniaError, TunnelError
from device_sdk.keys import KeyPair
from device_sdk.target import Target
from device_sdk.wire import Candidate, Deployment, Location
from tests.fakes.device_sdk_servers import at
from tests.lab.machine import poll

KEY = KeyPair.from_private(b"k" * 32)


class FakeCloudlet:
    """`answers`: whether it is there; `serves`: whether its gateway's server is; `failure`: what that says in
    the backend's place; `losses`: so many probes get lost; `arriving`: bytes a second of the app's traffic.
    """

    def __init__(self, number: int, rediscover_after: int | None = None) -> None:
        self.number, self.uuid, self.name = number, UUID(int=number), f"c{number}"
        self.answers = self.serves = True
        self.draining = False
        self.status = "Ready"
        self.failure: str | None = None
        self.seconds = 0.01
        self.arriving = 0
        self.block = 1
        self.rediscover_after = rediscover_after
        self.looks = self.released = self.losses = 0

    def target(self) -> Target:
        more = {} if self.rediscover_after is None else {"RediscoverAfter": self.rediscover_after}
        answer = at(self.name, self.number, **more)
        answer["ApplicationKey"] = base64.b64encode(KEY.public).decode()
        answer["TunnelConfig"]["address"] = [f"100.71.0.{16 + self.block}/32"]
        return Target.of(Deployment.from_json(answer), UUID(int=0), KEY)


class FakeWay:
    def __init__(self, cloudlet: FakeCloudlet, lab: Lab) -> None:
        self.cloudlet, self.lab = cloudlet, lab

    def received_bytes(self) -> int:
        return int(self.cloudlet.arriving * self.lab.now) if self.cloudlet.answers else 0


class FakePlace:
    """In the place of `place.Place`."""

    def __init__(self, target: Target, way: FakeWay, _clock: Callable[[], float]) -> None:
        self.target, self.way, self.cloudlet, self.lab = target, way, way.cloudlet, way.lab
        self.name, self.uuid = way.cloudlet.name, way.cloudlet.uuid

    def answers(self, timeout: float) -> bool:
        if not self.cloudlet.answers:
            self.lab.now += timeout
        return self.cloudlet.answers

    def wait_ready(self, timeout: float) -> None:
        self.look(timeout)

    def look(self, timeout: float) -> Look:
        self.cloudlet.looks += 1
        lost = self.cloudlet.losses > 0
        self.cloudlet.losses -= lost
        if lost or not (self.cloudlet.answers and self.cloudlet.serves):
            self.lab.now += timeout
            raise TunnelError("nothing answers")
        self.lab.now += self.cloudlet.seconds
        if self.cloudlet.failure:
            raise DeploymentError(self.cloudlet.failure)
        told = at(self.name, 1, Status=self.cloudlet.status, Draining=self.cloudlet.draining)
        told["ApplicationKey"] = base64.b64encode(KEY.public).decode()
        return Look(Deployment.from_json(told), self.cloudlet.seconds)

    def round_trip(self) -> float:
        if not self.cloudlet.answers:
            raise TunnelError("nothing answers")
        return self.cloudlet.seconds

    def give_back(self) -> None:
        self.cloudlet.released += 1


@dataclass(frozen=True)
class FakeChosen:
    """In the place of `choosing.result.Chosen`."""

    target: Target
    way: FakeWay
    surplus: Surplus


class FakeWays:
    """In the place of `tunnels.wireguard.WireGuardLink`; `up` are the ways that there are."""

    def __init__(self, lab: Lab, first: FakeCloudlet) -> None:
        self.lab = lab
        self.leading = FakeWay(first, lab)
        self.up = [self.leading]
        self.closed = False

    def stand_by(self, plan, _key) -> FakeWay:
        made = FakeWay(self.lab.cloudlets[plan.public_key[0] - 1], self.lab)
        self.up.append(made)
        return made

    def renew(self, plan, key) -> FakeWay:
        self.up.remove(self.leading)
        self.leading = self.stand_by(plan, key)
        return self.leading

    def lead(self, way: FakeWay) -> FakeWay:
        before, self.leading = self.leading, way
        return before

    def drop(self, way: FakeWay) -> None:
        self.up.remove(way)

    def connect(self, _address, _timeout):
        raise OSError("there is no network")

    def close(self) -> None:
        self.closed = True


class Lab:
    """A root that names the cloudlets in their order, and an app that is at the first of them.

    `away`: what the root's callers get instead of an answer. `asked` are the cloudlets to avoid of each call,
    and `wanted` the whole of it; a `deaf` root does not hear which one is named. `results`: among how many
    the app chooses, the fastest; `chose` has whom it tried each time.
    """

    def __init__(
        self, count: int = 2, *, rediscover_after: int | None = None, results: int = 1, **patience: float
    ) -> None:
        self.now = 1000.0
        self.cloudlets = [FakeCloudlet(number, rediscover_after) for number in range(1, count + 1)]
        self.order: Sequence[FakeCloudlet] = self.cloudlets
        self.away: SinfoniaError | None = None
        self.asked: list[tuple[UUID, ...]] = []
        self.wanted: list[Wanted] = []
        self.deaf = False
        self.kept: list[UUID | None] = []
        self.chose: list[list[str]] = []
        self.looked = 0
        self.events: list[AssociationEvent] = []
        self.ways = FakeWays(self, self.cloudlets[0])
        source = Source(self._targets, self._candidates)
        choice = Choice(results, self._choose)
        self.search = Search(source, self.ways, lambda: self.now, 30.0, choice, FakePlace)
        self.announcer = Announcer(self.events.append, lambda: self.now)
        place = FakePlace(self.cloudlets[0].target(), self.ways.leading, lambda: self.now)
        self.keeper = Keeper(
            place, self.ways, self.search, self.announcer, lambda: self.now, Patience(**patience)
        )

    def run(self, seconds: float, until: str | None = None) -> None:
        """Step as the association does, for so long or until an event of this kind."""
        end = self.now + seconds
        while self.now < end and not (until and until in self.kinds):
            self.now += self.keeper.pause
            self.keeper.step()
            assert poll(self._found, interval=0.001)

    def _found(self) -> bool:
        job = self.keeper._job
        return job is None or job[1].done

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def settled(self, condition: Callable[[], bool]) -> bool:
        """Whether it comes true: goodbyes are said beside."""
        return poll(condition, 5, 0.001)

    def _targets(self, wanted: Wanted) -> list[Target]:
        self.asked.append(wanted.avoid)
        self.wanted.append(wanted)
        if self.away:
            raise self.away
        only = None if self.deaf else wanted.cloudlet
        named = [each for each in self.cloudlets if each.uuid == only] if only else self.order
        found = [each.target() for each in named if each.uuid not in wanted.avoid]
        if not found:
            raise NoCloudletError("There is none.")
        return found[: wanted.results]

    def _choose(self, targets: Sequence[Target], room: Room) -> FakeChosen:
        """As `choosing.choose` does: the fastest that is ready; the others are given back."""
        ways = {each.place: room.stand_by(each.plan, each.key) for each in targets}
        self.chose.append(list(ways))
        ready = [each for each in ways.values() if each.cloudlet.answers and not each.cloudlet.failure]
        best = min(ready, key=lambda way: way.cloudlet.seconds, default=None)
        for way in ways.values():
            if way is not best:
                way.cloudlet.released += 1
                room.drop(way)
        if best is None:
            raise TunnelError("None can be used.")
        chosen = next(each for each in targets if each.place == best.cloudlet.name)
        return FakeChosen(chosen, best, Surplus((), self.kept.append))

    def _candidates(self, _moved: Location | None) -> list[Candidate]:
        self.looked += 1
        if self.away:
            raise self.away
        return [Candidate(each.uuid) for each in self.order]
