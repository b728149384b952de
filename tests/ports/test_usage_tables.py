"""The usage ledger and the counters of limits: one suite for the fakes and for real engines over HTTP."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from chalicelib.accounts.usage import BEGAN, USED, Partition, Usage
from chalicelib.errors import Unavailable
from chalicelib.tables.limit_table import DynamoLimitTable
from chalicelib.tables.usage_table import DynamoUsageTable

from tests.fakes.cloud_limits import FakeLimitTable, FakeUsageTable

APP, CLOUDLET = UUID(int=7), UUID("5f1c9a1e-7f35-4a39-9d52-3f1f8f0e6a11")
NOON = 1_795_521_600
EXPIRES = NOON + 120


@pytest.fixture(scope="module")
def tables(engine):
    """`usage` and `limits`, and `metered`, which lists (operation, capacity units)."""
    if engine is None:
        return SimpleNamespace(usage=FakeUsageTable(), limits=FakeLimitTable(), metered=None)
    metered: list[tuple[str, float]] = []
    place = {"region": "us-east-1", "url": engine, "meter": lambda *what: metered.append(what)}
    usage, limits = DynamoUsageTable("usage", **place), DynamoLimitTable("limits", **place)
    for table in (usage, limits):
        table.create(threading.Event().wait)
    return SimpleNamespace(usage=usage, limits=limits, metered=metered)


def used(**changed) -> Usage:
    entry = Usage(USED, "acme", APP, CLOUDLET, "hello-0123456789", NOON, NOON + 600, 2**53 - 1, 0)
    return replace(entry, **changed)


def read(table, entry: Usage, after: str = "", limit: int = 100) -> list[Usage]:
    return table.read(Partition(entry.tenant, entry.day, entry.shard), after, limit)


def tenant() -> str:
    return f"t-{uuid4()}"


def test_entries_come_back_as_they_were_added(tables):
    for entry in (
        used(tenant=tenant()),
        used(tenant=tenant(), event=BEGAN, until=NOON, bytes_in=0, device="0123456789abcdef"),
        used(tenant="", cloudlet=uuid4()),
    ):
        assert tables.usage.add(entry)
        assert entry in read(tables.usage, entry)


def test_told_again_changes_nothing(tables):
    entry = used(tenant=tenant())
    assert tables.usage.add(entry)
    assert not tables.usage.add(replace(entry, bytes_in=1, until=NOON + 900))
    assert read(tables.usage, entry) == [entry]


def test_one_of_many_that_tell_it_at_once_is_kept(tables):
    entries = [used(tenant="acme-at-once", bytes_in=number) for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(tables.usage.add, entries))
    assert added.count(True) == 1
    assert read(tables.usage, entries[0]) == [entries[added.index(True)]]


def test_pages_go_on_behind_an_entry(tables):
    name = tenant()
    entries = [used(tenant=name, since=NOON + second) for second in (0, 9, 10, 100)]
    for entry in reversed(entries):
        tables.usage.add(entry)
    assert read(tables.usage, entries[0], limit=3) == entries[:3]
    assert read(tables.usage, entries[0], entries[1].order) == entries[2:]
    assert read(tables.usage, entries[0], entries[3].order) == []


def test_days_tenants_and_shards_are_apart(tables):
    name = tenant()
    entry = used(tenant=name)
    tables.usage.add(entry)
    for other in (
        Partition(name, date(2026, 11, 25), entry.shard),
        Partition("other", entry.day, entry.shard),
        Partition(name, entry.day, (entry.shard + 1) % 8),
    ):
        assert tables.usage.read(other, "", 10) == []


def test_blocks_are_taken_until_the_limit(tables):
    name = tenant()
    assert [tables.limits.reserve(name, 1, 4, 10, EXPIRES) for _ in range(4)] == [4, 4, 2, 0]
    assert tables.limits.reserve(name, 2, 4, 10, EXPIRES) == 4
    assert tables.limits.reserve(f"{name}x", 1, 4, 10, EXPIRES) == 4
    assert tables.limits.reserve(tenant(), 1, 4, 3, EXPIRES) == 3


def test_a_limit_can_be_lowered_and_raised_within_a_window(tables):
    name = tenant()
    assert tables.limits.reserve(name, 1, 6, 10, EXPIRES) == 6
    assert tables.limits.reserve(name, 1, 6, 5, EXPIRES) == 0
    assert tables.limits.reserve(name, 1, 6, 20, EXPIRES) == 6


def test_together_nobody_takes_more_than_there_is(tables):
    name = tenant()
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: tables.limits.reserve(name, 1, 7, 100, EXPIRES), range(32)))
    assert sum(taken) == 100


def test_each_costs_one_write_unit(tables, request):
    metered = tables.metered or []
    metered.clear()
    assert tables.limits.reserve(tenant(), 1, 1, 10, EXPIRES) == 1
    assert tables.usage.add(used(tenant=tenant(), deployment="x" * 128))
    if tables.metered is not None:  # the fake counts nothing, roto counts roughly
        assert [operation for operation, _ in metered] == ["update_item", "put_item"]
    if "dynalite" in request.node.name:
        assert [units for _, units in metered] == [1.0, 1.0]


CALLS = {
    "add": lambda usage, _: usage.add(used()),
    "read": lambda usage, _: read(usage, used()),
    "reserve": lambda _, limits: limits.reserve("x", 1, 1, 1, EXPIRES),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_being_away_is_unavailable(tables, call):
    if isinstance(tables.usage, FakeUsageTable):
        usage, limits = FakeUsageTable(), FakeLimitTable()
        usage.away = limits.away = True
    else:
        nowhere = {"region": "us-east-1", "url": "http://127.0.0.1:1"}
        usage, limits = DynamoUsageTable("u", **nowhere), DynamoLimitTable("l", **nowhere)
    with pytest.raises(Unavailable):
        call(usage, limits)
