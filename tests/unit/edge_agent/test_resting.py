"""Idle deployments on fakes: they rest, come back to whoever wants them, and go in the end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network

import pytest

from edge_agent.deployments.leases import Activity, Leases
from edge_agent.deployments.live import Phase
from edge_agent.deployments.records import Order
from edge_agent.deployments.room import Room
from edge_agent.deployments.upkeep import AGE_GRACE_SECONDS
from edge_agent.errors import NotFound, RecipeUnusable, Unavailable
from tests.fakes.edge_agent_backends import HELLOWORLD, backend
from tests.fakes.edge_agent_parts import CREATED, Clock, Parts
from tests.fakes.edge_agent_runtime import Store

KEY = bytes(range(32))
OTHER = bytes(32)
IDLE, REST = 300.0, 1800.0


def ready(parts: Parts, key: bytes = KEY) -> IPv4Address:
    """Deploy until ready; return the device's tunnel address."""
    parts.deployments.deploy(HELLOWORLD, key, 0)
    parts.settle()
    found = parts.deployments.find(HELLOWORLD, key)
    assert found.state == "Ready", found
    return IPv4Address(found.tunnel.address[0].removesuffix("/32"))


def pass_by(parts: Parts, seconds: float) -> None:
    parts.clock.seconds += seconds
    parts.settle()


def resting(store: Store | None = None, **options: object) -> tuple[Parts, IPv4Address]:
    """An agent whose only deployment rests."""
    parts = Parts(store=store, idle_seconds=IDLE, rest_seconds=REST, **options)  # type: ignore[arg-type]
    device = ready(parts)
    pass_by(parts, IDLE + 6)
    assert phases(parts) == [Phase.RESTING]
    return parts, device


def phases(parts: Parts) -> list[Phase]:
    return [live.phase for live in parts.lives.all()]


def test_what_rests_keeps_record_peer_and_address_and_has_no_pods() -> None:
    parts, device = resting()
    (record,) = parts.runtime.records()
    assert record.device == device
    assert parts.gateway.allowed == {KEY: {device}}
    assert parts.gateway.forwards == {}
    assert parts.runtime.store.applied == {}
    assert parts.runtime.observe([record])[record.name].state == "Resting"
    found = parts.deployments.find(HELLOWORLD, KEY)
    assert (found.state, found.reason) == ("Deploying", "It rests until it is used again.")
    assert parts.deployments.count() == 0


def test_the_gateway_leads_nowhere_before_the_pods_go() -> None:
    parts = Parts(idle_seconds=IDLE, rest_seconds=REST)
    ready(parts)
    parts.gateway.away = True
    parts.lifecycle.rest_later(parts.lives.all()[0])
    parts.work()
    assert parts.runtime.store.applied, "another's pod might get the address that the gateway still leads to"
    parts.gateway.away = False
    pass_by(parts, 6)
    assert parts.runtime.store.applied == {}


def test_a_call_revives_it_with_the_same_address() -> None:
    parts, device = resting()
    answer = parts.deployments.deploy(HELLOWORLD, KEY, 0)
    assert (answer.state, answer.tunnel.address) == ("Deploying", (f"{device}/32",))
    parts.settle()
    assert parts.deployments.find(HELLOWORLD, KEY).state == "Ready"
    assert parts.gateway.forwards


def test_the_devices_traffic_revives_it() -> None:
    parts, device = resting()
    parts.gateway.seen[KEY] = Activity(0, 148)
    pass_by(parts, 6)
    parts.settle()
    assert parts.deployments.follow(device, 0).state == "Ready"


def test_asking_for_its_state_in_the_tunnel_revives_it() -> None:
    parts, device = resting()
    assert parts.deployments.follow(device, 0).state == "Deploying"
    parts.settle()
    assert parts.deployments.follow(device, 0).state == "Ready"


def test_asking_for_its_name_revives_it() -> None:
    parts, device = resting()
    assert parts.deployments.zone(device)
    assert phases(parts) == [Phase.STARTING]


def test_who_does_not_come_back_loses_it() -> None:
    parts, device = resting()
    pass_by(parts, REST - 20)
    assert phases(parts) == [Phase.RESTING]
    pass_by(parts, 20)
    assert (parts.runtime.records(), parts.gateway.allowed) == ([], {})
    with pytest.raises(NotFound):
        parts.deployments.follow(device, 0)


def test_a_rest_that_fails_is_tried_again() -> None:
    parts = Parts(idle_seconds=IDLE, rest_seconds=REST)
    ready(parts)
    parts.clock.seconds += IDLE + 6
    parts.upkeep.tick()
    parts.runtime.away = True
    parts.work()
    assert parts.runtime.store.applied
    parts.runtime.away = False
    pass_by(parts, 6)
    assert parts.runtime.store.applied == {}


def test_who_comes_back_before_the_pods_are_down_keeps_them() -> None:
    parts = Parts(idle_seconds=IDLE, rest_seconds=REST)
    ready(parts)
    parts.clock.seconds += IDLE + 6
    parts.upkeep.tick()
    parts.deployments.deploy(HELLOWORLD, KEY, 0)
    parts.settle()
    assert parts.deployments.find(HELLOWORLD, KEY).state == "Ready"
    assert parts.runtime.store.resting == set()


def test_a_restart_lets_sleepers_sleep() -> None:
    store = Store()
    before, device = resting(store)
    before.gateway.seen[KEY] = Activity(1_700_000_000, 4711)
    after = Parts(store=store, idle_seconds=IDLE, rest_seconds=REST)
    after.upkeep.restore()
    after.gateway.seen = before.gateway.seen
    pass_by(after, 6)
    pass_by(after, 6)
    assert phases(after) == [Phase.RESTING], "what was counted before is no sign of life"
    assert after.gateway.allowed == {KEY: {device}}
    after.gateway.seen[KEY] = Activity(1_700_000_000, 4712)
    pass_by(after, 6)
    after.settle()
    assert after.deployments.follow(device, 0).state == "Ready"


def test_a_restart_ends_an_old_rest_in_the_end() -> None:
    store = Store()
    resting(store)
    after = Parts(store=store, idle_seconds=IDLE, rest_seconds=REST)
    after.upkeep.restore()
    pass_by(after, IDLE + REST + 6)
    assert after.runtime.records() == []


def test_a_record_that_somebody_removed_while_it_rests_takes_its_peer_along() -> None:
    parts, device = resting()
    parts.runtime.store.records.clear()
    pass_by(parts, 66)
    assert (parts.gateway.allowed, parts.lives.all()) == ({}, [])
    with pytest.raises(NotFound):
        parts.deployments.follow(device, 0)


def test_a_record_that_cannot_be_read_while_it_rests_ends_nothing() -> None:
    parts, device = resting()
    parts.runtime.records = list  # type: ignore[method-assign]  # unreadable ones are left out
    pass_by(parts, 66)
    assert phases(parts) == [Phase.RESTING]
    assert parts.gateway.allowed == {KEY: {device}}


def test_a_changed_recipe_makes_it_anew() -> None:
    parts, _ = resting()
    parts.catalogue.apps[HELLOWORLD] = backend(version="0.2.0")  # type: ignore[attr-defined]
    parts.lifecycle._later = lambda step: step()
    assert parts.deployments.deploy(HELLOWORLD, KEY, 0).state == "Deploying"
    (record,) = parts.runtime.records()
    assert record.version == "0.2.0"


def test_a_recipe_that_is_gone_leaves_it_resting() -> None:
    parts, _ = resting()
    parts.catalogue.apps[HELLOWORLD] = RecipeUnusable("no")  # type: ignore[attr-defined]
    with pytest.raises(RecipeUnusable):
        parts.deployments.deploy(HELLOWORLD, KEY, 0)
    assert phases(parts) == [Phase.RESTING]


def test_a_draining_cloudlet_wakes_nothing_at_a_call() -> None:
    parts, _ = resting()
    parts.deployments.draining = True
    with pytest.raises(Unavailable, match="draining"):
        parts.deployments.deploy(HELLOWORLD, KEY, 0)
    assert phases(parts) == [Phase.RESTING]


def test_what_becomes_of_it_is_told_in_order() -> None:
    parts, _ = resting()
    parts.deployments.deploy(HELLOWORLD, KEY, 0)
    parts.settle()
    parts.deployments.release(parts.lives.all()[0].device)
    parts.settle()
    told = [reason for _, reason, _ in parts.runtime.told]
    assert told == ["Deploying", "Ready", "Resting", "Deploying", "Ready", "Removing"]


def test_those_that_rest_make_room_for_new_ones() -> None:
    parts, _ = resting(room=Room(1))
    parts.deployments.deploy(HELLOWORLD, OTHER, 0)
    parts.settle()
    assert [record.key for record in parts.runtime.records()] == [OTHER]


def test_a_cloudlet_has_no_more_than_it_may() -> None:
    parts = Parts(room=Room(1))
    ready(parts)
    assert parts.deployments.deploy(HELLOWORLD, KEY, 0).state == "Ready", "it is there already"
    with pytest.raises(Unavailable, match="1 deployments") as full:
        parts.deployments.deploy(HELLOWORLD, OTHER, 0)
    assert full.value.retry_after_seconds == 30
    assert len(parts.runtime.records()) == 1
    parts.deployments.release(parts.lives.all()[0].device)
    parts.deployments.deploy(HELLOWORLD, OTHER, 0)


def test_each_root_has_a_share() -> None:
    parts = Parts(room=Room(9, {"https://a": 1, "https://b": 0}.get))
    parts.deployments.deploy(HELLOWORLD, KEY, 0, Order("https://a"))
    with pytest.raises(Unavailable, match="this root"):
        parts.deployments.deploy(HELLOWORLD, OTHER, 0, Order("https://a"))
    with pytest.raises(Unavailable, match="this root"):
        parts.deployments.deploy(HELLOWORLD, OTHER, 0, Order("https://b"))
    parts.deployments.deploy(HELLOWORLD, OTHER, 0, Order("https://c"))


def test_addresses_that_are_all_taken_come_back_when_one_goes() -> None:
    parts = Parts(network=IPv4Network("100.71.0.0/28"))
    device = ready(parts)
    with pytest.raises(Unavailable, match="in use"):
        parts.deployments.deploy(HELLOWORLD, OTHER, 0)
    parts.deployments.release(device)
    with pytest.raises(Unavailable, match="in use"):
        parts.deployments.deploy(HELLOWORLD, OTHER, 0)
    parts.settle()
    parts.deployments.deploy(HELLOWORLD, OTHER, 0)


def test_an_address_of_one_that_rests_is_free_soon() -> None:
    parts, _ = resting(network=IPv4Network("100.71.0.0/28"))
    with pytest.raises(Unavailable):
        parts.deployments.deploy(HELLOWORLD, OTHER, 0)
    parts.settle()
    parts.deployments.deploy(HELLOWORLD, OTHER, 0)


def test_a_greatest_age_ends_also_what_is_used() -> None:
    parts = Parts(max_age_seconds=1000.0)
    ready(parts)
    for step in range(1, 6):
        parts.gateway.seen[KEY] = Activity(0, step)
        pass_by(parts, 190)
    assert parts.runtime.records()
    pass_by(parts, 60)
    assert parts.runtime.records() == []


def test_a_greatest_age_counts_from_the_record() -> None:
    store = Store()
    ready(Parts(store=store))
    after = Parts(store=store, max_age_seconds=5000.0)
    after.lifecycle._now = lambda: CREATED + timedelta(seconds=4300)
    after.upkeep.restore()
    in_use(after, 650)
    assert after.runtime.records()
    in_use(after, 60)
    assert after.runtime.records() == []


def in_use(parts: Parts, seconds: int) -> None:
    for _ in range(seconds // 10):
        parts.leases.hold()
        pass_by(parts, 10)


@pytest.mark.parametrize(("greatest", "grace"), [(1000.0, 500), (86_400.0, AGE_GRACE_SECONDS)])
def test_a_time_of_day_that_jumped_while_no_agent_ran_ends_nobody_at_once(
    greatest: float, grace: float
) -> None:
    store = Store()
    ready(Parts(store=store))
    after = Parts(store=store, max_age_seconds=greatest)
    after.lifecycle._now = lambda: datetime(2090, 1, 1, tzinfo=UTC)
    after.upkeep.restore()
    in_use(after, int(grace) - 20)
    assert phases(after) == [Phase.READY]
    in_use(after, 40)
    assert after.runtime.records() == []


def test_a_clock_that_jumps_ends_nothing() -> None:
    store = Store()
    parts = Parts(store=store, idle_seconds=IDLE, rest_seconds=REST, max_age_seconds=3600.0)
    for year in (1990, 2026, 2090):
        parts.lifecycle._now = lambda year=year: datetime(year, 1, 1, tzinfo=UTC)  # type: ignore[misc]
        ready(parts)
        pass_by(parts, 60)
    assert phases(parts) == [Phase.READY]
    after = Parts(store=store, max_age_seconds=3600.0)
    after.lifecycle._now = lambda: datetime(1970, 1, 1, tzinfo=UTC)
    after.upkeep.restore()
    pass_by(after, 60)
    assert phases(after) == [Phase.READY]


def leases() -> tuple[Leases, Clock]:
    clock = Clock()
    leases = Leases(10, 20, clock)
    leases.renew("a")
    leases.note({"a": Activity(500, 100)})
    return leases, clock


@pytest.mark.parametrize(
    ("now", "active"),
    [
        (Activity(500, 100), False),
        (Activity(500, 100, 999), False),  # what was sent to it
        (Activity(500, 101), True),
        (Activity(501, 100), True),
        (Activity(400, 132), True),  # a clock set back
        (Activity(0, 0), False),  # a gateway that began anew
        (Activity(0, 50), True),  # the same, and the device is there again
    ],
)
def test_only_what_a_device_does_is_a_sign_of_its_life(now: Activity, active: bool) -> None:
    table, clock = leases()
    clock.seconds += 11
    assert table.idle() == ["a"]
    assert table.note({"a": now}) == ({"a"} if active else set())
    assert table.idle() == ([] if active else ["a"])


def test_a_peer_that_is_missing_in_a_reading_was_not_active_when_it_returns() -> None:
    table, clock = leases()
    clock.seconds += 11
    assert table.note({}) == set()
    assert table.note({"a": Activity(500, 100)}) == set()
    assert table.rested() == []
    clock.seconds += 20
    assert table.rested() == ["a"]
