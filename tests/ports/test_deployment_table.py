"""The table of deployment records: one suite for the fake in memory and for real engines over HTTP."""

import os
import threading
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from chalicelib.deploying.records import Record
from chalicelib.errors import Unavailable
from chalicelib.tables.deployment_table import DynamoDeploymentTable

from tests.fakes.cloud_records import FakeRecordStore
from tests.lab import engines

NOW = 1_795_000_000.0
LIVING = int(NOW) + 60


@pytest.fixture(scope="module")
def make_table(engine):
    if engine is None:
        return FakeRecordStore

    def make(meter=None) -> DynamoDeploymentTable:
        table = DynamoDeploymentTable(f"records-{uuid4()}", region="us-east-1", url=engine, meter=meter)
        table.create(threading.Event().wait)
        return table

    return make


@pytest.fixture
def table(make_table):
    return make_table()


def record(**changed) -> Record:
    full = Record(
        app_uuid=UUID(int=5),
        application_key=bytes(range(32)),
        version=2**62 + 1,
        claimed=tuple(uuid4() for _ in range(6)),
        targets=tuple(uuid4() for _ in range(3)),
        expires_at=LIVING,
    )
    return replace(full, **changed)


def read(table, row: Record) -> Record | None:
    return table.read(row.app_uuid, row.application_key)


@pytest.mark.parametrize("changed", [{}, {"claimed": ()}, {"targets": ()}, {"claimed": (), "targets": ()}])
def test_a_record_comes_back_as_it_was_written(table, changed):
    row = record(application_key=os.urandom(32), **changed)
    assert table.write(row, 0, NOW)
    assert read(table, row) == row


def test_apps_and_keys_are_kept_apart(table):
    rows = [
        record(app_uuid=UUID(int=number), application_key=bytes([number % 2]) * 32, version=number + 1)
        for number in range(4)
    ]
    for row in rows:
        assert table.write(row, 0, NOW)
    assert [read(table, row) for row in rows] == rows
    assert table.read(UUID(int=9), b"\1" * 32) is None


def test_only_who_saw_the_last_version_changes_it(table):
    first = record(version=1)
    assert table.write(first, 0, NOW)
    assert not table.write(record(version=2), 0, NOW)
    assert not table.write(record(version=2), 7, NOW)
    second = record(version=2)
    assert table.write(second, 1, NOW)
    assert not table.write(record(version=3), 1, NOW)
    assert read(table, second) == second


def test_what_expired_and_is_not_deleted_yet_counts_as_nothing(table):
    assert table.write(record(version=1, expires_at=int(NOW)), 0, NOW - 60)
    newer = record(version=2)
    assert table.write(newer, 0, NOW)
    assert read(table, newer) == newer


def test_a_version_that_is_gone_can_not_be_followed(table):
    row = record(version=1)
    assert not table.write(row, 9, NOW)
    assert read(table, row) is None


def test_a_record_is_erased_by_who_saw_its_last_version(table):
    row = record(version=4)
    assert table.write(row, 0, NOW)
    assert not table.erase(replace(row, version=3))
    assert read(table, row) == row
    assert table.erase(row)
    assert read(table, row) is None
    assert table.erase(row)


def test_of_many_at_once_one_claims(table):
    for round_ in range(5):
        rows = [record(app_uuid=UUID(int=100 + round_), version=number) for number in range(1, 13)]
        meeting = threading.Barrier(len(rows), timeout=20)
        won: list[Record] = []

        def claim(row: Record, meeting=meeting, won=won) -> None:
            meeting.wait()
            if table.write(row, 0, NOW):
                won.append(row)

        threads = [threading.Thread(target=claim, args=(row,)) for row in rows]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(won) == 1
        assert read(table, won[0]) == won[0]


def test_every_call_costs_one_unit(make_table):
    if make_table is FakeRecordStore:
        return
    units: list[tuple[str, float]] = []
    table = make_table(meter=lambda operation, count: units.append((operation, count)))
    units.clear()
    table.write(record(version=1), 0, NOW)
    table.write(record(version=2), 1, NOW)
    read(table, record())
    table.erase(record(version=2))
    assert [operation for operation, _ in units] == ["put_item", "put_item", "get_item", "delete_item"]
    assert max(count for _, count in units) == 1  # one engine counts a consistent read as half


@pytest.mark.live
def test_an_engine_that_is_away_is_unavailable(monkeypatch):
    for name, value in engines.CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    table = DynamoDeploymentTable(
        "nothing", region="us-east-1", url=f"http://127.0.0.1:{engines.free_port()}"
    )
    for call in (
        lambda: read(table, record()),
        lambda: table.write(record(), 0, NOW),
        lambda: table.erase(record()),
    ):
        with pytest.raises(Unavailable):
            call()
