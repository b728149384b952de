"""The table of deployments: what is due, and when."""

from __future__ import annotations

import itertools
from ipaddress import IPv4Network

import pytest

from edge_agent.deployments.addresses import Plan
from edge_agent.deployments.lives import Lives
from edge_agent.deployments.records import Record
from edge_agent.errors import Unavailable
from tests.fakes.edge_agent_backends import HELLOWORLD
from tests.fakes.edge_agent_parts import CREATED, Clock, Parts


def test_a_removal_that_keeps_failing_is_tried_more_and_more_slowly() -> None:
    parts = Parts(idle_seconds=100.0)
    tries: list[float] = []

    def stuck(record: object) -> None:
        tries.append(parts.clock())
        raise Unavailable(f"{record} is still being removed")

    delete, parts.runtime.delete = parts.runtime.delete, stuck
    key = bytes(32)
    parts.deployments.deploy(HELLOWORLD, key, 0)
    parts.settle()
    live = parts.lives.of(HELLOWORLD, key)
    assert live is not None
    parts.lifecycle.remove_later(live, "a test")
    for _ in range(600):
        parts.settle(1)
        parts.clock.seconds += 0.9
    pauses = [round(later - before) for before, later in itertools.pairwise(tries)]
    wanted = [5, 10, 20, 40, *[60] * (len(pauses) - 4)]
    assert len(pauses) > 5
    assert all(0 <= pause - least <= 1 for pause, least in zip(pauses, wanted, strict=True)), pauses
    parts.runtime.delete = delete
    for _ in range(70):
        parts.settle(1)
        parts.clock.seconds += 0.9
    assert parts.lives.all() == []


def test_a_block_is_free_when_the_last_that_has_it_is_gone() -> None:
    lives, plan = Lives(Clock()), Plan(IPv4Network("100.71.0.0/28"))
    (block,) = (one for one in plan.network.subnets(new_prefix=29) if plan.holds(one))
    owner, barred = (lives.add(record(block, name), plan, 0) for name in ("a", "b"))
    assert (owner.barred, barred.barred) == (False, True)
    for gone in (barred, barred, owner):
        with pytest.raises(Unavailable):
            lives.reserve(plan, 0, lambda block: record(block, "c"), lambda _: None)
        lives.drop(gone)
    assert lives.reserve(plan, 0, lambda block: record(block, "c"), lambda _: None).record.block == block


def record(block: IPv4Network, name: str) -> Record:
    return Record(name, HELLOWORLD, bytes(32), block, "helloworld", "0.1.0", CREATED, {}, 1)
