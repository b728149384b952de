"""The order of what was measured, and what is kept of it for the next time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from device_sdk.choosing.memory import REMEMBERED_SECONDS, Memory
from device_sdk.choosing.probes import RoundTrips
from device_sdk.choosing.ranking import near_best, ranked
from device_sdk.choosing.result import Measured
from device_sdk.choosing.whereabouts import network_here
from tests.fakes.device_sdk_ways import target

ONE, TWO, THREE = (target(name, number) for number, name in enumerate(("one", "two", "three"), 1))
APP = UUID(int=7)


def places(measured: list[Measured], weigh: float = 0.0) -> list[str]:
    return [one.target.place for one in ranked(measured, weigh)]


def at(which, rtt_ms: float, jitter_ms: float = 0.0, mbps: float | None = None, before: float | None = None):
    return Measured(which, "probe", rtt_ms, jitter_ms, mbps, remembered_ms=before)


def test_the_nearest_is_the_best() -> None:
    assert places([at(ONE, 30), at(TWO, 10), at(THREE, 20)]) == ["two", "three", "one"]


def test_what_nobody_feels_decides_nothing() -> None:
    assert places([at(ONE, 10.9), at(TWO, 10.0)]) == ["one", "two"]
    assert places([at(ONE, 11.2), at(TWO, 10.0)]) == ["two", "one"]
    assert places([at(ONE, 109), at(TWO, 100)]) == ["one", "two"]
    assert [one.target.place for one in near_best([at(ONE, 109), at(TWO, 100), at(THREE, 120)])] == [
        "one",
        "two",
    ]
    assert near_best([Measured(ONE, error="gone")]) == []


def test_between_equals_throughput_then_last_time_then_the_roots_order_decides() -> None:
    assert places([at(ONE, 10, mbps=10), at(TWO, 10, mbps=100), at(THREE, 10)]) == ["two", "one", "three"]
    assert places([at(ONE, 10, mbps=90), at(TWO, 10, mbps=100)]) == ["one", "two"]
    assert places([at(ONE, 10, before=30), at(TWO, 10, before=20), at(THREE, 10)]) == ["two", "one", "three"]
    assert places([at(THREE, 10), at(ONE, 10), at(TWO, 10)]) == ["three", "one", "two"]


def test_jitter_counts_as_far_as_the_device_does_not_explain_it() -> None:
    assert places([at(ONE, 10, jitter_ms=60), at(TWO, 20)]) == ["two", "one"]
    assert places([at(ONE, 10, jitter_ms=1.9), at(TWO, 11.5)]) == ["one", "two"]


def test_what_an_operation_moves_can_be_weighed() -> None:
    near, far = at(ONE, 10, mbps=8), at(TWO, 40, mbps=80)
    assert places([near, far]) == ["one", "two"]
    assert places([near, far], weigh=0.01) == ["one", "two"]  # 10 ms against 1 ms
    assert places([near, far], weigh=0.1) == ["two", "one"]  # 100 ms against 10 ms
    # What could not be measured counts as the slowest that could.
    assert places([at(THREE, 10), near, far], weigh=0.1) == ["two", "three", "one"]
    assert places([at(ONE, 10), at(TWO, 20)], weigh=1.0) == ["one", "two"]


def test_what_was_not_measured_comes_after_and_what_failed_last() -> None:
    greeted = replace(Measured(ONE, "handshake", error="no answer"), remembered_ms=20.0)
    assert places([Measured(TWO, error="gone"), greeted, at(THREE, 200)]) == ["three", "one", "two"]
    other = Measured(TWO, "handshake", remembered_ms=10.0)
    assert places([greeted, other]) == ["two", "one"]


def test_the_apps_own_costs_are_taken_as_they_are() -> None:
    costs = [
        Measured(ONE, "custom", cost=2.0),
        Measured(TWO, "custom", cost=1.99),
        Measured(THREE, error="x"),
    ]
    assert places(costs) == ["two", "one", "three"]


def test_round_trips_are_summed_up_so_that_queues_do_not_count() -> None:
    trips = RoundTrips.of([0.012, 0.010, 0.300, 0.011, 0.013])
    assert (trips.least_ms, trips.jitter_ms) == (pytest.approx(10), pytest.approx(2))


def memory(folder: Path, now: float = 1e9, network: str = "home") -> Memory:
    return Memory(folder, APP, network, lambda: now)


def test_what_was_measured_is_there_the_next_time_in_that_network_for_a_week(tmp_path: Path) -> None:
    memory(tmp_path).keep([at(ONE, 10, mbps=50), at(TWO, 20), Measured(THREE, error="gone")])
    found = memory(tmp_path, 1e9 + 60).recall()
    assert {uuid.int: (one.rtt_ms, one.throughput_mbps) for uuid, one in found.items()} == {
        1: (10, 50),
        2: (20, None),
    }
    assert memory(tmp_path, network="elsewhere").recall() == {}
    assert memory(tmp_path, 1e9 + REMEMBERED_SECONDS + 1).recall() == {}
    assert memory(tmp_path, 1e9 - 60).recall() == {}  # the clock was wrong
    memory(tmp_path).keep([at(ONE, 12)])
    assert {uuid.int: one.rtt_ms for uuid, one in memory(tmp_path).recall().items()} == {1: 12, 2: 20}


def test_only_the_owner_can_read_it_and_it_does_not_grow(tmp_path: Path) -> None:
    for number in range(300):
        memory(tmp_path, 1e9 + number, f"network {number}").keep([at(ONE, 10)])
    (file,) = (tmp_path / "measured").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    kept = json.loads(file.read_text())
    assert len(kept) == 256
    assert kept[0]["network"] == "network 299"


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[1]", '[{"cloudlet": "x"}]', '[{"rtt_ms": NaN}]', "[" * 100_000, '"\\ud800"', "\x00\xff"],
)
def test_a_damaged_file_is_as_none(tmp_path: Path, content: str) -> None:
    memory(tmp_path).keep([at(ONE, 10)])
    (file,) = (tmp_path / "measured").iterdir()
    file.write_bytes(content.encode("latin-1"))
    assert memory(tmp_path).recall() == {}
    memory(tmp_path).keep([at(TWO, 10)])
    assert len(memory(tmp_path).recall()) == 1


def test_what_can_not_be_kept_is_not(tmp_path: Path) -> None:
    (tmp_path / "measured").write_text("in the way")
    memory(tmp_path).keep([at(ONE, 10)])
    assert memory(tmp_path).recall() == {}


ROUTES = """Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
wlan0 00000000 0101A8C0 0003 0 0 600 00000000 0 0 0
eth0 00000000 01FEA8C0 0003 0 0 100 00000000 0 0 0
eth0 00FEA8C0 00000000 0001 0 0 100 00FFFFFF 0 0 0
"""
NEIGHBOURS = """IP address HW type Flags HW address Mask Device
192.168.254.1 0x1 0x2 02:00:00:00:00:01 * eth0
192.168.1.1 0x1 0x2 02:00:00:00:00:02 * wlan0
"""


def test_networks_are_told_apart_by_their_routers(tmp_path: Path) -> None:
    def here(routes: str = ROUTES, neighbours: str = NEIGHBOURS) -> str:
        (tmp_path / "route").write_text(routes)
        (tmp_path / "arp").write_text(neighbours)
        return network_here(tmp_path)

    home = here()
    assert len(home) == 16
    assert here() == home
    assert here(neighbours=NEIGHBOURS.replace("00:01", "00:03")) != home
    assert here(neighbours=NEIGHBOURS.replace("00:02", "00:03")) == home  # not the way out
    assert here(routes="".join(ROUTES.splitlines(keepends=True)[:2])) != home
    assert here(neighbours="") not in (home, "none")
    assert here(routes="head\n") == "none"
    assert network_here(tmp_path / "missing") == "none"
