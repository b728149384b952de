"""What is remembered of a deploy: claims, targets, renewal, and a table that is away."""

from itertools import count
from uuid import UUID

import pytest
from chalicelib.deploying.records import (
    CLAIM_SECONDS,
    MOST_CLAIMED,
    RECORD_SECONDS,
    RENEW_SECONDS,
    Record,
    Records,
)
from chalicelib.errors import Unavailable

from tests.fakes.cloud_records import FakeRecordStore

APP, KEY = UUID(int=7), b"k" * 32
A, B, C = (UUID(int=number) for number in (1, 2, 3))


class Clock:
    now = 1_795_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store():
    return FakeRecordStore()


@pytest.fixture
def records(store, clock):
    return Records(store, clock, count(1).__next__)


def test_nothing_is_known_at_first(records):
    assert records.find(APP, KEY) == Record(APP, KEY)


def test_the_second_to_claim_sees_the_first_claim(records):
    mine, late = records.find(APP, KEY), records.find(APP, KEY)
    first = records.claim(mine, [A, B])
    assert first is not None
    assert first.cloudlets == (A, B)
    assert records.claim(late, [C]) == first


def test_a_claim_is_bounded_and_dies_soon(records, clock):
    claim = records.claim(records.find(APP, KEY), [UUID(int=number) for number in range(40)])
    assert len(claim.claimed) == MOST_CLAIMED
    clock.now += CLAIM_SECONDS
    assert records.find(APP, KEY).version == 0
    assert records.claim(records.find(APP, KEY), [C]).claimed == (C,)


def test_where_it_runs_takes_the_place_of_the_claim(records):
    claim = records.claim(records.find(APP, KEY), [A, B])
    standing, ours = records.settle(claim, [B])
    assert ours
    assert (standing.claimed, standing.targets, standing.cloudlets) == ((), (B,), (B,))
    assert records.find(APP, KEY) == standing


def test_the_second_to_settle_learns_what_stands(records):
    claim = records.claim(records.find(APP, KEY), [A, B])
    first, _ = records.settle(claim, [A])
    assert records.settle(claim, [B]) == (first, False)


def test_a_quick_repetition_writes_nothing_and_a_slow_one_renews(records, store, clock):
    standing, _ = records.settle(records.find(APP, KEY), [A])
    store.operations.clear()
    clock.now += RENEW_SECONDS - 2
    assert records.settle(standing, [A]) == (standing, True)
    assert store.operations == []
    clock.now += 3
    renewed, ours = records.settle(standing, [A])
    assert ours
    assert renewed.expires_at == int(clock.now) + RECORD_SECONDS
    assert store.operations == ["put_item"]


def test_what_is_forgotten_is_gone_unless_it_changed(records):
    claim = records.claim(records.find(APP, KEY), [A])
    standing, _ = records.settle(claim, [A])
    assert not records.forget(claim)
    assert records.find(APP, KEY) == standing
    assert records.forget(standing)
    assert records.find(APP, KEY).version == 0


def test_a_settled_record_that_was_forgotten_meanwhile_is_made_anew(records):
    claim = records.claim(records.find(APP, KEY), [A])
    records.forget(claim)
    standing, ours = records.settle(claim, [A])
    assert not ours
    assert standing == Record(APP, KEY)
    assert records.settle(standing, [A])[1]


def test_a_table_that_is_away_is_no_error_but_for_who_forgets(records, store):
    record = records.find(APP, KEY)
    store.away = True
    assert records.find(APP, KEY) is None
    assert records.claim(record, [A]) is None
    assert records.settle(record, [A]) == (None, False)
    with pytest.raises(Unavailable):
        records.forget(record)
