"""A deployment that comes while the last one of its name is still being removed: answered, then started."""

from __future__ import annotations

import pytest

from edge_agent.deployments.live import Live, Phase
from edge_agent.deployments.lives import TOLD_SECONDS, WAITING_SECONDS
from edge_agent.errors import Unavailable
from tests.fakes.edge_agent_backends import HELLOWORLD
from tests.fakes.edge_agent_parts import Parts

KEY = bytes(range(32))


def stuck() -> tuple[Parts, Live]:
    """An agent whose one deployment was released, and ends slowly."""
    parts = Parts()
    parts.deployments.deploy(HELLOWORLD, KEY, 0)
    parts.settle()
    (live,) = parts.lives.all()
    parts.runtime.stuck = True
    parts.deployments.release(live.device)
    parts.settle()
    assert parts.runtime.records() == []
    return parts, live


def only(parts: Parts) -> Live:
    (live,) = parts.lives.all()
    return live


def pass_by(parts: Parts, seconds: int) -> None:
    for _ in range(seconds):
        parts.clock.seconds += 1.0
        parts.settle(1)


def test_it_is_answered_at_once_and_started_a_second_after_the_end() -> None:
    parts, before = stuck()
    first = parts.deployments.deploy(HELLOWORLD, KEY, 0)
    assert (first.state, "still being removed" in str(first.reason)) == ("Deploying", True)
    assert first.tunnel is not None
    assert parts.gateway.allowed == {KEY: {before.device}}, "its device has the tunnel that it was told"
    pass_by(parts, 30)
    now = parts.deployments.follow(before.device, 0)
    assert (now.state, "a finalizer" in str(now.reason)) == ("Deploying", True)
    parts.runtime.stuck = False
    pass_by(parts, 1 + int(WAITING_SECONDS))
    answer = parts.deployments.deploy(HELLOWORLD, KEY, 0)
    assert (answer.state, answer.tunnel, answer.name) == ("Ready", first.tunnel, first.name)
    assert [record.name for record in parts.runtime.records()] == [first.name]
    pass_by(parts, 90)
    assert only(parts).phase is Phase.READY, "nobody still removes the first one"


def test_what_waits_for_too_long_fails_and_can_be_asked_for_again() -> None:
    parts, _ = stuck()
    parts.deployments.deploy(HELLOWORLD, KEY, 0)
    pass_by(parts, 182)
    assert only(parts).phase is Phase.FAILED
    assert "still being removed" in only(parts).reason
    assert parts.deployments.deploy(HELLOWORLD, KEY, 0).state == "Deploying"
    parts.runtime.stuck = False
    pass_by(parts, 3)
    assert only(parts).phase is Phase.READY
    pass_by(parts, int(TOLD_SECONDS) + 60)
    assert only(parts).phase is Phase.READY


def test_one_that_is_given_up_while_it_waits_leaves_nothing() -> None:
    parts, before = stuck()
    parts.deployments.deploy(HELLOWORLD, KEY, 0)
    parts.settle()
    parts.deployments.release(before.device)
    pass_by(parts, 10)
    assert only(parts).phase is Phase.REMOVING
    parts.runtime.stuck = False
    pass_by(parts, 60)
    assert (parts.lives.all(), parts.runtime.records(), parts.gateway.allowed) == ([], [], {})


def test_only_so_many_are_given_up_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    parts, before = stuck()
    monkeypatch.setattr(parts.lives, "wait", lambda _seconds, done: done())
    for _ in range(4):
        parts.deployments.deploy(HELLOWORLD, KEY, 0)
        parts.deployments.release(before.device)
    with pytest.raises(Unavailable, match="still being removed"):
        parts.deployments.deploy(HELLOWORLD, KEY, 0)
    parts.runtime.stuck = False
    pass_by(parts, 60)
    assert (parts.lives.all(), parts.runtime.records()) == ([], [])
    parts.deployments.deploy(HELLOWORLD, KEY, 0)
    parts.settle()
    assert only(parts).phase is Phase.READY


def test_an_end_that_an_earlier_run_began_is_told() -> None:
    parts, _ = stuck()
    after = Parts(runtime=parts.runtime)
    after.upkeep.restore()
    with pytest.raises(Unavailable, match="still being removed"):
        after.deployments.deploy(HELLOWORLD, KEY, 0)
    parts.runtime.ending.clear()
    after.deployments.deploy(HELLOWORLD, KEY, 0)
    after.settle()
    assert only(after).phase is Phase.READY


def test_one_whose_creation_was_answered_by_nobody_is_found() -> None:
    parts, _ = stuck()
    parts.deployments.deploy(HELLOWORLD, KEY, 0)
    parts.runtime.stuck, parts.runtime.loses_answers = False, True
    pass_by(parts, 2)
    parts.runtime.loses_answers = False
    pass_by(parts, 2)
    assert only(parts).phase is Phase.READY


def test_where_nobody_uses_it_meanwhile_it_ends() -> None:
    parts = Parts(idle_seconds=60.0, rest_seconds=600.0)
    parts.deployments.deploy(HELLOWORLD, KEY, 0)
    parts.settle()
    parts.runtime.stuck = True
    parts.deployments.release(only(parts).device)
    parts.settle()
    parts.deployments.deploy(HELLOWORLD, KEY, 0)
    pass_by(parts, 90)
    assert only(parts).phase is Phase.REMOVING
