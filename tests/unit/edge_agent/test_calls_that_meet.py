"""Calls that meet each other, or a removal: one backend, one answer, and nobody gets what is ending."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from edge_agent.deployments.live import Phase
from edge_agent.deployments.records import Order, Record
from edge_agent.errors import Forbidden
from edge_agent.wire import Deployment
from tests.fakes.edge_agent_backends import HELLOWORLD
from tests.fakes.edge_agent_parts import Parts
from tests.lab.machine import poll

KEY = bytes(range(32))
ROOTS = ("https://a.example", "https://b.example")


@contextmanager
def running(threads: int = 4) -> Iterator[Parts]:
    """An agent whose background steps and upkeep run by themselves."""
    parts = Parts(threads=threads)
    stop = threading.Event()
    upkeep = threading.Thread(target=parts.keep_watching, args=(stop,), daemon=True)
    upkeep.start()
    try:
        yield parts
    finally:
        stop.set()
        upkeep.join(10)


@pytest.mark.parametrize("turn", range(5))
def test_two_roots_at_once_get_one_backend_and_one_of_them_may_withdraw_it(turn: int) -> None:
    barrier = threading.Barrier(8)
    with running() as parts, ThreadPoolExecutor(8) as callers:

        def call(number: int) -> Deployment:
            barrier.wait(10)
            return parts.deployments.deploy(HELLOWORLD, KEY, 10, Order(ROOTS[(number + turn) % 2]))

        answers = list(callers.map(call, range(8)))
        assert {answer.state for answer in answers} == {"Ready"}
        assert len({answer.tunnel for answer in answers}) == 1
        (record,) = parts.runtime.records()
        other = next(root for root in ROOTS if root != record.root)
        with pytest.raises(Forbidden):
            parts.deployments.withdraw(HELLOWORLD, KEY, other)
        parts.deployments.withdraw(HELLOWORLD, KEY, record.root)
        assert poll(lambda: not parts.runtime.records() and not parts.gateway.allowed)


def test_a_call_while_the_earlier_one_is_removed_gets_a_new_one_when_that_is_gone() -> None:
    with running() as parts, ThreadPoolExecutor(4) as callers:
        first = parts.deployments.deploy(HELLOWORLD, KEY, 10)
        before = parts.lives.all()[0]
        removing, may_end = threading.Event(), threading.Event()
        delete = parts.runtime.delete

        def slowly(record: Record) -> None:
            removing.set()
            may_end.wait(10)
            delete(record)

        parts.runtime.delete = slowly
        parts.deployments.release(before.device)
        assert removing.wait(10)
        calls = [callers.submit(parts.deployments.deploy, HELLOWORLD, KEY, 10.0) for _ in range(4)]
        assert not poll(lambda: any(call.done() for call in calls), 0.3), "what is ending is nobody's"
        assert [live.phase for live in parts.lives.all()] == [Phase.WAITING]
        may_end.set()
        answers = [call.result(20) for call in calls]
        assert {answer.state for answer in answers} == {"Ready"}
        assert {answer.name for answer in answers} == {first.name}
        (live,) = parts.lives.all()
        assert live is not before
        assert len(parts.runtime.records()) == 1
        assert parts.gateway.allowed == {KEY: {live.device}}


def test_a_release_while_it_wakes_ends_it() -> None:
    with running() as parts:
        parts.deployments.deploy(HELLOWORLD, KEY, 10)
        (live,) = parts.lives.all()
        parts.lifecycle.rest_later(live)
        assert poll(lambda: live.rested)
        parts.runtime.gate.clear()
        parts.deployments.deploy(HELLOWORLD, KEY, 0)
        parts.deployments.release(live.device)
        parts.runtime.gate.set()
        assert poll(lambda: not parts.runtime.records() and not parts.lives.all())
        assert parts.runtime.store.applied == {}
        assert parts.gateway.allowed == {}
