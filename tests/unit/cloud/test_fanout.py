"""Asking several cloudlets: order, replacement, slow ones, late ones."""

import threading
import time
from uuid import UUID

import pytest
from chalicelib.deploying.agents import AgentDeclined, AgentError, AgentRefused
from chalicelib.deploying.fanout import MOST_ASKED, FanOut, Pace
from chalicelib.fleet.cloudlets import Cloudlet, row_key

from tests.lab.machine import poll

QUICK = Pace(hold_seconds=0.0, unsuspected_seconds=0.02, patience_seconds=5.0)


def cloudlets(count: int) -> list[Cloudlet]:
    return [
        Cloudlet(
            key=row_key(UUID(int=number), None),
            uuid=UUID(int=number),
            endpoint=f"http://192.0.2.1/{number}",
            incarnation=1,
            sequence=0,
            last_keepalive=0,
            expires_at=0,
            name=f"n{number}",
        )
        for number in range(count)
    ]


class Neighbours:
    """Cloudlets of which some behave in a way; the others succeed with their number."""

    def __init__(self, **behaviours) -> None:
        self.behaviours = {int(name.removeprefix("n")): how for name, how in behaviours.items()}
        self.asked: list[int] = []
        self.paces: list[Pace] = []
        self.over = threading.Event()
        self.late: list[int] = []

    def ask(self, cloudlet: Cloudlet, pace: Pace) -> int:
        number = cloudlet.uuid.int
        self.asked.append(number)
        self.paces.append(pace)
        how = self.behaviours.get(number)
        if how == "hangs":
            self.over.wait(10)
        elif isinstance(how, Exception):
            raise how
        return number

    def fan_out(self, rows, wanted=1, pace=QUICK) -> FanOut[int]:
        return FanOut(
            rows,
            self.ask,
            wanted=wanted,
            pace=lambda _: pace,
            monotonic=time.monotonic,
            late=lambda row: self.late.append(row.uuid.int),
        )


def gather(calls: FanOut[int], seconds: float = 5.0) -> list[int]:
    return [number for _, number in calls.gather(time.monotonic() + seconds)]


@pytest.fixture
def neighbours():
    made = Neighbours()
    yield made
    made.over.set()


def test_as_many_as_wanted_are_asked_and_come_in_order(neighbours):
    calls = neighbours.fan_out(cloudlets(9), wanted=3)
    assert gather(calls) == [0, 1, 2]
    assert sorted(neighbours.asked) == [0, 1, 2]
    assert (calls.failures, calls.failed, calls.surplus) == ([], [], [])


def test_those_that_fail_are_replaced_one_by_one(neighbours):
    neighbours.behaviours = {number: AgentError("is full") for number in range(5)}
    calls = neighbours.fan_out(cloudlets(9), wanted=2)
    assert gather(calls) == [5, 6]
    assert neighbours.asked[-1] == 6
    assert sorted(calls.failures) == [f"n{number} is full" for number in range(5)]
    assert sorted(uuid.int for uuid in calls.failed) == [0, 1, 2, 3, 4]


def test_one_that_declines_is_well(neighbours):
    neighbours.behaviours = {0: AgentDeclined("knows no such app")}
    calls = neighbours.fan_out(cloudlets(2))
    assert gather(calls) == [1]
    assert calls.failed == []
    assert calls.failures == ["n0 knows no such app"]


def test_one_that_refuses_may_be_well_for_other_apps(neighbours):
    neighbours.behaviours = {0: AgentRefused("answered 500")}
    calls = neighbours.fan_out(cloudlets(2))
    assert gather(calls) == [1]
    assert (calls.failed, [uuid.int for uuid in calls.refused]) == ([], [0])
    assert calls.failures == ["n0 answered 500"]


def test_a_slow_one_has_another_asked_besides(neighbours):
    neighbours.behaviours = {0: "hangs"}
    calls = neighbours.fan_out(cloudlets(3))
    assert gather(calls) == [1]
    assert neighbours.asked == [0, 1]


@pytest.mark.parametrize("liars", [12, 20])
def test_a_crowd_that_never_answers_is_got_past_by_doubling(neighbours, liars):
    neighbours.behaviours = dict.fromkeys(range(liars), "hangs")
    calls = neighbours.fan_out(cloudlets(40))
    begun = time.monotonic()
    assert gather(calls)[0] >= liars
    assert len(neighbours.asked) <= liars + 8
    assert time.monotonic() - begun < 4


def test_no_more_than_a_bounded_number_is_asked(neighbours):
    neighbours.behaviours = dict.fromkeys(range(100), AgentError("no"))
    calls = neighbours.fan_out(cloudlets(100))
    assert gather(calls) == []
    assert len(neighbours.asked) == len(calls.failures) == MOST_ASKED


def test_what_is_left_at_the_end_counts_as_failed(neighbours):
    neighbours.behaviours = dict.fromkeys(range(2), "hangs")
    calls = neighbours.fan_out(cloudlets(2), wanted=2)
    assert gather(calls, 0.1) == []
    assert sorted(calls.failures) == ["n0 did not answer in time", "n1 did not answer in time"]


def test_one_that_is_given_up_is_replaced(neighbours):
    neighbours.behaviours = {0: "hangs"}
    pace = Pace(hold_seconds=0.01, unsuspected_seconds=9, patience_seconds=0.02)
    calls = neighbours.fan_out(cloudlets(2), pace=pace)
    assert gather(calls) == [1]
    assert calls.failures == ["n0 did not answer in time"]


def test_who_answers_late_is_told(neighbours):
    neighbours.behaviours = {0: "hangs"}
    assert gather(neighbours.fan_out(cloudlets(2))) == [1]
    assert neighbours.late == []
    neighbours.over.set()
    poll(lambda: neighbours.late == [0])


def test_who_fails_late_is_not_told(neighbours):
    class Late(Neighbours):
        def ask(self, cloudlet, pace):
            number = super().ask(cloudlet, pace)
            if number == 0:
                done.set()
                raise AgentError("late")
            return number

    done, neighbours = threading.Event(), Late(n0="hangs")
    assert gather(neighbours.fan_out(cloudlets(2))) == [1]
    neighbours.over.set()
    assert done.wait(5)
    assert neighbours.late == []


def test_of_successes_at_the_same_time_the_first_in_order_count(neighbours):
    meeting = threading.Barrier(3, timeout=5)

    class Together(Neighbours):
        def ask(self, cloudlet, pace):
            number = super().ask(cloudlet, pace)
            meeting.wait()
            return number

    neighbours = Together()
    calls = neighbours.fan_out(cloudlets(3), wanted=3)
    assert gather(calls) == [0, 1, 2]


def test_a_supply_is_only_drawn_from_as_needed(neighbours):
    drawn = []

    def supply():
        for row in cloudlets(9):
            drawn.append(row.uuid.int)
            yield row

    neighbours.behaviours = {0: AgentError("no")}
    assert gather(neighbours.fan_out(supply())) == [1]
    assert drawn == [0, 1]


def test_a_question_that_is_slow_as_soon_as_it_is_asked_has_others_asked_at_once(neighbours):
    neighbours.behaviours = dict.fromkeys(range(12), "hangs")
    pace = Pace(hold_seconds=0.0, unsuspected_seconds=0.0, patience_seconds=60.0)
    assert gather(neighbours.fan_out(cloudlets(20), pace=pace)) != []


def test_what_nobody_expected_is_raised(neighbours):
    neighbours.behaviours = {0: ZeroDivisionError("a bug")}
    with pytest.raises(ZeroDivisionError):
        gather(neighbours.fan_out(cloudlets(1)))


def test_nobody_to_ask(neighbours):
    assert gather(neighbours.fan_out([])) == []
