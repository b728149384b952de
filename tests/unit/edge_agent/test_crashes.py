"""Law 7 on fakes: an agent that dies at any call to its runtime or gateway, before, within or after it,
leaves nothing that the next start does not finish or undo.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address

import pytest

from edge_agent.deployments.leases import Activity
from edge_agent.deployments.live import Phase
from tests.fakes.edge_agent_backends import HELLOWORLD
from tests.fakes.edge_agent_death import Fuse, Killed, MortalGateway, MortalRuntime, When
from tests.fakes.edge_agent_gateway import FakeGateway
from tests.fakes.edge_agent_parts import AGENT, Parts
from tests.fakes.edge_agent_runtime import FakeRuntime, Store

KEYS = (bytes(range(32)), bytes(32))
IDLE, REST = 300.0, 600.0
MOST_CALLS = 200


@dataclass
class Cloudlet:
    """What outlives agents: the runtime's store, and the gateway's peers. With `addressing` the runtime gives
    services their addresses.
    """

    addressing: bool = False
    store: Store = field(default_factory=Store)
    gateway: FakeGateway | None = None

    def agent(self, fuse: Fuse) -> Parts:
        """The next agent, not started yet."""
        runtime = MortalRuntime(FakeRuntime(AGENT, self.store), fuse)
        self.gateway = MortalGateway(fuse, self.gateway)
        return Parts(
            runtime=runtime,
            gateway=self.gateway,
            idle_seconds=IDLE,
            rest_seconds=REST,
            addressing=self.addressing,
        )


def start(parts: Parts) -> None:
    parts.upkeep.restore()
    parts.settle()


def deploy(parts: Parts) -> None:
    for key in KEYS:
        parts.deployments.deploy(HELLOWORLD, key, 0)
    parts.settle()


def rest(parts: Parts) -> None:
    parts.clock.seconds += IDLE + 6
    parts.settle()


def revive(parts: Parts) -> None:
    parts.deployments.deploy(HELLOWORLD, KEYS[0], 0)
    parts.gateway.seen[KEYS[1]] = Activity(0, 148)
    parts.clock.seconds += 6
    parts.settle()


def release(parts: Parts) -> None:
    for live in parts.lives.all():
        parts.deployments.release(live.device)
    parts.settle()


def expire(parts: Parts) -> None:
    parts.clock.seconds += IDLE + REST + 6
    parts.settle()


LIFE: tuple[Callable[[Parts], None], ...] = (
    start,
    deploy,
    rest,
    revive,
    rest,
    revive,
    release,
    deploy,
    expire,
)


def live_through(cloudlet: Cloudlet, fuse: Fuse) -> bool:
    """A whole life of an agent; whether it came to its end."""
    parts = cloudlet.agent(fuse)
    try:
        for step in LIFE:
            step(parts)
    except Killed:
        return False
    return True


def check_sound(cloudlet: Cloudlet, parts: Parts) -> None:
    """Every record is one deployment with addresses and a peer of its own, and there is nothing else."""
    records = parts.runtime.records()
    assert len({(record.app, record.key) for record in records}) == len(records)
    assert len({record.block for record in records}) == len(records)
    assert len({record.services[0].address for record in records}) == len(records)
    assert {record.addresses is not None for record in records} <= {cloudlet.addressing}
    assert sorted(live.record.name for live in parts.lives.all()) == sorted(one.name for one in records)
    assert {live.phase for live in parts.lives.all()} <= {Phase.READY, Phase.RESTING}
    assert parts.gateway.allowed == {record.key: {record.device} for record in records}
    devices: set[IPv4Address] = {live.device for live in parts.lives.all() if live.phase is Phase.READY}
    assert {device for device, *_ in parts.gateway.forwards} == devices
    homes = {live.record.home: live.phase for live in parts.lives.all()}
    assert set(cloudlet.store.applied) == {home for home, phase in homes.items() if phase is Phase.READY}
    assert cloudlet.store.resting == {home for home, phase in homes.items() if phase is Phase.RESTING}


def check_recovers(cloudlet: Cloudlet) -> None:
    """The next agent finishes or undoes what it finds, serves, and leaves nothing in the end."""
    parts = cloudlet.agent(Fuse())
    start(parts)
    parts.clock.seconds += 6  # what could not be done at once is tried again
    parts.settle()
    check_sound(cloudlet, parts)
    deploy(parts)
    parts.settle()
    check_sound(cloudlet, parts)
    assert {live.phase for live in parts.lives.all()} == {Phase.READY}
    assert len(parts.runtime.records()) == len(KEYS)
    expire(parts)
    assert (cloudlet.store.records, cloudlet.store.applied, cloudlet.store.resting) == ({}, {}, set())
    assert (parts.gateway.allowed, parts.gateway.forwards) == ({}, {})


@pytest.mark.parametrize("addressing", [False, True])
def test_a_whole_life_makes_calls_of_every_kind(addressing: bool) -> None:
    fuse = Fuse()
    cloudlet = Cloudlet(addressing)
    assert live_through(cloudlet, fuse)
    assert 40 < fuse.calls < MOST_CALLS
    check_recovers(cloudlet)


@pytest.mark.parametrize("addressing", [False, True])
@pytest.mark.parametrize("when", ["before", "within", "after"])
def test_a_death_at_any_call_is_made_good_by_the_next_start(when: When, addressing: bool) -> None:
    for at in range(1, MOST_CALLS):
        cloudlet = Cloudlet(addressing)
        ended = live_through(cloudlet, Fuse(at, when))
        check_recovers(cloudlet)
        if ended and at > 1 and when == "before":
            break
    else:
        assert when != "before", "more calls than a life has"


def test_a_death_while_an_earlier_one_is_made_good_is_made_good_too() -> None:
    whens: tuple[When, ...] = ("before", "within", "after")
    deaths = 0
    for at in range(1, MOST_CALLS):
        for again in range(1, 9):
            cloudlet = Cloudlet()
            if live_through(cloudlet, Fuse(at, whens[at % 3])) and whens[at % 3] == "before":
                return
            try:
                start(cloudlet.agent(Fuse(again, whens[again % 3])))
            except Killed:
                deaths += 1
            check_recovers(cloudlet)
    assert deaths > 100
