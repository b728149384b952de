"""Whether new backends could be started: what is told of it, after how long, and how it comes back."""

from __future__ import annotations

import os
import threading

import pytest

from edge_agent.deployments.deploy import Deployments
from edge_agent.deployments.readiness import PATIENCE_SECONDS, Readiness
from edge_agent.deployments.requirements import Hardware, Requirements
from edge_agent.errors import Unavailable
from tests.fakes.edge_agent_backends import HELLOWORLD
from tests.fakes.edge_agent_parts import Clock, Parts
from tests.lab.machine import poll


class Runtime:
    """Says what a test wants; `away` is an error."""

    reason = ""
    away: Exception | None = None

    def check(self) -> str:
        if self.away:
            raise self.away
        return self.reason


def test_no_node_is_told_at_once_and_so_is_a_new_one() -> None:
    runtime = Runtime()
    ready = Readiness(runtime.check, Clock())
    assert ready.look()
    assert ready.reason == ""
    runtime.reason = "None of 3 nodes takes guests now."
    assert not ready.look()
    assert ready.reason == runtime.reason
    runtime.reason = ""
    assert ready.look()
    assert ready.reason == ""


def test_a_runtime_that_is_away_for_a_moment_is_not_away() -> None:
    runtime, clock = Runtime(), Clock()
    ready = Readiness(runtime.check, clock)
    for _ in range(5):
        runtime.away = Unavailable("gone")
        assert not ready.look()
        clock.seconds += PATIENCE_SECONDS - 1
        assert not ready.look()
        assert ready.reason == ""
        runtime.away = None
        assert ready.look()
    runtime.away = Unavailable("gone")
    ready.look()
    clock.seconds += PATIENCE_SECONDS
    ready.look()
    assert ready.reason == "gone"
    runtime.away = None
    ready.look()
    assert ready.reason == ""


def test_a_runtime_that_takes_long_not_to_answer_is_away_since_it_was_asked() -> None:
    clock = Clock()

    def hang() -> str:
        clock.seconds += PATIENCE_SECONDS / 2
        raise Unavailable("timed out")

    ready = Readiness(hang, clock)
    ready.look()
    assert ready.reason == ""
    ready.look()
    assert ready.reason == "timed out"


def test_a_silence_does_not_hide_what_was_amiss() -> None:
    runtime, clock = Runtime(), Clock()
    ready = Readiness(runtime.check, clock)
    runtime.reason = "no node"
    ready.look()
    runtime.away = Unavailable("gone")
    ready.look()
    assert ready.reason == "no node"


def test_a_start_has_no_patience() -> None:
    runtime = Runtime()
    ready = Readiness(runtime.check, Clock())
    ready.require()
    runtime.reason = "no node"
    with pytest.raises(Unavailable, match="no node"):
        ready.require()
    runtime.away = Unavailable("gone")
    with pytest.raises(Unavailable, match="gone"):
        ready.require()
    assert ready.reason == "gone"
    runtime.away, runtime.reason = None, ""
    ready.require()
    assert ready.reason == ""


def test_a_fault_does_not_end_the_looking() -> None:
    runtime, stop = Runtime(), threading.Event()
    runtime.away = ValueError("a bug")
    ready = Readiness(runtime.check, Clock())
    looking = threading.Thread(target=ready.keep, args=(stop,))
    looking.start()
    try:
        assert not poll(lambda: not looking.is_alive(), 0.2, 0.05)
    finally:
        stop.set()
        looking.join(10)


def deployments(parts: Parts, reason: list[str], hardware: list[Hardware]) -> Deployments:
    """Those of the parts, begun only where there is no reason against it."""
    made = Deployments(
        *(parts.site, parts.lifecycle, parts.lives, parts.leases, 40),
        unready=lambda: reason[0],
        hardware=lambda: hardware[0],
    )
    made.open = True
    return made


def test_what_runs_goes_on_while_nothing_new_can_be_started() -> None:
    parts, reason = Parts(), [""]
    welcome = deployments(parts, reason, [Hardware()])
    key = os.urandom(32)
    welcome.deploy(HELLOWORLD, key, 0)
    parts.settle()
    reason[0] = "None of 3 nodes takes guests now."
    assert welcome.is_draining()
    with pytest.raises(Unavailable, match="None of 3 nodes"):
        welcome.deploy(HELLOWORLD, os.urandom(32), 0)
    parts.settle()
    assert welcome.deploy(HELLOWORLD, key, 0).state == "Ready"
    assert not welcome.deploy(HELLOWORLD, key, 0).draining, "no reason for its device to leave"
    reason[0] = ""
    assert not welcome.is_draining()
    welcome.deploy(HELLOWORLD, os.urandom(32), 0)


def test_a_device_may_demand_what_the_nodes_have_now() -> None:
    hardware = [Hardware(cores=4)]
    welcome = deployments(Parts(), [""], hardware)
    with pytest.raises(Unavailable, match="cores"):
        welcome.check_offer(HELLOWORLD, Requirements(cores=8))
    hardware[0] = Hardware(cores=8)
    welcome.check_offer(HELLOWORLD, Requirements(cores=8))
