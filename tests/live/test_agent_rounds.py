"""A real agent and its gateway killed on a real Kubernetes: the short form of `make rounds`."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.lab.cloudlet import Cloudlet, load_image
from tests.lab.machine import poll
from tests.lab.needs import needs
from tests.rounds import run

_NEEDED = (
    "kubernetes",
    "root",
    "tun",
    "ip",
    "setpriv",
    "wg",
    "wireguard-go",
    "nft",
    "podman",
    "busybox-static",
)
KEYS = (bytes(range(32)), bytes(reversed(range(32))), b"\1" * 32)


@needs(*_NEEDED)
@pytest.mark.timeout(600)
def test_three_deaths_lose_and_double_nothing(tmp_path: Path) -> None:
    tally = run(3, 1269, tmp_path, devices=2)
    assert (tally.rounds, tally.checks) == (3, 1)
    assert tally.good, (tally, (tmp_path / "agent.log").read_text(errors="replace")[-3000:])


@needs(*_NEEDED)
@pytest.mark.timeout(300)
def test_a_gateway_that_is_killed_comes_back_with_all_peers_and_ends_nobody(tmp_path: Path) -> None:
    load_image()
    with Cloudlet(tmp_path) as cloudlet:
        cloudlet.start()
        first, second, third = KEYS
        for key in (first, second):
            assert poll(lambda key=key: _state(cloudlet, key) == "Ready", 60, 0.2)
        before = {record.key: record.block for record in cloudlet.records()}
        kill_gateway(cloudlet.uuid)
        assert poll(lambda: _state(cloudlet, third) == "Ready", 60, 0.2), (
            "a gateway that died stops nothing new"
        )
        assert poll(lambda: cloudlet.peers() == 3, 30, 0.2)
        assert {_state(cloudlet, key) for key in KEYS} == {"Ready"}
        after = {record.key: record.block for record in cloudlet.records()}
        assert before.items() <= after.items()


def _state(cloudlet: Cloudlet, key: bytes) -> object:
    status, answer = cloudlet.deploy(key, 5)
    return answer[0]["Status"] if status == 200 else status


def kill_gateway(uuid: str) -> None:
    """Kill the agent's wireguard-go."""
    command = f"wireguard-go\0sf-{uuid[:8]}\0".encode()
    running = [one.parent for one in Path("/proc").glob("[0-9]*/cmdline") if one.read_bytes() == command]
    (process,) = running
    os.kill(int(process.name), signal.SIGKILL)
