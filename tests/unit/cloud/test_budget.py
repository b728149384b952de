"""Running somebody else's matcher within a time, and leaving it alone when it keeps failing."""

import threading

import pytest
from chalicelib.choosing.budget import Budget, MatcherFailed

from tests.lab.machine import poll


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def fails():
    raise ValueError("no idea")


def reason(budget, work, name="m", owner="acme") -> str:
    with pytest.raises(MatcherFailed) as failed:
        budget.run(owner, name, work)
    return str(failed.value)


def test_what_is_quick_gives_its_answer(clock):
    assert Budget(5, clock).run("acme", "m", lambda: 7) == 7


def test_what_throws_has_failed_and_the_cause_is_kept(clock):
    with pytest.raises(MatcherFailed, match="failed") as failed:
        Budget(5, clock).run("acme", "m", fails)
    assert isinstance(failed.value.__cause__, ValueError)


def test_its_own_word_for_a_failure_is_passed_on(clock):
    def says():
        raise MatcherFailed("unknown")

    assert reason(Budget(5, clock), says) == "unknown"


def test_what_hangs_is_left_behind(clock):
    go = threading.Event()
    assert reason(Budget(0.01, clock), lambda: go.wait(10)) == "slow"
    go.set()


def test_after_three_failures_in_a_row_it_rests_for_seconds(clock):
    budget = Budget(5, clock)
    assert [reason(budget, fails) for _ in range(4)] == ["failed"] * 3 + ["resting"]
    assert budget.run("acme", "other", lambda: 1) == 1
    clock.now += 9.9
    assert reason(budget, lambda: 1) == "resting"
    clock.now += 0.2
    assert reason(budget, fails) == "failed"  # one try, then it rests again
    assert reason(budget, lambda: 1) == "resting"
    clock.now += 11
    assert budget.run("acme", "m", lambda: 1) == 1
    assert reason(budget, fails) == "failed"
    assert budget.run("acme", "m", lambda: 2) == 2  # not in a row


def test_few_run_at_once_and_those_left_behind_count(clock):
    budget, go = Budget(0.005, clock), threading.Event()
    reasons = []
    for _ in range(12):
        clock.now += 11  # no rest between
        reasons.append(reason(budget, lambda: go.wait(10)))
    assert reasons == ["slow"] * 8 + ["busy"] * 4
    assert Budget(5, clock).run("acme", "m", lambda: 1) == 1
    go.set()
    clock.now += 11
    poll(lambda: _works(budget), 5)


def test_tenants_share_nothing(clock):
    budget = Budget(5, clock)
    assert [reason(budget, fails) for _ in range(4)][-1] == "resting"
    assert budget.run("other", "m", lambda: 1) == 1


def test_a_tenants_matchers_and_all_together_are_bounded_too(clock):
    budget, go = Budget(0.001, clock), threading.Event()

    def hang(owner, count):
        return [reason(budget, lambda: go.wait(10), name=f"m{n}", owner=owner) for n in range(count)]

    assert hang("acme", 18).count("busy") == 2
    assert budget.run("quick", "m", lambda: 1) == 1
    assert [hang(f"t{n}", 16).count("busy") for n in range(8)] == [0] * 7 + [16]
    go.set()


def _works(budget) -> bool:
    try:
        return budget.run("acme", "m", lambda: True)
    except MatcherFailed:
        return False
