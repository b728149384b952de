"""Running somebody else's matcher: within a time, not too often at once, and not again and again if it fails.

Called by `chooser.py`. The work runs in a thread of its own, which is left behind when the time is over:
Python can't end it. So there are few at once, and a matcher that keeps failing rests.
"""

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TypeVar

T = TypeVar("T")

_FAILURES_TO_REST = 3
_REST_SECONDS = 10.0
_AT_ONCE = 8  # of one matcher, those left behind included: no tenant's slow matcher takes all threads
_OWNERS_AT_ONCE = 16  # of all matchers of one tenant
_ALL_AT_ONCE = 128
_REMEMBERED = 1024


class MatcherFailed(Exception):
    """A matcher did not do its work; the text is one word that tells how."""


@dataclass(slots=True)
class _Record:
    """One matcher: how often it failed in a row, until when it rests, how many run."""

    failures: int = 0
    rests_until: float = float("-inf")
    running: int = 0


class Budget:
    """`seconds`: what a matcher may take, by `monotonic`. Safe between threads."""

    def __init__(self, seconds: float, monotonic: Callable[[], float]) -> None:
        self.seconds = seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._records: OrderedDict[tuple[str, str], _Record] = OrderedDict()
        self._running: Counter[str] = Counter()  # by owner

    def run(self, owner: str, name: str, work: Callable[[], T]) -> T:
        """What a tenant's matcher gives. Raises `MatcherFailed`: resting, busy, slow, failed, or its word.

        Tenants that name the same matcher share nothing: none can make another's rest.
        """
        record = self._begin(owner, name)
        answers: SimpleQueue[tuple[T | None, Exception | None]] = SimpleQueue()

        def do() -> None:
            try:
                answers.put((work(), None))
            except Exception as error:  # noqa: BLE001 - somebody else's code (law 9)
                answers.put((None, error))
            finally:
                self._end(owner, record)

        # In the request's context, so that what it logs and whom it calls belong to the request's trace.
        threading.Thread(target=copy_context().run, args=(do,), name="matcher", daemon=True).start()
        try:
            result, error = answers.get(timeout=self.seconds)
        except Empty:
            result, error = None, MatcherFailed("slow")
        self._note(record, failed=error is not None)
        if error is None:
            return result  # type: ignore[return-value]
        if isinstance(error, MatcherFailed):
            raise error
        raise MatcherFailed("failed") from error

    def _begin(self, owner: str, name: str) -> _Record:
        with self._lock:
            record = self._records.setdefault((owner, name), _Record())
            self._records.move_to_end((owner, name))
            while len(self._records) > _REMEMBERED:
                self._records.popitem(last=False)
            if record.rests_until > self._monotonic():
                raise MatcherFailed("resting")
            if (
                record.running >= _AT_ONCE
                or self._running[owner] >= _OWNERS_AT_ONCE
                or self._running.total() >= _ALL_AT_ONCE
            ):
                raise MatcherFailed("busy")
            record.running += 1
            self._running[owner] += 1
            return record

    def _end(self, owner: str, record: _Record) -> None:
        with self._lock:
            record.running -= 1
            self._running[owner] -= 1
            if not self._running[owner]:
                del self._running[owner]

    def _note(self, record: _Record, *, failed: bool) -> None:
        with self._lock:
            record.failures = record.failures + 1 if failed else 0
            if record.failures >= _FAILURES_TO_REST:
                record.rests_until = self._monotonic() + _REST_SECONDS
