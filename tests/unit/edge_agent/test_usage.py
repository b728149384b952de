"""Usage: what is counted for which root, when it is cut, and what a long outage costs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.deployments.leases import Activity
from edge_agent.deployments.live import Live, Phase
from edge_agent.deployments.records import Order, Record
from edge_agent.roots.root_wire import Usage
from edge_agent.roots.usage import CUT_SECONDS, MOST_WAITING, UsageMeter
from tests.fakes.edge_agent_roots import ROOT

APP, KEY, OTHER_KEY = UUID(int=0), b"k" * 32, b"o" * 32
CREATED = datetime(2026, 11, 24, 12, tzinfo=UTC)
START = 1_000_000.0


def live(name: str = "web-1", key: bytes = KEY, root: str = ROOT, *, taken_over: bool = False) -> Live:
    block = IPv4Network("100.71.0.8/29")
    record = Record(name, APP, key, block, "web", "1", CREATED, {}, 1, Order(root))
    return Live(record, Phase.READY, 0.0, taken_over=taken_over)


class Made:
    def __init__(self) -> None:
        self.now = START
        self.meter = UsageMeter({ROOT: lambda: self.now})

    def note(self, *lives: Live, seconds: float = 5.0, **moved: tuple[int, int]) -> None:
        """So many bytes stand at the gateway, by key's first letter, so many seconds later."""
        activity = {letter.encode() * 32: Activity(1, *both) for letter, both in moved.items()}
        self.meter.note(lives, activity)
        self.now += seconds

    @property
    def told(self) -> list[Usage]:
        return list(self.meter.pending(ROOT))


def test_an_entry_is_cut_every_ten_minutes_and_at_the_end() -> None:
    made, one = Made(), live()
    made.note(one, k=(100, 10))
    made.note(one, k=(150, 30), seconds=CUT_SECONDS)
    made.note(one, k=(250, 50), seconds=7)
    assert made.told == [Usage("web-1", APP, 1_000_000, 1_000_605, 250, 50)]
    made.note(one, k=(260, 50), seconds=3)
    made.note()
    assert made.told[1:] == [Usage("web-1", APP, 1_000_605, 1_000_615, 10, 0)]
    made.note()
    assert len(made.told) == 2


def test_counters_that_start_anew_are_added() -> None:
    made, one = Made(), live()
    for counters in ((100, 10), (5, 1), (9, 1)):
        made.note(one, k=counters)
    made.note()
    assert [(entry.bytes_in, entry.bytes_out) for entry in made.told] == [(109, 11)]


def test_what_an_earlier_run_left_is_counted_from_here_on() -> None:
    made, one = Made(), live(taken_over=True)
    made.note(one, k=(1000, 1000))
    made.note(one, k=(1007, 1001))
    made.note()
    assert [(entry.bytes_in, entry.bytes_out) for entry in made.told] == [(7, 1)]


def test_deployments_of_devices_and_of_roots_that_left_are_nobodys() -> None:
    made = Made()
    made.note(live(root=""), live("x", OTHER_KEY, "https://gone.example"), k=(5, 5), o=(5, 5))
    made.note()
    assert made.told == []


def test_a_key_for_two_backends_is_counted_once() -> None:
    made, one = Made(), live()
    later = live("api-1")
    later.record = replace(later.record, created=CREATED + timedelta(seconds=1))
    made.note(later, one, k=(5, 7))
    made.note()
    assert made.told == [Usage("web-1", APP, 1_000_000, 1_000_005, 5, 7)]


def test_what_is_told_is_not_told_again_and_the_rest_waits() -> None:
    made = Made()
    many = [live(f"web-{number}", bytes([number]) * 32) for number in range(70)]
    made.meter.note(many, {one.key: Activity(1, 1, 1) for one in many})
    made.now += 5
    made.meter.cut_all()
    first = made.told
    assert len(first) == 64
    made.meter.done(ROOT, first)
    assert len(made.told) == 6
    made.meter.done(ROOT, first)
    assert len(made.told) == 6


def test_a_root_that_is_away_for_long_costs_the_oldest_entries(caplog) -> None:
    made, one = Made(), live()
    for count in range(MOST_WAITING + 3):
        made.note(one, k=(count, count), seconds=CUT_SECONDS)
    assert len(made.meter._waiting[ROOT]) == MOST_WAITING
    assert made.told[0].since > START
    assert "usage is lost" in caplog.text


def test_a_clock_of_the_root_that_goes_back_makes_no_entry_of_no_time() -> None:
    made, one = Made(), live()
    made.note(one, k=(5, 5), seconds=-3600)
    made.meter.cut_all()
    assert made.told == []
    made.now += 10
    made.meter.cut_all()
    assert [(entry.until - entry.since, entry.bytes_in) for entry in made.told] == [(10, 5)]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 900)), max_size=30))
def test_no_byte_is_lost_or_counted_twice(steps: list[tuple[int, int, int]]) -> None:
    made, one = Made(), live()
    received = sent = 0
    for more_in, more_out, seconds in steps:
        received, sent = received + more_in, sent + more_out
        made.note(one, k=(received, sent), seconds=seconds)
    made.now += 1
    made.note()
    entries = list(made.meter._waiting[ROOT])
    assert sum(entry.bytes_in for entry in entries) == received
    assert sum(entry.bytes_out for entry in entries) == sent
    edges = [edge for entry in entries for edge in (entry.since, entry.until)]
    assert edges == sorted(edges)
    assert all(entry.until > entry.since for entry in entries)
