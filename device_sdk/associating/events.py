"""What happens to an association, for the app: a callback and iterators. Told by `keeper.py`."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal[
    "connected", "degraded", "handing_over", "handed_over", "lost", "recovered", "draining", "released"
]
_MOST_WAITING = 256  # events that an iterator which does not keep up can have before it; more are lost
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AssociationEvent:
    """`kind` happened at `at`, in seconds since 1970; `cloudlet` is the one that it happened to, for people.

    `degraded`: the way there has become clearly worse; `lost`: nothing answers there, or there is no backend;
    `recovered`: after either, all is well; `draining`: the cloudlet will be away; `handing_over` and
    `handed_over` name the cloudlet to go to; `released`: the association has ended.
    """

    kind: Kind
    cloudlet: str
    reason: str
    at: float

    def to_json(self) -> dict[str, Any]:
        """For a log."""
        return vars(self).copy()


OnEvent = Callable[[AssociationEvent], None]


class Announcer:
    """Hands events on, in their order, without waiting for anybody."""

    def __init__(self, on_event: OnEvent | None, wall_clock: Callable[[], float]) -> None:
        self._on_event = on_event
        self._wall_clock = wall_clock
        self._guard = threading.Lock()
        self._ended = False
        self._queues: list[queue.SimpleQueue[AssociationEvent | None]] = []

    def say(self, kind: Kind, cloudlet: str, reason: str = "") -> None:
        """Tell everybody. An app's callback that raises harms nobody but itself."""
        event = AssociationEvent(kind, cloudlet, reason, self._wall_clock())
        with self._guard:
            for waiting in self._queues:
                if waiting.qsize() < _MOST_WAITING:
                    waiting.put(event)
        if self._on_event is not None:
            try:
                self._on_event(event)
            except Exception:  # noqa: BLE001 - it is the app's own, and has to look after itself
                _log.exception("the app's on_event failed")

    def end(self) -> None:
        """Nothing more will be said."""
        with self._guard:
            self._ended = True
            for waiting in self._queues:
                waiting.put(None)

    def listen(self) -> Iterator[AssociationEvent]:
        """What is said from now on, until the end."""
        waiting: queue.SimpleQueue[AssociationEvent | None] = queue.SimpleQueue()
        with self._guard:
            if self._ended:
                waiting.put(None)
            self._queues.append(waiting)
        return self._heard(waiting)

    def _heard(self, waiting: queue.SimpleQueue[AssociationEvent | None]) -> Iterator[AssociationEvent]:
        try:
            while (event := waiting.get()) is not None:
                yield event
        finally:
            with self._guard:
                self._queues.remove(waiting)
