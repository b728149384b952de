"""Calls that roots can't make: done by the API itself, each once, and answered by mail. Given by `roots.py`
(keepalive answers) and `mailbox.py` (long poll).

A command goes through the same door as a call from the network, its signature with it, so that the same
checks hold. Bounded in number: what is too much is left, and its root gives it to another cloudlet.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from werkzeug.test import create_environ, run_wsgi_app

from edge_agent.roots.root_calls import RootCalls, RootError
from edge_agent.roots.root_wire import Command
from edge_agent.serving.signatures import HEADER
from edge_agent.wire import present

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

_LOG = logging.getLogger(__name__)

MOST_AT_ONCE = 32
_REMEMBERED = 1024
_PREFIX = "/api/v1/deploy"


class Commands:
    """What one root wants done. `later` does a step in the background; `calls` makes calls for one thread."""

    def __init__(
        self,
        api: WSGIApplication,
        later: Callable[[Callable[[], None]], None],
        calls: Callable[[], RootCalls],
        token: Callable[[], str | None],
    ) -> None:
        self._api = api
        self._later = later
        self._calls = calls
        self._token = token
        self._known: OrderedDict[str, None] = OrderedDict()
        self._open = 0
        self._guard = threading.Lock()

    def take(self, commands: Sequence[Command]) -> None:
        """Do what is new among them; the same one may come by both ways."""
        for command in commands:
            if self._is_new(command):
                self._later(lambda command=command: self._do(command))  # type: ignore[misc]

    def _is_new(self, command: Command) -> bool:
        with self._guard:
            if command.id in self._known or self._open >= MOST_AT_ONCE:
                return False
            self._open += 1
            self._known[command.id] = None
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
            return True

    def _do(self, command: Command) -> None:
        try:
            status, body = self._ask(command)
            self._answer(command, status, body)
        finally:
            with self._guard:
                self._open -= 1

    def _ask(self, command: Command) -> tuple[int, Any]:
        path, _, query = command.path.partition("?")
        headers = {HEADER: command.signature}
        environ = create_environ(
            _PREFIX + path, query_string=query, method=command.method, headers=headers, data=command.body
        )
        parts, status, _ = run_wsgi_app(self._api, environ, buffered=True)
        said = b"".join(parts)
        return int(status.split()[0]), json.loads(said) if said else None

    def _answer(self, command: Command, status: int, body: Any) -> None:
        calls = self._calls()
        try:
            path = f"{calls.path}/commands/{command.id}"
            calls.call("POST", path, present(status=status, body=body), token=self._token())
        except RootError as error:
            _LOG.warning("a command's answer was not heard", extra={"root": calls.name, "reason": str(error)})
