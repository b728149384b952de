"""How many deploys may be held until a backend is ready, so that threads are left for everybody else's calls.

Used by `deploy.py`. On Lambda a process answers one call at a time; a local root has a few dozen threads, and
a crowd of devices that wait must not keep a cloudlet's keepalive waiting.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

MOST_HELD = 16  # half of the threads of a local root


class Holds:
    """So many at once. Safe to share between threads."""

    def __init__(self, most: int) -> None:
        self._free = threading.Semaphore(most)

    @contextmanager
    def granted(self, wanted_seconds: float) -> Iterator[float]:
        """For how long this one may be held: as wanted, or not at all where too many are."""
        if wanted_seconds <= 0 or not self._free.acquire(blocking=False):
            yield 0.0
            return
        try:
            yield wanted_seconds
        finally:
            self._free.release()
