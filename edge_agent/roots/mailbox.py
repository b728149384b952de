"""Asking a root for commands, as a cloudlet behind NAT has to: a long poll in a thread for each root, made by
`__main__.py`. Calls `root_calls.py`, gives what it gets to `commands.py`.

Keepalive answers carry commands too; this makes them quick. A root that does not hold its answers, or is
away, is asked seldom.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Sequence

from edge_agent.errors import InvalidRequest
from edge_agent.roots.root_calls import RootCalls, RootError
from edge_agent.roots.root_wire import Command, read_commands

_LOG = logging.getLogger(__name__)

WAIT_SECONDS = 20
_TIMEOUT = (3.0, WAIT_SECONDS + 10.0)
_NO_LEASE_SECONDS = 1.0
_UNHELD_SECONDS = 5.0
_LONGEST_SECONDS = 60.0
_LONGEST_RETRY_AFTER_SECONDS = 600.0


class Mailbox:
    """One root's commands. `token` is of the present lease; `clock` is monotonic."""

    def __init__(
        self,
        calls: RootCalls,
        token: Callable[[], str | None],
        take: Callable[[Sequence[Command]], None],
        clock: Callable[[], float],
        chance: random.Random,
    ) -> None:
        self._calls = calls
        self._token = token
        self._take = take
        self._clock = clock
        self._chance = chance
        self._backoff = _NO_LEASE_SECONDS

    def run(self, stop: threading.Event) -> None:
        """Ask until `stop`."""
        pause = 0.0
        while not stop.wait(pause):
            try:
                pause = self.step()
            except Exception:  # noqa: BLE001 - a fault in one step must not end all later ones
                _LOG.exception("asking for commands failed; it goes on", extra={"root": self._calls.name})
                pause = _LONGEST_SECONDS

    def step(self) -> float:
        """Ask once, and return the seconds until the next time."""
        token, asked = self._token(), self._clock()
        if token is None:
            return _NO_LEASE_SECONDS
        path = f"{self._calls.path}/commands?wait={WAIT_SECONDS}"
        try:
            commands = read_commands(self._calls.call("GET", path, token=token, timeout=_TIMEOUT))
        except (RootError, InvalidRequest) as error:
            return self._after(error)
        self._backoff = _NO_LEASE_SECONDS
        self._take(commands)
        held = bool(commands) or self._clock() - asked >= _NO_LEASE_SECONDS
        return 0.0 if held else _UNHELD_SECONDS * self._chance.uniform(0.5, 1.0)

    def _after(self, error: RootError | InvalidRequest) -> float:
        _LOG.info("no commands", extra={"root": self._calls.name, "reason": str(error)})
        self._backoff = min(self._backoff * 2, _LONGEST_SECONDS)
        wanted = (error.retry_after if isinstance(error, RootError) else None) or 0.0
        return max(min(wanted, _LONGEST_RETRY_AFTER_SECONDS), self._backoff * self._chance.uniform(0.5, 1.0))
