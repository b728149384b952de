"""A deployment that waits until the last one of its name is gone: its device has its answer and its tunnel,
and nothing of it is there yet. Called by `lifecycle.py`; calls the runtime.

Both have one name, so whoever removes the last one must be through before the next one is made.
"""

from __future__ import annotations

from edge_agent.deployments.live import Live, Phase
from edge_agent.deployments.lives import WAITS, Lives
from edge_agent.deployments.records import Record
from edge_agent.deployments.routes import Routes
from edge_agent.deployments.runtime import Runtime
from edge_agent.errors import Conflict, Unavailable

_LONGEST_CHAIN = 4
"""So many of one name may have been given up while the first of them is still being removed."""


class Following:
    """Removes what was before, then makes what comes after. Safe between threads."""

    def __init__(self, runtime: Runtime, routes: Routes, lives: Lives) -> None:
        self._runtime = runtime
        self._routes = routes
        self._lives = lives

    def possible(self, live: Live) -> bool:
        """Whether another one may wait for this one's end."""
        before, chain = live, 0
        while before.after is not None:
            before, chain = before.after, chain + 1
        return not live.barred and chain < _LONGEST_CHAIN

    def begin(self, live: Live) -> bool:
        """Make the record of one that waits, if the last one is gone; whether it is to be started now."""
        if not live.work.acquire(blocking=False):  # another thread is at it
            return False
        try:
            if live.phase is not Phase.WAITING or not self._delete_before(live):
                return False
            self._create(live.record)
            live.after = None
            self._lives.turn(live, Phase.STARTING)
        except (Conflict, Unavailable) as error:
            live.reason = f"{WAITS} {error}"
            return False
        finally:
            self._lives.trying(live)
            live.work.release()
        return True

    def delete(self, live: Live) -> None:
        """Remove what is there under its name, once: whoever comes after it may make that anew. For who
        holds its `work`.
        """
        before = live.after
        if before is None:
            self._runtime.delete(live.record)
        else:  # nothing is its own yet
            with before.work:
                if not before.gone:
                    self.delete(before)
        live.gone, live.after = True, None

    def _delete_before(self, live: Live) -> bool:
        """Whether nothing is left of the one before; looks, unless another thread is at it."""
        before = live.after
        if before is None or not before.work.acquire(blocking=False):
            return False
        try:
            if not before.gone:
                self._routes.close(before)
                self.delete(before)
        finally:
            before.work.release()
            self._lives.tried(before)
        return True

    def _create(self, record: Record) -> None:
        try:
            self._runtime.create(record)
        except Conflict:
            there = {(one.name, one.key, one.block) for one in self._runtime.records()}
            if (record.name, record.key, record.block) not in there:  # of a try whose answer was lost
                raise
