"""The emulated path itself: what it is told to be, it is."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.lab.machine import Machine, poll
from tests.lab.needs import needs
from tests.lab.slow_path import Path, Quality

live = needs("root", "tun", "ip", "nsenter", "setpriv", "catatonit", "ping")
HERE, THERE = "198.51.100.1", "198.51.100.2"


@pytest.fixture
def path() -> Iterator[tuple[Machine, Path]]:
    with Machine("one") as one, Machine("other") as other, Path(one, other, (HERE, THERE), "far") as made:
        yield one, made


def least_ms(machine: Machine, count: int = 10) -> float | None:
    done = machine.run("ping", "-q", "-n", "-c", str(count), "-i", "0.05", "-W", "2", THERE, check=False)
    found = re.search(r"= ([0-9.]+)/", done.stdout)
    return float(found[1]) if found else None


@live
def test_it_delays_both_ways_and_can_be_changed_while_it_is_used(path: tuple[Machine, Path]) -> None:
    machine, between = path
    assert (least_ms(machine) or 999) < 20
    between.be(Quality(delay_ms=50))
    assert poll(lambda: 99 <= (least_ms(machine) or 0) < 120, 30)
    between.be(Quality(delay_ms=10, jitter_ms=1))
    assert poll(lambda: 15 < (least_ms(machine) or 0) < 40, 30)


@live
def test_it_loses_what_it_shall(path: tuple[Machine, Path]) -> None:
    machine, between = path
    assert least_ms(machine, 2) is not None
    between.be(Quality(loss=1.0))
    assert poll(lambda: least_ms(machine, 2) is None, 20)
    between.be(Quality())
    assert poll(lambda: least_ms(machine, 2) is not None, 20)


@live
def test_a_rate_makes_long_packets_slow(path: tuple[Machine, Path]) -> None:
    machine, between = path
    between.be(Quality(mbps=0.4))
    command = ("ping", "-q", "-n", "-c", "3", "-s", "1400", "-i", "0.3", "-W", "5", THERE)
    done = machine.run(*command, check=False)
    found = re.search(r"= ([0-9.]+)/", done.stdout)
    assert found is not None, done.stdout
    assert 50 < float(found[1]) < 300  # 1442 bytes there and back take 58 ms
