"""Asking several cloudlets at once, and the next in the place of each that fails or is slow.

Used by `asking.py` and `standing.py`. One thread per question. A question that takes too long is left to its
own time-outs; what it still leads to is told to `late`.
"""

import logging
import threading
from collections.abc import Callable, Iterable
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar
from uuid import UUID

from chalicelib.deploying.agents import AgentDeclined, AgentError, AgentRefused
from chalicelib.fleet.cloudlets import Cloudlet

T = TypeVar("T")
MOST_ASKED = 32  # for one call of a device: past two dozen liars, and no more
_MOST_AT_ONCE = 8
_LATE = "did not answer in time"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """For how long, in seconds, an agent may hold an answer, is then not yet suspected, and is waited for."""

    hold_seconds: float
    unsuspected_seconds: float
    patience_seconds: float


@dataclass(slots=True)
class _Question:
    place: int
    cloudlet: Cloudlet
    pace: Pace
    suspect_at: float
    end: float
    settled: bool = False


class FanOut(Generic[T]):
    """Up to `wanted` successes from an ordered supply of cloudlets, which may look for more as it is used.

    `ask` is given the cloudlet and its pace and raises `AgentError` where the cloudlet fails. One that is
    slow has another asked besides, and the more were slow, the more are asked at once: a neighbourhood full
    of cloudlets that never answer is got past in seconds. `late` is told of those that succeeded after they
    were given up.
    """

    def __init__(
        self,
        cloudlets: Iterable[Cloudlet],
        ask: Callable[[Cloudlet, Pace], T],
        *,
        wanted: int,
        pace: Callable[[Cloudlet], Pace],
        monotonic: Callable[[], float],
        late: Callable[[Cloudlet], None] = lambda _cloudlet: None,
    ) -> None:
        self.failures: list[str] = []
        self.failed: list[UUID] = []
        self.refused: list[UUID] = []
        self.surplus: list[Cloudlet] = []
        self._supply = iter(cloudlets)
        self._ask = ask
        self._wanted = wanted
        self._pace = pace
        self._monotonic = monotonic
        self._late = late
        self._changed = threading.Condition()
        self._asked = 0
        self._slow = 0
        self._running: list[_Question] = []
        self._answered: list[tuple[_Question, T | Exception]] = []
        self._succeeded: dict[int, tuple[Cloudlet, T]] = {}

    def gather(self, end: float) -> list[tuple[Cloudlet, T]]:
        """Ask until there are enough, nobody is left, or `end` (by `monotonic`); in the cloudlets' order.

        Afterwards `failures` has a line, for people, for each cloudlet that did not succeed, `failed` has
        those of them that are not well, `refused` those that may only be of no use for this app, and
        `surplus` those that succeeded and are not among the results.
        """
        while len(self._succeeded) < self._wanted and self._monotonic() < end:
            seen_at = self._monotonic()
            self._submit(seen_at)
            if not self._running:
                break
            self._collect(end, seen_at)
        with self._changed:
            self._take_answers()
            for question in self._running:
                question.settled = True
        now = self._monotonic()
        for question in self._running:
            if len(self._succeeded) < self._wanted:
                self._fail(question, _LATE)
            elif question.suspect_at <= now:
                self.failed.append(question.cloudlet.uuid)
        ordered = [self._succeeded[place] for place in sorted(self._succeeded)]
        self.surplus = [cloudlet for cloudlet, _ in ordered[self._wanted :]]
        return ordered[: self._wanted]

    def _submit(self, now: float) -> None:
        unsuspected = sum(question.suspect_at > now for question in self._running)
        overdue = len(self._running) - unsuspected
        missing = self._wanted - len(self._succeeded)
        width = max(missing, min(self._slow + overdue, _MOST_AT_ONCE))
        while unsuspected < width and self._asked < MOST_ASKED:
            cloudlet = next(self._supply, None)
            if cloudlet is None:
                return
            self._begin(cloudlet)
            unsuspected += 1

    def _begin(self, cloudlet: Cloudlet) -> None:
        pace, now = self._pace(cloudlet), self._monotonic()
        suspect_at = now + pace.hold_seconds + pace.unsuspected_seconds
        end = now + pace.hold_seconds + pace.patience_seconds
        question = _Question(self._asked, cloudlet, pace, suspect_at, end)
        self._asked += 1
        self._running.append(question)
        put = partial(copy_context().run, self._put, question)  # the thread works for the same request
        threading.Thread(target=put, name="ask", daemon=True).start()

    def _put(self, question: _Question) -> None:
        """Ask, in a thread of its own."""
        try:
            answer: T | Exception = self._ask(question.cloudlet, question.pace)
        except Exception as error:  # noqa: BLE001 - raised again by who waits for the answer
            answer = error
        with self._changed:
            in_time = not question.settled
            if in_time:
                self._answered.append((question, answer))
                self._changed.notify()
        if not in_time and not isinstance(answer, Exception):
            self._late(question.cloudlet)

    def _collect(self, end: float, seen_at: float) -> None:
        """Wait for an answer, a question's end, or a moment from which one more is to be asked.

        Such a moment may have passed since the questions were seen last: finding whom to ask takes time.
        """
        moments = [question.end for question in self._running]
        moments += [question.suspect_at for question in self._running if question.suspect_at > seen_at]
        with self._changed:
            if not self._answered:
                self._changed.wait(max(0.0, min(end, *moments) - self._monotonic()))
            self._take_answers()
            now = self._monotonic()
            given_up = [question for question in self._running if question.end <= now]
            for question in given_up:
                question.settled = True
                self._running.remove(question)
        self._slow += len(given_up)
        for question in given_up:
            self._fail(question, _LATE)

    def _take_answers(self) -> None:
        answered, self._answered = self._answered, []
        for question, answer in answered:
            self._running.remove(question)
            if isinstance(answer, AgentDeclined):
                self._note(question, str(answer))
            elif isinstance(answer, AgentRefused):
                self.refused.append(question.cloudlet.uuid)
                self._note(question, str(answer))
            elif isinstance(answer, AgentError):
                self._slow += question.suspect_at <= self._monotonic()
                self._fail(question, str(answer))
            elif isinstance(answer, Exception):
                raise answer
            else:
                self._succeeded[question.place] = question.cloudlet, answer

    def _fail(self, question: _Question, why: str) -> None:
        self.failed.append(question.cloudlet.uuid)
        self._note(question, why)

    def _note(self, question: _Question, why: str) -> None:
        cloudlet = question.cloudlet
        self.failures.append(f"{cloudlet.name or cloudlet.uuid} {why}")
        _log.warning("cloudlet failed", extra={"cloudlet_uuid": str(cloudlet.uuid), "detail": why})
