"""Laws 1, 3 and 4 for cloudlets that move, drain, go stale and lie; identities that nobody takes over."""

import random
from dataclasses import replace
from ipaddress import ip_address, ip_network
from uuid import UUID, uuid4

import pytest
from chalicelib.errors import Forbidden, Gone, Stale, Throttled, TooMany, Unauthorized
from chalicelib.fleet.cloudlets import MOST_CACHED, MOVE_KM, STALE_SECONDS, RowKey, Trust, row_key
from chalicelib.fleet.geo import Location, centre, distance_km
from chalicelib.fleet.leases import LeaseSigner
from chalicelib.fleet.neighbourhood import Neighbourhood
from chalicelib.fleet.place_cache import CachedPlaces
from chalicelib.fleet.plausibility import AHEAD_SECONDS
from chalicelib.fleet.wire import Keepalive, PublishedKeepalive, Registration
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.cloud_table import FakeTable
from tests.unit.cloud.fleet_world import HERE, SECRET, THERE, World

KEYED = UUID("00000000-0000-8000-8000-000000000001")  # version 8: it follows from a key
FARTHEST = 2**53 - 1


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def keyed(world) -> World:
    world.uuid = KEYED
    return world


def north(km: float) -> Location:
    return Location(HERE.latitude + km / 111.2, HERE.longitude)


def test_a_cloudlet_that_moves_a_little_costs_one_write_and_stays_within_reach_of_its_row(world):
    token = world.register()
    key = world.row().key
    world.table.operations.clear()
    for step in range(1, 8):
        world.now += 5
        world.keepalive(token, step, {"cpu_ratio": 0.5}, north(0.2 * step))
    assert world.table.operations == ["update_item"] * 7
    assert (world.row().key, world.row().location) == (key, north(1.4))
    lease = world.keepalive(token, 8, None, north(2.5))
    assert world.row().key == row_key(world.uuid, north(2.5))
    assert lease.lease_token


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=20))
def test_wherever_a_cloudlet_drives_its_one_row_is_near(steps):
    world = World()
    token, km = world.register(), 0.0
    for sequence, step in enumerate(steps, 1):
        world.now += 60
        km += step
        token = world.keepalive(token, sequence, None, north(km)).lease_token or token
        row = world.row()
        assert row.location == north(km)
        assert distance_km(centre(row.key.place.partition("#")[0]), row.location) <= MOVE_KM


def test_who_floods_is_slowed_down_and_nobody_else(world):
    token = world.register()
    for sequence in range(1, 201):
        world.keepalive(token, sequence)
    world.table.operations.clear()
    with pytest.raises(TooMany) as caught:
        world.keepalive(token, 201)
    assert 0 < caught.value.retry_after_seconds <= 1
    assert world.table.operations == []
    flooder, world.uuid = world.uuid, uuid4()
    world.keepalive(world.register(), 1)
    world.uuid = flooder
    world.now += 5
    world.keepalive(token, 202)


def places(world: World) -> set[RowKey]:
    return {row.key for row in world.table.find(world.uuid)}


def test_a_row_that_was_left_goes_with_the_next_keepalive(world):
    old, new, third = (row_key(world.uuid, where) for where in (HERE, north(5), north(10)))
    token = world.register()
    token = world.keepalive(token, 1, None, north(5)).lease_token
    assert places(world) == {old, new}
    after = world.keepalive(token, 2, None, north(5)).lease_token
    assert places(world) == {new}
    assert world.keepalive(after, 3).lease_token is None  # from now on one write again
    world.now += 60
    token = world.keepalive(after, 4, None, north(10)).lease_token
    world.now += 60
    token = world.keepalive(token, 5, None, north(5)).lease_token  # and back
    assert places(world) == {new, third}
    world.keepalive(token, 6)
    assert places(world) == {new}


def test_two_moves_leave_two_rows_and_a_goodbye_none(world):
    token = world.register()
    for step in range(1, 4):
        world.now += 60
        token = world.keepalive(token, step, None, north(5 * step)).lease_token
        assert len(places(world)) == 2
    world.registry.withdraw(world.uuid, token)
    assert places(world) == set()


def test_who_drains_while_moving_is_at_one_place(world):
    token = world.register()
    token = world.keepalive(token, 1, None, north(5)).lease_token
    world.now += 60
    world.keepalive(token, 2, None, north(10), draining=True)
    assert places(world) == {row_key(world.uuid, north(10))}


def test_a_container_that_has_just_looked_finds_who_moves_in(world):
    token = world.register()
    cached = Neighbourhood(CachedPlaces(world.table, lambda: 0.0), world.clock, random.Random(0))

    def seen() -> list[Location]:
        around = cached.around(THERE, ip_address("198.51.100.7"), lambda _row: True, 3)
        return [row.location for row in around.cloudlets]

    assert seen() == [HERE]  # and nobody there: that is remembered
    world.keepalive(token, 1, None, north(5))
    assert seen() == [HERE]
    fresh = Neighbourhood(world.table, world.clock, random.Random(0))
    found = fresh.around(THERE, ip_address("198.51.100.7"), lambda _row: True, 3)
    assert [row.location for row in found.cloudlets] == [north(5)]  # once, as the newer row has it


def test_a_drain_counts_at_once_and_so_does_its_end(world):
    token = world.register(draining=True)
    assert world.row().draining
    world.keepalive(token, 1)
    assert world.row().draining
    world.keepalive(token, 2, draining=False)
    assert not world.row().draining
    world.keepalive(token, 3, None, THERE, draining=True)
    assert world.row().draining


def test_of_cached_apps_as_many_are_kept_as_cost_no_second_unit(world):
    apps = tuple(UUID(int=each) for each in range(MOST_CACHED))
    networks = tuple(ip_network(f"2001:db8::{each:x}/128") for each in range(16))
    token = world.register(local_networks=networks, accepted_clients=networks, name="n" * 80, cached=apps)
    room = len(world.row().cached)
    assert 0 < room < MOST_CACHED
    world.keepalive(token, 1, cached=())
    assert world.row().cached == ()
    world.keepalive(token, 2, cached=apps)
    assert world.row().cached == apps[:room]


def test_a_lease_that_ended_is_renewed_while_the_row_is_stale_and_then_gone(world):
    token = world.register()
    end = world.row().expires_at
    world.now = end + STALE_SECONDS - 1
    world.keepalive(token, 1)
    assert world.row().expires_at > world.now
    world.now = world.row().expires_at + STALE_SECONDS
    before = world.row()
    for location in (None, THERE):
        with pytest.raises(Gone):
            world.keepalive(token, 2, None, location)
    assert world.row() == before
    world.register(incarnation=2)


def test_a_secret_that_was_replaced_verifies_until_it_is_taken_away(world):
    token = world.register()
    for secrets, valid in (([b"fedcba9876543210", SECRET], True), ([b"fedcba9876543210"], False)):
        world.keepalives = replace(world.keepalives, signer=LeaseSigner(secrets, world.clock))
        if valid:
            world.keepalive(token, 1)
        else:
            with pytest.raises(Unauthorized):
                world.keepalive(token, 2)


def test_a_token_of_an_older_form_is_no_token(world):
    from chalicelib.fleet.leases import _encode, _sign

    body = _encode(f'["{world.uuid}","c","p",1,15.0,{int(world.now)}]'.encode())
    with pytest.raises(Unauthorized):
        world.keepalive(f"{body}.{_sign(SECRET, body)}", 1)


def test_a_large_fleet_comes_less_often_and_its_leases_are_longer():
    world = World(keepalives_per_s=0.01)
    token = world.register()
    world.now += 61
    lease = world.keepalive(token, 1)
    assert (lease.interval_seconds, lease.lease_seconds) == (100, 305)
    assert world.row().expires_at == world.now + 305


def test_a_throttled_table_lengthens_the_next_intervals(world):
    class Busy(FakeTable):
        def renew(self, *_arguments, **_fields):
            raise Throttled("too much")

    token = world.register()
    keepalives = replace(world.keepalives, table=Busy())
    with pytest.raises(Throttled):
        keepalives.keepalive(world.uuid, token, Keepalive(1))
    assert world.keepalive(token, 1).interval_seconds == 30


def test_a_cloudlet_that_registers_ten_thousand_times_is_told_to_wait_and_has_one_row(world):
    waits: list[float] = []
    for attempt in range(10_000):
        world.now += 0.001
        try:
            world.register(incarnation=attempt, location=Location(attempt % 90, attempt % 180))
        except TooMany as error:
            waits.append(error.retry_after_seconds)
    assert len(waits) > 9_970
    assert 0 < min(waits) <= max(waits) <= 600
    assert world.row()
    assert len(world.table.occupied(world.now)) < 30
    assert len(world.table.operations) < 200
    world.uuid = uuid4()
    world.register()


def test_a_cloudlet_on_the_other_side_of_the_earth_each_time_has_bounded_effect(world):
    token, accepted = world.register(), 0
    for sequence in range(1, 1000):
        world.now += 1
        place = THERE if sequence % 2 else HERE
        try:
            token = world.keepalive(token, sequence, None, place).lease_token or token
            accepted += 1
        except TooMany:
            pass
    writes = [each for each in world.table.operations if each in ("put_item", "delete_item")]
    assert len(writes) < 40
    assert world.row()
    world.now += 3600
    world.keepalive(token, 1000, None, world.row().location)


@pytest.mark.parametrize("ahead_seconds", [-8 * 3600, 0, 8 * 3600, 40 * 365 * 86400])
def test_a_clock_that_was_wrong_locks_nobody_out(world, ahead_seconds):
    wrong = int((world.now + ahead_seconds) * 1000)
    old = world.register(incarnation=wrong)
    counter = wrong  # agents keep theirs, and count on
    for _ in range(3):
        world.now += 60
        counter = max(counter + 1, int(world.now * 1000))
        token = world.register(incarnation=counter)
        world.keepalive(token, 1)
        with pytest.raises(Stale):
            world.keepalive(old, 99)
    assert world.row().incarnation <= (world.now + AHEAD_SECONDS) * 1000


def test_nobody_takes_a_key_s_uuid_over(keyed):
    keyed.register(signed=True)
    before = keyed.row()
    assert before.trust == Trust.SIGNED
    with pytest.raises(Unauthorized):
        keyed.register(incarnation=FARTHEST, location=THERE)
    with pytest.raises(Unauthorized):
        keyed.registry.admit_published(
            PublishedKeepalive(KEYED, Registration("http://192.0.2.9/d", 0, location=THERE))
        )
    assert keyed.row() == before


@pytest.mark.parametrize("place", [HERE, THERE])
def test_the_owner_of_a_key_displaces_who_sat_on_its_uuid_before(keyed, place):
    keyed.table.put(
        replace(_row_of(keyed), key=row_key(KEYED, place), incarnation=FARTHEST, trust=Trust.UNSIGNED)
    )
    keyed.register(incarnation=1, signed=True)
    assert (keyed.row().incarnation, keyed.row().trust, keyed.row().key) == (1, 1, row_key(KEYED, HERE))


def _row_of(world: World):
    other = World()
    other.uuid = world.uuid
    other.register(signed=True)
    return other.row()


def test_a_tenant_s_own_cloudlet_is_in_its_realm_and_moves_within_it(keyed):
    keyed.book.policies["acme"] = "invitation"
    keyed.book.invitations["acme", "code"] = None
    shared = keyed.register(signed=True)
    token = keyed.register(signed=True, incarnation=2, tenant="acme", invitation="code")
    assert (keyed.row().realm, keyed.row().trust) == ("acme", Trust.INVITED)
    with pytest.raises(Gone):
        keyed.keepalive(shared, 1)
    keyed.now += 15
    keyed.keepalive(token, 1, None, THERE)
    assert keyed.row().key == row_key(KEYED, THERE, "acme")
    assert keyed.table.occupied(keyed.now, "acme")
    keyed.uuid = UUID("00000000-0000-8000-8000-000000000002")
    with pytest.raises(Forbidden):
        keyed.register(signed=True, tenant="acme", invitation="code")


def test_signposts_follow_a_cloudlet_and_expire(world):
    networks = (ip_network("203.0.114.0/24"), ip_network("8.8.8.0/24"))
    token = world.register(local_networks=networks)
    assert {row for row, _ in world.table._pointers.values()} == {world.row().key}
    assert len(world.table._pointers) == 2
    world.now += 15
    world.keepalive(token, 1, None, THERE)
    assert {row for row, _ in world.table._pointers.values()} == {world.row().key}
    world.now += 60
    world.register(incarnation=2, location=HERE, local_networks=networks[:1])
    assert [row for row, _ in world.table._pointers.values()] == [world.row().key]


def test_a_published_cloudlet_puts_up_its_notices_once_an_hour(world):
    said = PublishedKeepalive(
        world.uuid, Registration("http://192.0.2.9/d", 0, local_networks=(ip_network("8.8.8.0/24"),))
    )
    world.registry.admit_published(said)
    world.table.operations.clear()
    for _ in range(10):
        world.now += 5
        world.registry.admit_published(said)
    assert world.table.operations == ["put_item"] * 10
