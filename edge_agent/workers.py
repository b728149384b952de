"""A few threads that work off what need not be waited for. Made by `__main__.py`, used by `lifecycle.py`.

Not a `ThreadPoolExecutor`: that one is waited for when the program ends, however long its last step takes.
These threads end with the program, and the steps' own programs with them.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

from edge_agent.errors import AgentError

_LOG = logging.getLogger(__name__)

Job = Callable[[], None]


class Workers:
    """`count` threads and their queue."""

    def __init__(self, count: int) -> None:
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        for number in range(count):
            threading.Thread(target=self._work, name=f"work {number}", daemon=True).start()

    def submit(self, job: Job) -> None:
        """Do it when a thread is free."""
        self._jobs.put(job)

    def _work(self) -> None:
        while True:
            attempt(self._jobs.get())


def attempt(job: Job) -> None:
    """Do it now; an error is logged."""
    try:
        job()
    except AgentError as error:
        _LOG.warning("a background step failed", extra={"reason": str(error)})
    except Exception:  # noqa: BLE001 - nobody waits for the result, so here is where it is told
        _LOG.exception("a background step failed")
