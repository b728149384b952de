"""Which cloudlets failed a moment ago, so that the next deploy does not wait for the same ones again.

Told by `asking.py`, asked by `selection.py`. What one warm container saw, for seconds: such cloudlets are
left out while there are others.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from uuid import UUID

_SECONDS = 15.0  # a keepalive's pace: by then a cloudlet that is gone has missed one
_REMEMBERED = 1024


class Setbacks:
    """Failures by cloudlet, of all apps or of one. Safe to share between threads."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._until: OrderedDict[tuple[UUID, UUID | None], float] = OrderedDict()

    def note(self, cloudlets: Iterable[UUID], app: UUID | None = None) -> None:
        """Remember that these failed now: for everybody, or for this app.

        An app that starts nowhere must not drive the devices of others away.
        """
        until = self._monotonic() + _SECONDS
        with self._lock:
            for uuid in cloudlets:
                self._until[uuid, app] = until
                self._until.move_to_end((uuid, app))
            while len(self._until) > _REMEMBERED:
                self._until.popitem(last=False)

    def failing(self, app: UUID) -> frozenset[UUID]:
        """Those that failed a moment ago, as far as this app is concerned."""
        now = self._monotonic()
        with self._lock:
            return frozenset(
                uuid for (uuid, whose), until in self._until.items() if until > now and whose in {None, app}
            )
