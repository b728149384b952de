"""Chalice's objects as this root uses them: safe under threads, the root made on first use, calls logged.

`app.py` makes the application, each module of `views/` a blueprint. Chalice keeps the current request in an
attribute of the application, which is right on Lambda, where one process answers one call at a time, and
wrong under a threaded server.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any, cast

from chalice.app import Blueprint, Chalice, Request, Response

from chalicelib.logs import configure_logging
from chalicelib.observing import Observation, embedded_metrics, observing
from chalicelib.problems import answers_problems
from chalicelib.root import Root, build_root
from chalicelib.settings import Settings

_ANY_TYPE = ["*/*"]  # bodies are read as JSON whatever they are called
_log = logging.getLogger(__name__)

View = Callable[..., Response]


class RootApp(Chalice):
    """A Chalice application with a `root` behind it."""

    def __init__(self, app_name: str) -> None:
        self._local = threading.local()
        self._lock = threading.Lock()
        self._root: Root | None = None
        super().__init__(app_name, configure_logs=False)

    @property
    def current_request(self) -> Request:
        """The request that this thread answers."""
        request: Request = self._local.request
        return request

    @current_request.setter
    def current_request(self, request: Request) -> None:
        self._local.request = request

    @property
    def root(self) -> Root:
        """The root; made from the environment if nobody gave one."""
        with self._lock:
            if self._root is None:
                configure_logging(logging.INFO)
                self._root = build_root(Settings.from_environ(os.environ))
            return self._root

    def serve(self, root: Root) -> None:
        """Answer with this root from now on."""
        with self._lock:
            self._root = root

    def __call__(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        """Answer one API Gateway event."""
        begun = time.perf_counter()
        headers = event.get("headers") or {}
        with observing(_header(headers, "traceparent")) as observation:
            answer: dict[str, Any] = super().__call__({**event, "headers": headers}, context)
            self._report(event, answer, (time.perf_counter() - begun) * 1000, observation)
        return answer

    def _report(
        self, event: dict[str, Any], answer: dict[str, Any], duration_ms: float, observation: Observation
    ) -> None:
        """One line a request; in the cloud it carries the request's metrics."""
        if not _log.isEnabledFor(logging.INFO):
            return
        request = event.get("requestContext", {})
        route = f"{request.get('httpMethod')} {request.get('resourcePath')}"
        status, duration_ms = int(answer["statusCode"]), round(duration_ms, 2)
        line: dict[str, Any] = {"route": route, "status": status, "duration_ms": duration_ms}
        namespace = self._root.settings.metrics_namespace if self._root is not None else ""
        if namespace:
            now_ms = int(time.time() * 1000)
            line |= embedded_metrics(namespace, route, duration_ms, status, observation.sums, now_ms)
        else:
            line |= observation.sums
        _log.info("answered", extra=line)


def _header(headers: dict[str, str], name: str) -> str | None:
    return next((value for key, value in headers.items() if key.lower() == name), None)


class RootViews(Blueprint):
    """A blueprint whose views reach the root, and whose errors become problem documents."""

    @property
    def root(self) -> Root:
        """The root of the application that these views belong to."""
        return cast("RootApp", self.current_app).root

    def view(
        self, method: str, path: str, errors: Callable[[View], View] = answers_problems
    ) -> Callable[[View], View]:
        """Make a function the view of a method and path; `{name+}` takes the rest of the path.

        `errors` turns what the function raises into answers.
        """

        def register(function: View) -> View:
            guarded = errors(function)
            self.route(path, methods=[method], content_types=_ANY_TYPE)(guarded)
            return guarded

        return register
