"""Whether new backends could be started: only then is the cloudlet offered to roots and devices. One thread
looks, everybody asks; made by `agent.py`.

What runs goes on meanwhile: this decides about new backends alone.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from edge_agent.errors import Unavailable

_LOG = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
QUICK_SECONDS = 2.0
"""So often while something is amiss."""
PATIENCE_SECONDS = 30.0
"""A runtime that can't be asked for so long is away."""


class Readiness:
    """What is known of it. `check` says why nothing could be started, empty if it could, and raises
    `Unavailable` where it can't tell; `clock` is monotonic.
    """

    def __init__(self, check: Callable[[], str], clock: Callable[[], float]) -> None:
        self._check = check
        self._clock = clock
        self._silent_since: float | None = None
        self.reason = ""
        """Why nothing new is begun; empty while it is."""

    def look(self) -> bool:
        """Ask, take note, and return whether all is well."""
        begun = self._clock()
        try:
            reason = self._check()
        except Unavailable as error:
            if self._silent_since is None:
                self._silent_since = begun  # it may have taken long not to answer
            if self._clock() - self._silent_since >= PATIENCE_SECONDS:
                self._note(str(error))
            return False
        self._silent_since = None
        self._note(reason)
        return not reason

    def require(self) -> None:
        """Ask, take note, and raise `Unavailable` unless all is well, without patience: for a start."""
        try:
            reason = self._check()
        except Unavailable as error:
            self._note(str(error))
            raise
        self._note(reason)
        if reason:
            raise Unavailable(reason)

    def keep(self, stop: threading.Event) -> None:
        """Look until `stop`: a thread's body."""
        pause = 0.0
        while not stop.wait(pause):
            try:
                pause = LOOK_SECONDS if self.look() else QUICK_SECONDS
            except Exception:  # noqa: BLE001 - a fault in one look must not end all later ones
                _LOG.exception("looking whether backends can be started failed; it goes on")
                pause = LOOK_SECONDS

    def _note(self, reason: str) -> None:
        if reason and not self.reason:
            _LOG.warning("nothing new can be started: not offered", extra={"reason": reason})
        elif self.reason and not reason:
            _LOG.info("backends can be started: offered again")
        self.reason = reason
