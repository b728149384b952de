"""How far apart keepalives have to be, so that the table can take those of the whole fleet.

Called by `registry.py` and `keepalives.py`. Two things lengthen intervals: the fleet's size (Nomad's rule: so
many keepalives a second for all together), and DynamoDB saying that it is too much right now. Agents spread
out by themselves: they add jitter to whatever interval they are given.
"""

import logging
import math
import threading
from collections.abc import Callable

from chalicelib.errors import Unavailable

_LOOK_SECONDS = 3600.0  # DynamoDB counts a table's items every six hours
_FIRST_LOOK_SECONDS = 60.0  # not in the way of a container's first answers
_DOUBLING_SECONDS = 5.0  # a crowd of refusals at once is one sign of pressure, not many
_HALVING_SECONDS = 60.0
_MOST_FACTOR = 16.0
_log = logging.getLogger(__name__)


class Pressure:
    """What one container knows of it. `fleet` says about how many rows there are. Safe between threads."""

    def __init__(
        self,
        fleet: Callable[[], int],
        *,
        keepalives_per_s: float,
        most_seconds: float,
        monotonic: Callable[[], float],
    ) -> None:
        """`most_seconds`: no interval is lengthened beyond this."""
        self._fleet = fleet
        self._keepalives_per_s = keepalives_per_s
        self._most_seconds = most_seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._rows = 0
        self._next_look = monotonic() + _FIRST_LOOK_SECONDS
        self._factor = 1.0
        self._throttled_at = monotonic()

    def interval_seconds(self, agreed: float) -> float:
        """The time until the next keepalive of a cloudlet that has agreed to this interval."""
        self._look()
        with self._lock:
            needed = max(agreed, self._rows / self._keepalives_per_s) * self._relaxed()
        return max(agreed, min(round(needed, 1), self._most_seconds))

    def throttled(self) -> None:
        """DynamoDB refused a keepalive because there are too many."""
        now = self._monotonic()
        with self._lock:
            factor = self._relaxed()
            if factor == 1 or now - self._throttled_at >= _DOUBLING_SECONDS:
                self._factor = min(2 * factor, _MOST_FACTOR)
                self._throttled_at = now

    def _relaxed(self) -> float:
        """The factor as it is by now; its lock is held."""
        quiet_seconds = self._monotonic() - self._throttled_at
        return max(1.0, self._factor * math.exp2(-quiet_seconds / _HALVING_SECONDS))

    def _look(self) -> None:
        now = self._monotonic()
        with self._lock:
            if now < self._next_look:
                return
            self._next_look = now + _LOOK_SECONDS  # the others go on with what is known
        try:
            rows = self._fleet()
        except Unavailable as error:
            _log.warning("the fleet was not counted", extra={"detail": repr(error.__cause__ or error)})
            return
        with self._lock:
            self._rows = rows
