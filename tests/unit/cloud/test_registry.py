"""Registration, keepalives and goodbye, over the table in memory and a clock that is an argument."""

from ipaddress import ip_network
from uuid import UUID, uuid4

import pytest
from chalicelib.errors import Forbidden, Gone, InvalidRequest, Stale, Unauthorized, Unavailable
from chalicelib.fleet.cloudlets import (
    Cloudlet,
    Renewed,
    RowKey,
    check_size,
    pack_networks,
    row_key,
    unpack_networks,
)
from chalicelib.fleet.geo import Location
from chalicelib.fleet.leases import LeaseClaim, LeaseSigner, lease_seconds
from chalicelib.fleet.notices import NOTICE_SECONDS
from chalicelib.fleet.wire import Keepalive, PublishedKeepalive, Registration
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.cloud_table import FakeTable
from tests.unit.cloud.fleet_world import HERE, SECRET, THERE, World


@pytest.fixture
def world() -> World:
    return World()


def test_registering_makes_a_row_for_one_lease(world):
    world.register()
    row = world.row()
    assert row.key == row_key(world.uuid, HERE)
    assert row.endpoint == "http://192.0.2.7/d"
    assert row.sequence == 0
    assert row.expires_at == world.now + 50
    assert world.table.occupied(world.now + NOTICE_SECONDS - 1) == [row.key.cell]


@pytest.mark.parametrize(("asked", "granted"), [(None, 15), (60, 60), (1, 5), (3600, 300)])
def test_the_pace_is_agreed(world, asked, granted):
    registration = Registration("http://192.0.2.7/d", 1, interval_seconds=asked)
    lease = world.registry.register(world.uuid, registration, signed=False)
    assert lease.interval_seconds == granted
    assert lease.lease_seconds == lease_seconds(granted) == 3 * granted + 5
    again = world.keepalives.keepalive(world.uuid, lease.lease_token, Keepalive(1))
    assert again.interval_seconds == granted
    assert again.lease_token is None


def test_a_keepalive_is_one_write_and_no_read(world):
    token = world.register()
    world.table.operations.clear()
    world.now += 15
    world.keepalives.keepalive(world.uuid, token, Keepalive(1, {"cpu_ratio": 0.5}, HERE))
    assert world.table.operations == ["update_item"]
    assert world.row().expires_at == world.now + 50
    assert world.row().resources == {"cpu_ratio": 0.5}


def test_a_keepalive_without_resources_keeps_them(world):
    token = world.register(resources={"mem_ratio": 0.25})
    world.keepalives.keepalive(world.uuid, token, Keepalive(1))
    assert world.row().resources == {"mem_ratio": 0.25}


@pytest.mark.parametrize("sequence", [3, 2, 1])
def test_late_and_repeated_keepalives_are_stale(world, sequence):
    token = world.register()
    world.keepalives.keepalive(world.uuid, token, Keepalive(3))
    before = world.row()
    world.now += 5
    with pytest.raises(Stale):
        world.keepalives.keepalive(world.uuid, token, Keepalive(sequence, {"cpu_ratio": 1}))
    with pytest.raises(Stale):
        world.keepalives.keepalive(world.uuid, token, Keepalive(sequence, {}, THERE))
    assert world.row() == before


def test_a_newer_incarnation_ends_the_older_one(world):
    old = world.register(incarnation=1)
    new = world.register(incarnation=2)
    with pytest.raises(Stale):
        world.keepalives.keepalive(world.uuid, old, Keepalive(99))
    with pytest.raises(Stale):
        world.registry.withdraw(world.uuid, old)
    with pytest.raises(Stale) as refused:
        world.register(incarnation=1)
    assert refused.value.incarnation == 2
    world.keepalives.keepalive(world.uuid, new, Keepalive(1))


def test_a_newer_incarnation_starts_counting_again(world):
    token = world.register(incarnation=1)
    world.keepalives.keepalive(world.uuid, token, Keepalive(70))
    world.register(incarnation=2)
    assert world.row().sequence == 0


@pytest.mark.parametrize("place", [HERE, THERE])
def test_registering_again_with_the_same_incarnation_opens_no_replays(world, place):
    token = world.register()
    world.keepalives.keepalive(world.uuid, token, Keepalive(7))
    again = world.register(location=place)
    assert world.row().sequence == 7
    with pytest.raises(Stale):
        world.keepalives.keepalive(world.uuid, again, Keepalive(7))
    world.keepalives.keepalive(world.uuid, again, Keepalive(8))


def test_a_row_that_vanished_has_to_register_again(world):
    token = world.register()
    world.table.remove(world.row().key, 1)
    with pytest.raises(Gone):
        world.keepalives.keepalive(world.uuid, token, Keepalive(1))
    with pytest.raises(Gone):
        world.keepalives.keepalive(world.uuid, token, Keepalive(1, None, THERE))


def test_a_row_that_expired_but_is_there_is_renewed(world):
    token = world.register()
    world.now += 3600
    world.keepalives.keepalive(world.uuid, token, Keepalive(1))
    assert world.row().expires_at == world.now + 50


def test_after_a_day_a_cloudlet_registers_again(world):
    token = world.register()
    world.now += 24 * 3600 + 1
    with pytest.raises(Gone):
        world.keepalives.keepalive(world.uuid, token, Keepalive(1))


def test_a_moving_cloudlet_is_offered_once_and_keeps_its_token_up_to_date(world):
    token = world.register(name="bus", resources={"cpu_ratio": 0.25})
    world.now += 15
    lease = world.keepalives.keepalive(world.uuid, token, Keepalive(1, None, THERE))
    row = world.row()
    assert row.key == row_key(world.uuid, THERE)
    assert (row.name, row.sequence, row.location) == ("bus", 1, THERE)
    assert row.resources == {"cpu_ratio": 0.25}
    assert row.expires_at == world.now + 50
    assert lease.lease_token not in {None, token}
    assert row.key.cell in world.table.occupied(world.now)
    world.keepalives.keepalive(world.uuid, lease.lease_token, Keepalive(2, None, THERE))
    with pytest.raises(Gone):  # the row that the old token names went with that
        world.keepalives.keepalive(world.uuid, token, Keepalive(3))


def test_a_move_whose_answer_was_lost_is_made_again(world):
    token = world.register()
    world.keepalives.keepalive(world.uuid, token, Keepalive(1, None, THERE))
    world.now += 60
    lease = world.keepalives.keepalive(world.uuid, token, Keepalive(2, None, THERE))
    assert (world.row().key, world.row().sequence) == (row_key(world.uuid, THERE), 2)
    world.keepalives.keepalive(world.uuid, lease.lease_token, Keepalive(3, None, THERE))
    assert [row.sequence for row in world.table.find(world.uuid)] == [3]


def test_goodbye_may_be_said_twice(world):
    token = world.register()
    world.registry.withdraw(world.uuid, token)
    assert world.table.find(world.uuid) == []
    world.registry.withdraw(world.uuid, token)


@pytest.mark.parametrize("token", [None, "", "x", "a.b", "a.b.c", "é.é", "A" * 2000])
def test_wrong_tokens(world, token):
    for call in (world.registry.withdraw, lambda *args: world.keepalives.keepalive(*args, Keepalive(1))):
        with pytest.raises(Unauthorized):
            call(world.uuid, token)


def test_tokens_of_others_or_changed_or_of_another_root(world):
    token = world.register()
    with pytest.raises(Unauthorized):
        world.keepalives.keepalive(uuid4(), token, Keepalive(1))
    body, signature = token.split(".")
    first = "B" if signature[0] == "A" else "A"
    for changed in (f"{body[:-2]}.{signature}", f"{body}.{first}{signature[1:]}", f"{signature}.{body}"):
        with pytest.raises(Unauthorized):
            world.keepalives.keepalive(world.uuid, changed, Keepalive(1))
    other = LeaseSigner([b"another secret.."], lambda: world.now).issue(
        LeaseClaim(world.uuid, RowKey("a", "b"), 1, 15, 16)
    )
    with pytest.raises(Unauthorized):
        world.keepalives.keepalive(world.uuid, other, Keepalive(1))


@given(st.text(max_size=80))
def test_no_text_breaks_the_token_reader(text):
    with pytest.raises(Unauthorized):
        LeaseSigner([SECRET], lambda: 0.0).read(text, UUID(int=1))


def published(uuid: UUID, **fields) -> PublishedKeepalive:
    return PublishedKeepalive(uuid, Registration("http://192.0.2.9/d", 0, **fields))


def test_the_published_keepalive_is_one_write(world):
    world.registry.admit_published(published(world.uuid))
    world.now += 15
    world.table.operations.clear()
    world.registry.admit_published(published(world.uuid, resources={"cpu_ratio": 0.5}))
    assert world.table.operations == ["put_item"]
    assert world.row().key == row_key(world.uuid, None)
    assert world.row().expires_at == world.now + 50


def test_the_published_keepalive_can_not_take_over_a_registered_cloudlet(world):
    world.register()
    before = world.row()
    with pytest.raises(Forbidden):
        world.registry.admit_published(published(world.uuid, location=HERE))
    assert world.row() == before


def test_a_published_cloudlet_may_register(world):
    world.registry.admit_published(published(world.uuid, location=HERE))
    world.register()
    assert not world.row().published


def test_a_closed_root_wants_registration():
    world = World(admits_unsigned=False)
    with pytest.raises(Forbidden):
        world.registry.admit_published(published(world.uuid))
    assert world.table.operations == []


def test_the_directory_is_written_once_an_hour(world):
    def writes() -> int:
        return world.table.operations.count("put_item")

    world.register()
    before = writes()
    world.register()
    assert writes() == before + 1
    world.now += 3601
    world.register()
    assert writes() == before + 3
    world.another_root()
    world.register()
    assert writes() == before + 5


def test_a_cloudlet_without_location_moves_when_it_learns_it(world):
    token = world.register(location=None, local_networks=(ip_network("192.0.2.0/24"),))
    assert world.row().key == row_key(world.uuid, None)
    world.keepalives.keepalive(world.uuid, token, Keepalive(1))
    world.keepalives.keepalive(world.uuid, token, Keepalive(2, None, HERE))
    assert world.row().key == row_key(world.uuid, HERE)


def test_pages_show_living_cloudlets_only(world):
    for number in range(30):
        world.uuid = uuid4()
        world.register(location=Location(number, number))
    world.now += 100
    uuids = set()
    for number in range(5):
        world.uuid = uuid4()
        uuids.add(world.uuid)
        world.register(location=Location(-number, number))
    seen, after = [], None
    for _ in range(20):
        rows, after = world.registry.page(2, after)
        seen += [row.uuid for row in rows]
        if after is None:
            break
    assert sorted(seen) == sorted(uuids)


def test_a_row_larger_than_a_write_unit_is_refused(world):
    networks = tuple(ip_network(f"2001:db8::{n:x}/128") for n in range(16))
    with pytest.raises(InvalidRequest, match="bytes"):
        world.register(local_networks=networks, accepted_clients=networks, rejected_clients=networks)
    assert world.table.find(world.uuid) == []
    world.register(local_networks=networks, name="n" * 100)
    with pytest.raises(InvalidRequest, match="bytes"):
        world.register(local_networks=networks, name="é" * 128, accepted_clients=networks)


networks = st.one_of(
    st.ip_addresses(v=4).flatmap(
        lambda a: st.integers(0, 32).map(lambda p: ip_network((a, p), strict=False))
    ),
    st.ip_addresses(v=6).flatmap(
        lambda a: st.integers(0, 128).map(lambda p: ip_network((a, p), strict=False))
    ),
)


@given(st.lists(networks, max_size=16).map(tuple))
def test_networks_are_packed_without_loss(many):
    assert unpack_networks(pack_networks(many)) == many


def test_the_size_counts_names_as_they_are_stored():
    row = Cloudlet(RowKey("c", "p"), UUID(int=1), "http://x", 1, 0, 0, 0, name="é" * 128)
    check_size(row)


class BusyTable(FakeTable):
    """A table where somebody else is faster, `times` times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def _lost(self) -> bool:
        self.times -= 1
        return self.times >= 0

    def put(self, cloudlet: Cloudlet) -> bool:
        return not self._lost() and super().put(cloudlet)

    def renew(self, *arguments, **fields) -> Renewed | None:
        return None if self._lost() else super().renew(*arguments, **fields)


@pytest.mark.parametrize(("times", "registered"), [(1, True), (2, True), (3, False)])
def test_a_registration_that_lost_a_race_looks_again(times, registered):
    world = World()
    world.table = BusyTable(times)
    world.another_root()
    if registered:
        world.register()
        assert world.row().incarnation == 1
    else:
        with pytest.raises(Unavailable):
            world.register()


def test_a_keepalive_that_lost_a_race_may_come_again():
    world = World()
    world.table = BusyTable(0)
    world.another_root()
    token = world.register()
    world.table.times = 1
    with pytest.raises(Unavailable):
        world.keepalives.keepalive(world.uuid, token, Keepalive(1))
    world.keepalives.keepalive(world.uuid, token, Keepalive(1))
    world.table.times = 1
    with pytest.raises(Stale):
        world.keepalives.keepalive(world.uuid, token, Keepalive(2, None, THERE))
