"""The table of what devices measured: one suite for the fake and for real engines over HTTP."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from chalicelib.choosing.measurements import Tally
from chalicelib.errors import Unavailable
from chalicelib.tables.measurement_table import MOST_REPORTS, MOST_TALLIES, DynamoMeasurementTable

from tests.fakes.cloud_measurements import FakeMeasurementTable
from tests.lab import engines

ONE, OTHER = UUID(int=1), UUID(int=2)
HOUR = 498_756


@pytest.fixture(scope="module")
def place(engine):
    """`table`, and `metered`, which lists (operation, capacity units); None where nothing is metered."""
    if engine is None:
        return SimpleNamespace(table=FakeMeasurementTable(), metered=None)
    metered: list[tuple[str, float]] = []
    table = DynamoMeasurementTable(
        "measurements", region="us-east-1", url=engine, meter=lambda *what: metered.append(what)
    )
    table.create(threading.Event().wait)
    return SimpleNamespace(table=table, metered=metered)


@pytest.fixture
def network() -> str:
    return f"network-{uuid4()}"


def test_reports_are_counted_by_class_hour_and_cloudlet(place, network):
    table = place.table
    for rtt, throughput in ((3, 9), (3, None), (17, 9)):
        table.add(network, HOUR, ONE, rtt, throughput)
    table.add(network, HOUR, OTHER, 0, None)
    table.add(network, HOUR + 1, ONE, 33, 33)
    table.add(f"{network}0", HOUR, ONE, 3, None)
    assert table.read(network, HOUR) == [
        Tally(ONE, {33: 1}, {33: 1}),
        Tally(OTHER, {0: 1}, {}),
        Tally(ONE, {3: 2, 17: 1}, {9: 2}),
    ]


def test_hours_before_are_left_out(place, network):
    for hour in (HOUR - 2, HOUR - 1, HOUR):
        place.table.add(network, hour, ONE, HOUR - hour, None)
    assert [tally.rtt for tally in place.table.read(network, HOUR - 1)] == [{0: 1}, {1: 1}]
    assert place.table.read(network, HOUR + 1) == []
    assert place.table.read("nobody", 0) == []


def test_concurrent_reports_are_all_counted(place, network):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: place.table.add(network, HOUR, ONE, number % 2, 5), range(80)))
    assert place.table.read(network, HOUR) == [Tally(ONE, {0: 40, 1: 40}, {5: 80})]


def test_only_the_latest_are_read_of_a_network_that_reports_on_a_crowd(place, network):
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda number: place.table.add(network, HOUR + number % 2, UUID(int=number), 1, None),
                range(MOST_TALLIES + 40),
            )
        )
    found = place.table.read(network, HOUR)
    assert len(found) == MOST_TALLIES
    assert all(tally.cloudlet.int % 2 == 1 for tally in found[: MOST_TALLIES // 2])


def test_enough_is_enough(place, network):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: place.table.add(network, HOUR, ONE, 1, None), range(MOST_REPORTS + 5)))
    assert place.table.read(network, HOUR) == [Tally(ONE, {1: MOST_REPORTS}, {})]


def test_a_report_costs_one_write_unit_and_a_read_half_a_unit(place, network):
    if place.metered is None:  # memory costs nothing
        return
    place.metered.clear()
    for number in range(12):
        place.table.add(network, HOUR, UUID(int=number), number, number)
    place.table.read(network, HOUR)
    assert place.metered[:-1] == [("update_item", 1)] * 12
    operation, units = place.metered[-1]
    assert operation == "query"
    assert units <= 0.5  # one of the engines rounds down


@pytest.mark.live
def test_an_engine_that_is_away_is_unavailable(monkeypatch):
    for name, value in engines.CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    url = f"http://127.0.0.1:{engines.free_port()}"
    table = DynamoMeasurementTable("nothing", region="us-east-1", url=url)
    for call in (lambda: table.add("n", HOUR, ONE, 1, None), lambda: table.read("n", HOUR)):
        with pytest.raises(Unavailable):
            call()
