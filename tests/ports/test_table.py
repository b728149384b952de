"""CloudletTable: one suite for the fake in memory and for real engines over HTTP."""

import random
import threading
from dataclasses import replace
from functools import partial
from ipaddress import ip_address, ip_network
from uuid import UUID, uuid4

import pytest
from chalicelib.errors import InvalidRequest, Unavailable
from chalicelib.fields import Network
from chalicelib.fleet.cloudlets import (
    MAX_ROW_BYTES,
    NOWHERE,
    STALE_SECONDS,
    Cloudlet,
    Hardware,
    Renewed,
    RowKey,
    Trust,
    check_size,
    row_key,
)
from chalicelib.fleet.coverage import FIRST, LAST
from chalicelib.fleet.geo import Location
from chalicelib.fleet.neighbourhood import Neighbourhood
from chalicelib.fleet.pointers import Pointer, pointer_keys
from chalicelib.tables.cloudlet_rows import to_item
from chalicelib.tables.cloudlet_table import DynamoCloudletTable

from tests.fakes.cloud_table import FakeTable
from tests.lab import engines

PITTSBURGH = Location(40.44062, -79.99589)
NETWORKS: tuple[Network, ...] = (ip_network("192.0.2.0/24"), ip_network("2001:db8:1234::/48"))
RESOURCES = {
    "cpu_ratio": 0.2134,
    "mem_ratio": 0.4,
    "gpu_ratio": 17.25,
    "net_rx_rate": 1200.0,
    "net_tx_rate": 0.0,
}


@pytest.fixture(scope="module")
def make_table(engine):
    if engine is None:
        return FakeTable

    def make(meter=None) -> DynamoCloudletTable:
        table = DynamoCloudletTable(f"table-{uuid4()}", region="us-east-1", url=engine, meter=meter)
        table.create(threading.Event().wait)
        return table

    return make


@pytest.fixture
def table(make_table):
    return make_table()


def cloudlet(location=PITTSBURGH, networks=(), uuid: UUID | None = None, realm="", **changed) -> Cloudlet:
    uuid = uuid or uuid4()
    row = Cloudlet(
        key=row_key(uuid, location, realm),
        uuid=uuid,
        endpoint="http://192.0.2.7:7070/api/v1/deploy",
        incarnation=5,
        sequence=0,
        last_keepalive=1_795_000_000,
        expires_at=1_795_000_050,
        location=location,
        local_networks=networks,
    )
    return replace(row, **changed)


def renew(table, row: Cloudlet, sequence: int, **changed) -> bool:
    fields = {"now": 1_795_000_015, "expires_at": 1_795_000_065, "resources": None, "location": None}
    return table.renew(row.key, row.incarnation, sequence, **{**fields, **changed}) is not None


def everything(table, cell: str) -> list[Cloudlet]:
    return table.read(cell, FIRST, LAST, limit=1000).rows


def test_a_row_comes_back_as_it_was_written(table):
    row = cloudlet(
        networks=NETWORKS,
        name="pittsburgh-1 é",
        accepted_clients=(ip_network("0.0.0.0/0"), ip_network("::/0")),
        rejected_clients=(ip_network("203.0.113.128/25"), ip_network("2001:db8::1/128")),
        resources=RESOURCES,
        incarnation=2**53 - 1,
        sequence=2**53 - 1,
    )
    assert table.put(row)
    assert table.get(row.key) == row
    assert table.find(row.uuid) == [row]
    assert everything(table, row.key.cell) == [row]


def test_a_row_without_anything_optional_comes_back_too(table):
    row = cloudlet(location=None)
    assert table.put(row)
    assert table.get(row.key) == row
    assert row.key.cell.startswith(NOWHERE)


def test_what_is_not_there_is_not_found(table):
    row = cloudlet()
    assert table.get(row.key) is None
    assert table.find(row.uuid) == []
    assert everything(table, row.key.cell) == []
    assert table.page(10, None) == ([], None)
    assert table.occupied(0) == []
    assert not renew(table, row, 1)
    assert table.get(row.key) is None
    assert table.remove(row.key, 0)


@pytest.mark.parametrize(
    ("incarnation", "sequence", "written"),
    [(4, 99, False), (5, 6, False), (5, 7, True), (5, 8, True), (6, 0, True)],
)
def test_registration_never_goes_back(table, incarnation, sequence, written):
    row = cloudlet(sequence=7)
    table.put(row)
    other = replace(row, incarnation=incarnation, sequence=sequence, name="new")
    assert table.put(other) is written
    assert table.get(row.key) == (other if written else row)


def test_a_keepalive_renews_and_keeps_the_rest(table):
    row = cloudlet(name="a", networks=NETWORKS, resources=RESOURCES)
    table.put(row)
    assert renew(table, row, 1)
    renewed = replace(row, sequence=1, last_keepalive=1_795_000_015, expires_at=1_795_000_065)
    assert table.get(row.key) == renewed
    moved = Location(40.44063, -79.99588)
    assert renew(table, row, 2, resources={"cpu_ratio": 0.5}, location=moved)
    assert table.get(row.key) == replace(renewed, sequence=2, resources={"cpu_ratio": 0.5}, location=moved)


@pytest.mark.parametrize(("incarnation", "sequence"), [(5, 7), (5, 6), (4, 8), (6, 8)])
def test_a_late_or_repeated_keepalive_changes_nothing(table, incarnation, sequence):
    row = cloudlet(sequence=7, resources=RESOURCES)
    table.put(row)
    assert not renew(table, replace(row, incarnation=incarnation), sequence, resources={})
    assert table.get(row.key) == row


def test_a_keepalive_revives_a_row_that_is_stale_but_not_for_too_long(table):
    row = cloudlet()
    table.put(row)
    end = row.expires_at + STALE_SECONDS
    assert not renew(table, row, 1, now=end, expires_at=end + 50)
    assert table.get(row.key) == row
    assert renew(table, row, 1, now=end - 1, expires_at=end + 50)
    assert table.get(row.key).expires_at == end + 50


def test_a_keepalive_says_what_is_cached_and_whether_to_drain(table):
    row, apps = cloudlet(), (UUID(int=1), UUID(int=2))
    table.put(row)
    assert renew(table, row, 1, draining=True, cached=apps)
    assert (table.get(row.key).draining, table.get(row.key).cached) == (True, apps)
    assert renew(table, row, 2)
    assert (table.get(row.key).draining, table.get(row.key).cached) == (True, apps)
    assert renew(table, row, 3, draining=False, cached=())
    assert (table.get(row.key).draining, table.get(row.key).cached) == (False, ())


def test_a_flag_is_told_once(table):
    row = cloudlet()
    fields = {"now": 1_795_000_015, "expires_at": 1_795_000_065, "resources": None, "location": None}
    assert not table.flag(row.key)
    assert table.get(row.key) is None
    table.put(row)
    assert table.renew(row.key, 5, 1, **fields) == Renewed(commands_wait=False)
    assert table.flag(row.key)
    assert table.flag(row.key)
    assert table.renew(row.key, 5, 1, **fields) is None
    assert table.renew(row.key, 5, 2, **fields) == Renewed(commands_wait=True)
    assert table.renew(row.key, 5, 3, **fields) == Renewed(commands_wait=False)


def test_a_signed_registration_displaces_an_unsigned_one_however_new_it_is(table):
    squatter = cloudlet(incarnation=2**53 - 1, sequence=2**53 - 1)
    owner = replace(squatter, incarnation=5, sequence=0, trust=Trust.SIGNED)
    table.put(squatter)
    assert table.put(owner)
    assert table.get(owner.key) == owner
    assert not table.put(replace(owner, incarnation=4, trust=Trust.LISTED))
    assert not table.put_published(replace(squatter, published=True))
    assert table.get(owner.key) == owner


def test_a_row_of_which_little_is_known(table):
    row = cloudlet(endpoint="", price=0.0, callable=False)
    table.put(row)
    assert table.get(row.key) == row


def test_the_fleet_is_counted(table):
    table.put(cloudlet())
    assert table.count() >= 0


@pytest.mark.parametrize(("incarnation", "removed"), [(4, False), (5, True), (6, True)])
def test_goodbye_is_fenced_by_incarnation(table, incarnation, removed):
    row = cloudlet()
    table.put(row)
    assert table.remove(row.key, incarnation) is removed
    assert (table.get(row.key) is None) is removed


def test_a_published_keepalive_replaces_its_like_only(table):
    row = cloudlet(published=True, incarnation=0)
    assert table.put_published(row)
    newer = replace(row, sequence=3, resources=RESOURCES)
    assert table.put_published(newer)
    assert table.get(row.key) == newer
    registered = replace(row, published=False, incarnation=0)
    assert table.put(registered)
    assert not table.put_published(replace(newer, sequence=9))
    assert table.get(row.key) == registered


def test_both_rows_of_a_moving_cloudlet_are_found(table):
    row = cloudlet()
    moved = cloudlet(location=Location(-37.8136, 144.9631), uuid=row.uuid, sequence=1)
    table.put(row)
    table.put(moved)
    assert sorted(table.find(row.uuid), key=lambda each: each.sequence) == [row, moved]
    table.remove(row.key, row.incarnation)
    assert table.find(row.uuid) == [moved]


def test_a_partition_is_read_in_order_from_either_end(table):
    rows = sorted(
        (cloudlet(Location(40.44 + step / 100, -79.99)) for step in range(20)), key=lambda row: row.key.place
    )
    assert len({row.key.cell for row in rows}) == 1
    for row in rows:
        table.put(row)
    read = partial(table.read, rows[0].key.cell)
    assert read(FIRST, LAST, limit=100).rows == rows
    assert not read(FIRST, LAST, limit=100).more
    first = read(FIRST, LAST, limit=3)
    assert first.rows == rows[:3]
    assert first.more
    last = read(FIRST, LAST, limit=3, forward=False)
    assert last.rows == rows[-3:]
    assert last.more
    low, high = rows[5].key.place, rows[9].key.place
    assert read(low, high, limit=100).rows == rows[5:10]
    assert read(low, high, limit=2, forward=False).rows == rows[8:10]
    assert read(low + "!", high, limit=100).rows == rows[6:10]


def test_pages_show_every_row_once_and_no_directory(table):
    rows = [cloudlet(Location(latitude, 10)) for latitude in range(-60, 60, 5)]
    for row in rows:
        table.put(row)
        table.occupy(row.key.cell, 2_000_000_000)
    seen, after = [], None
    for _ in range(100):
        part, after = table.page(7, after)
        assert len(part) <= 7
        seen += part
        if after is None:
            break
    assert sorted(seen, key=lambda row: row.key) == sorted(rows, key=lambda row: row.key)


def test_the_directory_forgets_what_expired(table):
    table.occupy("822a87fffffffff", 100)
    table.occupy("820007fffffffff", 200)
    table.occupy("822a87fffffffff", 300)
    assert table.occupied(250) == ["822a87fffffffff"]
    assert sorted(table.occupied(150)) == ["820007fffffffff", "822a87fffffffff"]


def test_many_partitions_are_listed(table):
    cells = [f"{index:015x}" for index in range(300)]
    for cell in cells:
        table.occupy(cell, 2_000_000_000)
    assert sorted(table.occupied(0)) == cells


def test_each_realm_has_its_own_directory_and_pages(table):
    shared, own, other = cloudlet(), cloudlet(realm="acme"), cloudlet(realm="other")
    nowhere = cloudlet(None, realm="acme")
    for row in (shared, own, other, nowhere):
        table.put(row)
        table.occupy(row.key.cell, 2_000_000_000)
    assert table.occupied(0) == [shared.key.cell]
    assert sorted(table.occupied(0, "acme")) == sorted(
        row.key.cell.removeprefix("acme:") for row in (own, nowhere)
    )
    assert table.occupied(0, "nobody") == []
    for realm, rows in (("", [shared]), ("acme", [own, nowhere]), ("nobody", []), (None, None)):
        seen, after = [], None
        for _ in range(20):
            part, after = table.page(1, after, realm)
            seen += part
            if after is None:
                break
        expected = [shared, own, other, nowhere] if rows is None else rows
        assert sorted(seen, key=lambda row: row.key) == sorted(expected, key=lambda row: row.key)


def test_signposts_are_read_from_the_end_and_are_no_rows(table):
    row = cloudlet(networks=NETWORKS)
    table.put(row)
    keys = [RowKey("net4c000", f"1c00002{step}0/28#{row.uuid}") for step in range(5)]
    for key in keys:
        table.point(key, row.key, 2_000_000_000)
    found, more = table.pointers("net4c000", "1c0000210", "1c0000230~", limit=9)
    assert found == [Pointer(key.place, row.key) for key in keys[3:0:-1]]
    assert not more
    found, more = table.pointers("net4c000", FIRST, LAST, limit=2)
    assert found == [Pointer(key.place, row.key) for key in keys[:2:-1]]
    assert more
    assert table.find(row.uuid) == [row]
    assert table.page(50, None) == ([row], None)
    table.unpoint(keys[4])
    table.unpoint(keys[4])
    assert len(table.pointers("net4c000", FIRST, LAST, limit=9)[0]) == 4


def test_signposts_lead_to_the_cloudlets_of_the_devices_networks(table):
    near, far = cloudlet(networks=NETWORKS), cloudlet(None, NETWORKS)
    for row in (near, far):
        table.put(row)
        for key in pointer_keys(row, private=True):
            table.point(key, row.key, 2_000_000_000)
    everywhere = Neighbourhood(table, lambda: 1_795_000_000, random.Random(1), private=True)
    for address in ("192.0.2.9", "2001:db8:1234:5::9"):
        found = everywhere.around(None, ip_address(address), lambda _row: True, 12)
        assert {row.uuid for row in found.cloudlets} == {near.uuid, far.uuid}
    assert everywhere.around(None, ip_address("192.0.3.9"), lambda _row: True, 12).cloudlets == []


def test_a_search_finds_the_same_everywhere(table):
    chance = random.Random(4)
    rows = [
        cloudlet(Location(chance.gauss(40.4, spread), chance.gauss(-80, spread)), sequence=number)
        for number, spread in enumerate([0.01, 0.1, 1.0, 30.0] * 15)
    ]
    rows += [cloudlet(None), cloudlet(None, NETWORKS), replace(cloudlet(PITTSBURGH), expires_at=1)]
    memory = FakeTable()
    for each in (table, memory):
        for row in rows:
            each.put(row)
            each.occupy(row.key.cell, 2_000_000_000)
    for device in (PITTSBURGH, Location(0, -179.99), Location(90, 0), None):
        found = [
            Neighbourhood(each, lambda: 1_795_000_000, random.Random(1)).around(
                device, ip_address("192.0.2.9"), lambda row: row.sequence % 3 < 2, 12
            )
            for each in (table, memory)
        ]
        assert {row.uuid for row in found[0].cloudlets} == {row.uuid for row in found[1].cloudlets}
        assert found[0].queries == found[1].queries
        assert all(row.expires_at > 1_795_000_000 for row in found[0].cloudlets)


def test_concurrent_keepalives_lose_nothing(table):
    rows = [cloudlet() for _ in range(8)]
    shared = cloudlet()
    for row in [*rows, shared]:
        table.put(row)
    won: list[int] = []

    def keep_alive(row: Cloudlet, first: int) -> None:
        for sequence in range(1, 26):
            assert renew(table, row, sequence, resources={"cpu_ratio": sequence / 100})
            if renew(table, shared, first + 8 * sequence):
                won.append(first + 8 * sequence)

    run_all([partial(keep_alive, row, index) for index, row in enumerate(rows)])
    for row in rows:
        assert table.get(row.key).sequence == 25
        assert table.get(row.key).resources == {"cpu_ratio": 0.25}
    assert table.get(shared.key).sequence == max(won) == 7 + 8 * 25
    assert len(set(won)) == len(won)


def test_of_concurrent_keepalives_with_one_sequence_one_wins(table):
    row = cloudlet()
    table.put(row)
    for sequence in range(1, 11):
        won: list[bool] = []
        run_all([lambda sequence=sequence, won=won: won.append(renew(table, row, sequence))] * 8)
        assert sum(won) == 1


def test_of_concurrent_registrations_the_highest_stays(table):
    row = cloudlet()
    run_all([partial(table.put, replace(row, incarnation=number)) for number in range(1, 33)])
    assert table.get(row.key).incarnation == 32


def run_all(calls) -> None:
    """Run the calls in threads of their own; what one of them raises fails the test."""
    failed: list[BaseException] = []

    def run(call) -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - reported by the test's own thread
            failed.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed, failed


def test_the_largest_row_allowed_costs_one_write_unit(make_table):
    row = cloudlet(
        location=Location(-40.12345, -179.12345),
        name="n" * 128,
        incarnation=2**53 - 1,
        sequence=2**53 - 1,
        resources={**RESOURCES, "net_rx_rate": 1e15 - 1, "net_tx_rate": 1e15 - 1, "gpu_ratio": 99.99},
        trust=Trust.LISTED,
        price=123456.789,
        jurisdiction="US-PA",
        hardware=Hardware(cores=4096, memory_bytes=2**50, gpu="g" * 32),
        cached=(UUID(int=1), UUID(int=2)),
        draining=True,
        callable=False,
    )
    networks = []
    while True:
        fuller = replace(row, accepted_clients=(*networks, ip_network("2001:db8::/128")))
        try:
            check_size(fuller)
        except InvalidRequest:
            break
        networks.append(ip_network("2001:db8::/128"))
        row = fuller
    row = replace(row, name=row.name + "n" * 16)
    size = sum(
        len(name) + sum(_value_bytes(kind, value) for kind, value in typed.items())
        for name, typed in {
            **to_item(row),
            "cell": {"S": row.key.cell},
            "place": {"S": row.key.place},
        }.items()
    )
    assert MAX_ROW_BYTES - 100 < size <= MAX_ROW_BYTES + 16
    if make_table is FakeTable:
        return
    units: list[tuple[str, float]] = []
    table = make_table(meter=lambda operation, count: units.append((operation, count)))
    units.clear()
    table.put(replace(row, name="n" * 128, sequence=0))
    assert renew(table, row, 2**53 - 1, resources=row.resources, location=row.location)
    assert units == [("put_item", 1), ("update_item", 1)]


def _value_bytes(kind: str, value) -> int:
    """As DynamoDB counts them: a number takes half a byte a digit, and one or two more."""
    return len(value.replace(".", "").replace("-", "")) // 2 + 2 if kind == "N" else len(value)


@pytest.mark.live
def test_an_engine_that_is_away_is_unavailable(monkeypatch):
    for name, value in engines.CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    url = f"http://127.0.0.1:{engines.free_port()}"
    table = DynamoCloudletTable("nothing", region="us-east-1", url=url)
    row = cloudlet()
    for call in (
        partial(table.put, row),
        partial(renew, table, row, 1),
        partial(table.get, row.key),
        partial(table.find, row.uuid),
        partial(everything, table, row.key.cell),
        partial(table.occupied, 0),
    ):
        with pytest.raises(Unavailable):
            call()
