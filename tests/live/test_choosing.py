"""Choosing through real tunnels, over paths that are as slow as the test says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from device_sdk import Trial, TunnelError, choose, custom
from device_sdk.choosing.means import Means
from device_sdk.tunnels.wireguard import WireGuardLink
from tests.fakes.device_sdk_cloudlet import PAGE
from tests.lab.apart import PARTS, Apart
from tests.lab.machine import inside, poll
from tests.lab.needs import needs
from tests.lab.slow_path import Quality

live = needs(*PARTS)
FETCH = (
    "import urllib.request as u; print(u.urlopen('http://helloworld/', timeout=10).read().decode(), end='')"
)
NEAR, FAR, FARTHER = Quality(5), Quality(40), Quality(80)


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    with ExitStack() as stack:
        yield Apart(stack, tmp_path_factory.mktemp("apart"), 3)


@pytest.fixture
def means(tmp_path: Path) -> Means:
    return Means(tmp_path / "state")


def released(apart: Apart, number: int) -> bool:
    return "released" in apart.logs[number].read_text()


@live
@pytest.mark.parametrize("nearest", [0, 1, 2])
def test_the_fastest_is_found_and_programs_reach_it(apart: Apart, means: Means, nearest: int) -> None:
    apart.be([NEAR if number == nearest else (FAR, FARTHER)[number % 2] for number in range(3)])
    targets = apart.targets()
    with inside(apart.device), choose(targets, "fastest", timeout=10, means=means) as chosen:
        assert chosen.target is targets[nearest], chosen.to_json()
        best, *others = chosen.measured
        assert best.method == "probe"
        assert 10 <= (best.rtt_ms or 0) < 70
        assert all(one.rtt_ms is None or one.rtt_ms >= 80 for one in others)
        with chosen.tunnel.spawn([sys.executable, "-c", FETCH]) as program:
            assert program.wait(20) == 0
        assert chosen.wait_released(30)
        assert poll(lambda: all(released(apart, n) for n in range(3) if n != nearest))
        links = chosen.tunnel.spawn(["sh", "-c", "test $(ip -o link | grep -c wg) = 1"])
        assert links.wait(10) == 0  # the ways of the others are gone
    kept = list((means.state / "measured").iterdir())
    assert len(kept) == 1


@live
def test_a_throughput_test_tells_equally_near_ones_apart(apart: Apart, means: Means) -> None:
    apart.be([Quality(10, mbps=4), Quality(10, mbps=60), Quality(100)])
    targets = apart.targets()
    with inside(apart.device), choose(targets, "fastest", timeout=10, weigh=1.0, means=means) as chosen:
        speeds = {one.target.place: one.throughput_mbps for one in chosen.measured}
        assert 1 < (speeds["cloudlet0"] or 0) < 5, chosen.to_json()
        assert chosen.target is not targets[0]
        assert chosen.wait_released(30)


@live
def test_an_apps_own_test_runs_through_each_tunnel(apart: Apart, means: Means) -> None:
    apart.be([NEAR] * 3)
    targets = apart.targets()

    def test(trial: Trial) -> float:
        assert trial.fetch("http://helloworld/") == PAGE
        return -float(trial.target.place[-1])

    with inside(apart.device), choose(targets, custom(test), timeout=20, means=means) as chosen:
        assert chosen.target is targets[2]
        assert [one.cost for one in chosen.measured] == [-2.0, -1.0, 0.0]


@live
def test_beside_a_tunnel_in_use_the_better_one_stands_by_and_can_lead(apart: Apart, means: Means) -> None:
    apart.be([FAR, NEAR, FARTHER])
    first, *others = apart.targets()
    with inside(apart.device):
        link = WireGuardLink(first.plan, first.key)
        try:
            before = link.leading
            chosen = choose(others, "fastest", timeout=10, beside=link, means=means)
            assert chosen.target is others[0]
            assert link.leading is before
            link.lead(chosen.way)
            link.drop(before)
            with link.spawn([sys.executable, "-c", FETCH], None) as program:
                assert program.wait(20) == 0
            assert chosen.wait_released(30)
        finally:
            link.close()


@live
def test_a_greeting_that_was_lost_can_be_said_again_before_wireguard_would(apart: Apart) -> None:
    apart.be([NEAR] * 3)
    target = apart.targets()[0]
    apart.be([Quality(loss=1.0)] * 3)
    with inside(apart.device):
        link = WireGuardLink(target.plan, target.key)
        try:
            assert not poll(lambda: link.handshake_seconds_ago() is not None, 0.3)
            apart.be([NEAR] * 3)
            link.leading.greet_again()
            assert poll(lambda: link.handshake_seconds_ago() is not None, 4)  # WireGuard's own takes five
        finally:
            link.close()


@live
def test_without_a_way_to_any_every_reason_is_told_and_nothing_is_left(apart: Apart, means: Means) -> None:
    apart.be([NEAR] * 3)
    targets = apart.targets()
    apart.be([Quality(loss=1.0)] * 3)
    before = _programs()
    failing = pytest.raises(TunnelError, match="None of 3 cloudlets can be used: cloudlet0: ")
    with inside(apart.device), failing:
        choose(targets, "fastest", timeout=1.5, means=means)
    assert poll(lambda: _programs() == before), _programs()


def _programs() -> list[str]:
    """What this process has started and what still runs."""
    command = ["ps", "--ppid", str(os.getpid()), "-o", "stat=,comm="]
    return sorted(
        line for line in subprocess.check_output(command, text=True).splitlines() if " ps" not in line
    )
