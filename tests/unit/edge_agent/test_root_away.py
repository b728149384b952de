"""A root that is away for hours: what runs, runs on, by its own leases alone; then all is as before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.deployments.leases import Activity
from edge_agent.deployments.live import Phase
from edge_agent.deployments.records import Order
from tests.fakes.edge_agent_backends import HELLOWORLD
from tests.fakes.edge_agent_parts import AGENT, Parts
from tests.unit.edge_agent.test_roots import LEASE, Agent, SmallRoot

USED, LEFT = bytes(range(32)), bytes(32)
SIX_HOURS = 6 * 3600.0
LOOK_SECONDS = 20.0
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def small() -> Iterator[SmallRoot]:
    small = SmallRoot()
    yield small
    small.server.shutdown()
    small.server.server_close()


def pass_by(parts: Parts, seconds: float) -> None:
    """Time in which one of the devices uses its backend, and the agent looks after all."""
    end = parts.clock.seconds + seconds
    while parts.clock.seconds < end:
        parts.clock.seconds += min(LOOK_SECONDS, end - parts.clock.seconds)
        parts.gateway.seen[USED] = Activity(int(parts.clock.seconds), int(parts.clock.seconds))
        parts.settle(1)


def phases(parts: Parts) -> dict[bytes, Phase]:
    return {live.key: live.phase for live in parts.lives.all()}


@pytest.mark.parametrize("how", ["gone", 503, 404, 401])
def test_hours_without_a_root_change_nothing_for_what_runs(
    small: SmallRoot, tmp_path: Path, how: Any
) -> None:
    agent, parts = Agent(small.url, tmp_path), Parts(rest_seconds=1800.0)
    agent.root.step()
    for key in (USED, LEFT):
        parts.deployments.deploy(HELLOWORLD, key, 0, Order(small.url))
    parts.settle()
    (used,) = [record for record in parts.runtime.records() if record.key == USED]
    ways = {way: to for way, to in parts.gateway.forwards.items() if way[0] == used.device}
    small.script = [(how, {}, {"Retry-After": "40"})] if how != "gone" else small.script
    agent.root._calls._url = NOWHERE if how == "gone" else small.url
    begun, longest = parts.clock.seconds, 0.0
    while parts.clock.seconds < begun + SIX_HOURS:
        pause = agent.root.step()
        longest = max(longest, pause)
        pass_by(parts, pause)
        assert phases(parts)[USED] is Phase.READY
    assert phases(parts) == {USED: Phase.READY}, "who left has rested and gone, as always"
    assert parts.runtime.records() == [used]
    assert ways.items() <= parts.gateway.forwards.items()
    assert parts.runtime.applies == 2, "nothing was started anew"
    assert longest <= 60.0, "it is asked again within a minute"

    small.heard.clear()
    small.script, agent.root._calls._url = [(410, {}, {}), (200, LEASE, {})], small.url
    begun = parts.clock.seconds
    while f"PUT /{AGENT}" not in small.said or agent.root.token is None:
        pass_by(parts, agent.root.step())
    assert parts.clock.seconds < begun + 600, "it registers again by itself"
    assert phases(parts) == {USED: Phase.READY}
    assert parts.deployments.find(HELLOWORLD, USED).state == "Ready"
