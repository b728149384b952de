"""What devices measured: who is believed, for how long, and what liars can do."""

import random
from ipaddress import ip_address
from uuid import UUID

import pytest
from chalicelib.choosing.measurements import (
    DAY_HOURS,
    HOUR,
    Measurement,
    Measurements,
    class_of,
    parse_measurements,
)
from chalicelib.errors import InvalidRequest, Unavailable
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.cloud_measurements import FakeMeasurementTable

CLOUDLET, OTHER = UUID(int=1), UUID(int=2)
HERE, NEIGHBOUR, ELSEWHERE = (
    ip_address(f"198.51.{third}.{last}") for third, last in ((100, 7), (100, 8), (7, 7))
)


class World:
    """A root's measurements, and its clocks (in step)."""

    def __init__(self, **more):
        self.now = 1_795_521_600.0
        self.table = FakeMeasurementTable()
        self.measurements = Measurements(self.table, lambda: self.now, lambda: self.now, **more)

    def report(self, address, *rtts, cloudlet=CLOUDLET, mbps=None):
        """One report a minute."""
        for rtt_ms in rtts:
            self.measurements.note(address, [Measurement(cloudlet, rtt_ms, mbps)])
            self.now += 61

    def near(self, address=HERE):
        return self.measurements.near(address)


@pytest.fixture
def world():
    return World()


def test_three_reports_are_believed_and_fewer_are_not(world):
    world.report(HERE, 20, 20)
    assert world.near() == {}
    world.report(HERE, 20)
    assert world.near()[CLOUDLET].rtt_ms == pytest.approx(20, rel=0.2)
    assert world.near()[CLOUDLET].throughput_mbps is None


def test_a_network_shares_what_its_devices_measured_and_no_other_hears_of_it(world):
    world.report(HERE, 20, 20, mbps=90.0)
    world.report(NEIGHBOUR, 21, mbps=90.0)
    assert world.near(NEIGHBOUR)[CLOUDLET].throughput_mbps == pytest.approx(90, rel=0.2)
    assert world.near(ELSEWHERE) == {}
    v6 = ip_address("2001:db8:1:2::3")
    world.report(v6, 5, 5, 5)
    assert world.near(ip_address("2001:db8:1:ffff::1")).keys() == {CLOUDLET}
    assert world.near(ip_address("2001:db8:2::1")) == {}


def test_an_address_counts_once_a_minute_for_each_cloudlet(world):
    reports = [Measurement(CLOUDLET, 1), Measurement(CLOUDLET, 1), Measurement(OTHER, 1)]
    assert world.measurements.note(HERE, reports) == 2
    assert world.measurements.note(HERE, reports) == 0
    assert world.measurements.note(NEIGHBOUR, reports) == 2
    world.now += 61
    assert world.measurements.note(HERE, reports) == 2
    assert world.table.writes == 6


@pytest.mark.parametrize("lie", [0, 60000])
def test_who_lies_has_to_outnumber_the_others(world, lie):
    for minute in range(20):
        world.report(HERE, 20)
        if minute % 3 == 0:
            world.report(NEIGHBOUR, lie)
    assert world.near()[CLOUDLET].rtt_ms == pytest.approx(20, rel=0.2)


def test_what_is_older_than_a_day_is_forgotten(world):
    world.report(HERE, 20, 20, 20)
    world.now += (DAY_HOURS - 1) * HOUR
    assert CLOUDLET in world.near()
    world.now += 2 * HOUR
    assert world.near() == {}


def test_the_hours_of_a_day_are_summed_up(world):
    for _ in range(5):
        world.report(HERE, 40)
        world.now += HOUR
    assert world.near()[CLOUDLET].rtt_ms == pytest.approx(40, rel=0.2)


def test_one_query_serves_a_network_for_half_a_minute(world):
    for address in (HERE, NEIGHBOUR, HERE):
        world.near(address)
    assert world.table.reads == 1
    world.now += 31
    world.near()
    assert world.table.reads == 2


def test_without_its_table_nothing_is_known_and_nobody_waits_for_it_again_at_once(world):
    world.table.away = True
    assert world.near() == {}
    assert world.near() == {}
    assert world.table.reads == 1
    with pytest.raises(Unavailable):
        world.measurements.note(HERE, [Measurement(CLOUDLET, 1)])


def test_where_they_are_not_used_they_cost_nothing():
    world = World(used=False)
    world.report(HERE, 1, 1, 1)
    assert world.near() == {}
    assert world.table.reads == world.table.writes == 0


def test_memory_is_bounded_whoever_reports(world):
    reports = [Measurement(UUID(int=each), 1) for each in range(8)]
    for number in range(2200):
        world.near(ip_address(number << 8))
        world.measurements.note(ip_address(number), reports)
    assert len(world.measurements._near) <= 2048
    assert len(world.measurements._reported) <= 16384


@given(st.floats(0, 60000), st.floats(0, 60000))
def test_classes_are_in_order_and_cover_everything(one, other):
    low, high = sorted([one, other])
    assert 0 <= class_of(low) <= class_of(high) <= 33


@pytest.mark.parametrize("value", [0.7, 3.0, 11.4, 100.0, 977.0, 40000.0])
def test_what_comes_out_is_a_fifth_off_at_most(value):
    world = World()
    chance = random.Random(1)
    world.report(HERE, *(value * chance.uniform(0.999, 1.001) for _ in range(9)))
    assert world.near()[CLOUDLET].rtt_ms == pytest.approx(value, rel=0.2)


def test_the_body_of_a_report_is_read():
    body = [
        {"cloudlet": str(CLOUDLET), "rtt_ms": 3, "throughput_mbps": 9.5},
        {"cloudlet": str(OTHER), "rtt_ms": 0},
    ]
    assert parse_measurements(body) == (Measurement(CLOUDLET, 3, 9.5), Measurement(OTHER, 0))
    assert parse_measurements([]) == ()


@pytest.mark.parametrize(
    "body",
    [
        {},
        None,
        [7],
        [{"rtt_ms": 1}],
        [{"cloudlet": str(CLOUDLET)}],
        [{"cloudlet": "x", "rtt_ms": 1}],
        [{"cloudlet": str(CLOUDLET), "rtt_ms": -1}],
        [{"cloudlet": str(CLOUDLET), "rtt_ms": 60001}],
        [{"cloudlet": str(CLOUDLET), "rtt_ms": 1, "throughput_mbps": None}],
        [{"cloudlet": str(CLOUDLET), "rtt_ms": 1}] * 17,
    ],
)
def test_a_wrong_body_is_refused(body):
    with pytest.raises(InvalidRequest):
        parse_measurements(body)
