"""Measurements from /proc; what fails is absent, never idle."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.roots.resources import Proc
from edge_agent.wire import Resources
from tests.fakes.edge_agent_parts import Clock


class Machine:
    """A /proc of a test's own making."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "net").mkdir()
        self.cpu(0, 0)
        self.network(0, 0)
        (root / "meminfo").write_text("MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 250 kB\n")

    def cpu(self, busy: int, idle: int) -> None:
        (self.root / "stat").write_text(f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 2 3\n")

    def network(self, received: int, sent: int, device: str = "eth0") -> None:
        zeros = " 0 0 0 0 0 0 0 "
        lines = [
            f"    lo: 999{zeros}999",
            f"  podman1: 999{zeros}999",
            f"  {device}: {received}{zeros}{sent}",
        ]
        (self.root / "net" / "dev").write_text("Inter-|\n face |\n" + "\n".join(lines) + "\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_ratios_and_rates_are_over_the_time_between(machine: Machine) -> None:
    clock = Clock()
    proc = Proc(clock, machine.root)
    assert proc.measure().to_json() == {"mem_ratio": 0.75}
    clock.seconds += 10
    machine.cpu(30, 70)
    machine.network(1000, 500)
    assert proc.measure().to_json() == {
        "cpu_ratio": 0.3,
        "mem_ratio": 0.75,
        "net_rx_rate": 100.0,
        "net_tx_rate": 50.0,
    }


def test_counters_that_went_back_are_left_out(machine: Machine) -> None:
    clock = Clock()
    proc = Proc(clock, machine.root)
    machine.network(1000, 1000)
    proc.measure()
    clock.seconds += 10
    machine.network(10, 10)
    machine.cpu(5, 5)
    assert set(proc.measure().to_json()) == {"cpu_ratio", "mem_ratio"}


@pytest.mark.parametrize("file", ["stat", "meminfo", "net/dev"])
@pytest.mark.parametrize("text", [None, "", "rubbish\nrubbish\nrubbish\nrubbish: x"])
def test_what_cannot_be_read_is_left_out(machine: Machine, file: str, text: str | None) -> None:
    clock = Clock()
    proc = Proc(clock, machine.root)
    proc.measure()
    clock.seconds += 10
    machine.cpu(1, 1)
    machine.network(10, 10)
    if text is None:
        (machine.root / file).unlink()
    else:
        (machine.root / file).write_text(text)
    gone = {"stat": {"cpu_ratio"}, "meminfo": {"mem_ratio"}, "net/dev": {"net_rx_rate", "net_tx_rate"}}[file]
    assert set(proc.measure().to_json()) == {"cpu_ratio", "mem_ratio", "net_rx_rate", "net_tx_rate"} - gone


def test_this_machine_can_be_measured() -> None:
    clock = Clock()
    proc = Proc(clock)
    proc.measure()
    clock.seconds += 1
    assert {"mem_ratio", "net_rx_rate"} <= set(proc.measure().to_json())


def test_a_cluster_is_not_as_busy_as_the_machine_of_its_gateway(machine: Machine) -> None:
    clock = Clock()
    proc = Proc(clock, machine.root)
    assert proc.beside(lambda: Resources.of({})).to_json() == {}
    clock.seconds += 10
    machine.cpu(30, 70)
    machine.network(1000, 500)
    nodes = Resources.of({"cpu_ratio": 0.9})
    assert proc.beside(lambda: nodes).to_json() == {
        "cpu_ratio": 0.9,
        "net_rx_rate": 100.0,
        "net_tx_rate": 50.0,
    }
