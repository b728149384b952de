"""How intervals follow the size of the fleet and DynamoDB's refusals."""

import threading

import pytest
from chalicelib.errors import Unavailable
from chalicelib.fleet.pressure import Pressure
from hypothesis import given
from hypothesis import strategies as st


class Fleet:
    """A fleet of a size, its pressure, and the time. `looks`: how often it was counted."""

    def __init__(self, size: int = 0, per_s: float = 20_000) -> None:
        self.size = size
        self.now = 100.0
        self.looks = 0
        self.away = False
        self.pressure = Pressure(
            self.count, keepalives_per_s=per_s, most_seconds=300, monotonic=lambda: self.now
        )

    def count(self) -> int:
        self.looks += 1
        if self.away:
            raise Unavailable("away")
        return self.size

    def after(self, seconds: float, agreed: float = 15) -> float:
        self.now += seconds
        return self.pressure.interval_seconds(agreed)


@pytest.mark.parametrize(
    ("size", "agreed", "interval"),
    [(0, 15, 15), (300_000, 15, 15), (1_000_000, 15, 50), (1_000_000, 60, 60), (10**8, 15, 300)],
)
def test_all_keepalives_together_stay_below_the_rate(size, agreed, interval):
    fleet = Fleet(size)
    assert fleet.after(61, agreed) == interval


def test_the_fleet_is_counted_hourly_and_not_in_the_way_of_the_first_answers():
    fleet = Fleet(1_000_000)
    assert fleet.after(0) == 15
    assert fleet.looks == 0
    assert [fleet.after(61), fleet.after(1), fleet.after(3000)] == [50, 50, 50]
    assert fleet.looks == 1
    fleet.size = 2_000_000
    assert fleet.after(700) == 100
    assert fleet.looks == 2


def test_a_fleet_that_can_t_be_counted_is_as_large_as_before():
    fleet = Fleet(1_000_000)
    fleet.after(61)
    fleet.away = True
    assert fleet.after(3601) == 50
    assert fleet.looks == 2
    assert fleet.after(10) == 50
    assert fleet.looks == 2


def test_refusals_double_the_interval_which_comes_back_by_itself():
    fleet = Fleet()
    fleet.pressure.throttled()
    assert fleet.after(0) == 30
    assert fleet.after(60) == 15
    fleet.pressure.throttled()
    fleet.now += 5
    fleet.pressure.throttled()
    assert 50 < fleet.after(0) < 60
    assert fleet.after(600) == 15


def test_a_crowd_of_refusals_counts_once():
    fleet = Fleet()
    for _ in range(1000):
        fleet.pressure.throttled()
    assert fleet.after(0) == 30


def test_refusals_lengthen_only_so_far():
    fleet = Fleet()
    for _ in range(100):
        fleet.now += 5
        fleet.pressure.throttled()
    assert fleet.after(0, 5) == 80
    assert fleet.after(0, 60) == 300
    assert fleet.after(0, 400) == 400


@given(st.integers(0, 10**9), st.floats(1, 3600), st.floats(0.001, 1e6))
def test_no_interval_is_shorter_than_agreed(size, agreed, per_s):
    fleet = Fleet(size, per_s)
    assert agreed <= fleet.after(61, agreed) <= max(agreed, 300)


def test_while_one_counts_the_others_go_on():
    counting, done = threading.Event(), threading.Event()

    def count() -> int:
        counting.set()
        assert done.wait(5)
        return 10**6

    now = [0.0]
    pressure = Pressure(count, keepalives_per_s=20_000, most_seconds=300, monotonic=lambda: now[0])
    now[0] = 61.0
    first = threading.Thread(target=pressure.interval_seconds, args=(15.0,))
    first.start()
    assert counting.wait(5)
    assert pressure.interval_seconds(15.0) == 15
    done.set()
    first.join(5)
    assert pressure.interval_seconds(15.0) == 50
