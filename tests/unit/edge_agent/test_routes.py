"""What the gateway leads to while deployments end, on fakes: never to pods that may be somebody else's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from edge_agent.deployments.leases import Activity
from edge_agent.deployments.live import Phase
from edge_agent.deployments.records import Record
from edge_agent.deployments.routes import CLOSING_TRIES, Peer
from edge_agent.errors import Unavailable
from tests.fakes.edge_agent_backends import HELLOWORLD
from tests.fakes.edge_agent_gateway import FakeGateway
from tests.fakes.edge_agent_parts import AGENT, Parts
from tests.fakes.edge_agent_runtime import Store

KEYS = (bytes(range(32)), bytes(32), b"\1" * 32)


def ready(parts: Parts, key: bytes = KEYS[0]) -> IPv4Address:
    """Deploy until ready; return the device's tunnel address."""
    parts.deployments.deploy(HELLOWORLD, key, 0)
    parts.settle()
    found = parts.deployments.find(HELLOWORLD, key)
    assert found.state == "Ready", found
    return IPv4Address(found.tunnel.address[0].removesuffix("/32"))


def pass_by(parts: Parts, seconds: float) -> None:
    parts.clock.seconds += seconds
    parts.settle(1)


def release(parts: Parts) -> None:
    parts.deployments.release(parts.lives.all()[0].device)
    parts.work()


def fail(parts: Parts) -> None:
    parts.lifecycle.fail(parts.lives.all()[0], "a test")
    parts.work()


@pytest.mark.parametrize("end", [release, fail])
def test_pods_stay_until_the_gateway_leads_there_no_more(end: Callable[[Parts], None]) -> None:
    parts = Parts()
    ready(parts)
    parts.gateway.away = True
    end(parts)
    pass_by(parts, 30)
    assert parts.gateway.forwards
    assert parts.runtime.store.applied, "another's pod might get the address that the gateway still leads to"
    parts.gateway.away = False
    pass_by(parts, 30)
    assert (parts.gateway.forwards, parts.runtime.store.applied, parts.runtime.records()) == ({}, {}, [])


def test_a_gateway_that_is_away_for_good_keeps_no_backend_for_ever() -> None:
    parts = Parts()
    ready(parts)
    parts.gateway.away = True
    release(parts)
    for _ in range(CLOSING_TRIES - 1):
        pass_by(parts, 61)
        assert parts.runtime.records()
    pass_by(parts, 61)
    assert (parts.runtime.records(), parts.runtime.store.applied) == ([], {})


def test_what_a_gateway_never_led_to_goes_without_it() -> None:
    parts = Parts()
    parts.deployments.deploy(HELLOWORLD, KEYS[0], 0)
    parts.gateway.away = True
    release(parts)
    assert parts.runtime.records() == []


def test_after_a_restart_all_that_ends_waits_for_a_gateway_that_cannot_be_set() -> None:
    store = Store()
    ready(Parts(store=store))
    after = Parts(store=store)
    after.gateway.away = True
    with pytest.raises(Unavailable):
        after.upkeep.restore()
    release(after)
    assert store.applied, "an earlier run may have left the way there"
    after.gateway.away = False
    pass_by(after, 30)
    assert (store.applied, store.records) == ({}, {})


class Listening(FakeGateway):
    """Keeps what each sync says."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[set[bytes]] = []

    def sync(self, peers: Sequence[Peer]) -> None:
        super().sync(peers)
        self.said.append({peer.key for peer in peers})


def test_what_ends_at_a_start_does_not_cut_those_off_that_are_not_yet_known() -> None:
    """Of two with one block the younger is removed at once, by another thread, while a third is to come."""
    store = Store()
    before = Parts(store=store)
    for key in KEYS:
        ready(before, key)
    first, second, third = before.runtime.records()
    barred = replace(second, block=first.block)
    store.records[second.home] = (AGENT, {**barred.labels(AGENT), **barred.notes()})
    gateway = Listening()
    after = Parts(store=store, gateway=gateway)

    def at_once(step: Callable[[], None]) -> None:
        thread = threading.Thread(target=step, daemon=True)
        thread.start()
        thread.join(0.1)

    after.lifecycle._later = at_once
    after.runtime.records = lambda: ordered(first, barred, third)  # type: ignore[method-assign]
    after.upkeep.restore()
    assert gateway.said[0] == {first.key, third.key}


def ordered(*records: Record) -> list[Record]:
    """The records, each a second younger than the one before it."""
    return [
        replace(record, created=record.created.replace(second=index)) for index, record in enumerate(records)
    ]


def test_a_gateway_that_dies_in_between_ends_and_wakes_nobody() -> None:
    """As when wireguard-go is killed: the interface is made again, and its counters start from nothing."""
    parts = Parts(idle_seconds=100.0, rest_seconds=1000.0)
    ready(parts)
    ready(parts, KEYS[1])
    parts.gateway.seen = {KEYS[0]: Activity(5, 500)}
    for _ in range(3):
        pass_by(parts, 30)
        parts.leases.renew(parts.lives.all()[0].record.name)
    pass_by(parts, 30)
    assert [live.phase for live in parts.lives.all()] == [Phase.READY, Phase.RESTING]
    parts.gateway.away = True
    for _ in range(30):
        pass_by(parts, 30)
    parts.gateway.away, parts.gateway.seen = False, {}
    parts.gateway.allowed, parts.gateway.forwards = {}, {}
    for _ in range(3):
        pass_by(parts, 10)
    assert [live.phase for live in parts.lives.all()] == [Phase.READY, Phase.RESTING]
    assert set(parts.gateway.allowed) == {KEYS[0], KEYS[1]}
    assert {device for device, *_ in parts.gateway.forwards} == {parts.lives.all()[0].device}
    parts.deployments.deploy(HELLOWORLD, KEYS[2], 0)
