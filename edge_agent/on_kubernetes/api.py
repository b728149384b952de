"""Plain JSON calls to a Kubernetes API server: the only module that knows the official client.

Used by everything in this room, and by what else in the agent speaks to the cluster. The client gives
configuration, authentication and TLS; its typed models are passed by, since charts may hold fields that are
newer than it. Whatever the server does (slow, refusing, garbage, gone) becomes one of two errors here:
`Refused`, it answered no; `Unavailable`, ask again later. Answers are bounded in size and time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client, config

from edge_agent.errors import AgentError, SettingsError, Unavailable

Object = dict[str, Any]

OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
APPLY = "application/apply-patch+yaml"
_CONNECT_SECONDS, _READ_SECONDS = 3.0, 15.0
_CALL_SECONDS = 30.0
_MAX_BYTES = 64 << 20
_CHUNK = 1 << 18
_PAGE = 500
_MAX_PAGES = 100
_MAX_LINE = 4 << 20
_SHORT_SECONDS = 2.0
"""A `Retry-After` up to this is waited for within the call; a longer one is passed on, and kept to."""
_LONGEST_SECONDS = 120.0
_TRIES = 3
_FAULTS = (urllib3.exceptions.HTTPError, client.ApiException, OSError, ValueError)


class Refused(AgentError):
    """The API server said no; `status` is HTTP's."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class _Later(Exception):
    """The server asks to come back."""

    def __init__(self, seconds: float, text: str) -> None:
        super().__init__(text)
        self.seconds = seconds


class Api:
    """The API server. Safe between threads; `clock` is monotonic, `sleep` waits so many seconds."""

    def __init__(
        self, connection: Any, *, clock: Callable[[], float], sleep: Callable[[float], object]
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._sleep = sleep
        self._closed_until = float("-inf")

    def call(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", **query: str
    ) -> Object:
        """The answer's object; raises `Refused`, or `Unavailable` where there is no answer to use."""
        try:
            data = json.loads(self._bytes(method, path, body, content_type, query) or b"{}")
        except ValueError as error:
            raise Unavailable("The Kubernetes API's answer is no JSON.") from error
        if not isinstance(data, dict):
            raise Unavailable("The Kubernetes API's answer is not an object.")
        return data

    def text(self, path: str, **query: str) -> str:
        """The answer's text, for logs; raises as `call` does."""
        return self._bytes("GET", path, None, "application/json", query).decode(errors="replace")

    def items(self, path: str, **query: str) -> list[Object]:
        """All objects of a list, asked for page by page; raises as `call` does."""
        return self.listing(path, **query)[0]

    def listing(self, path: str, **query: str) -> tuple[list[Object], str]:
        """All objects of a list, and its resource version, from which it can be watched."""
        for last_try in (False, True):
            try:
                return self._pages(path, query)
            except Refused as error:  # 410: the list grew too old between two pages
                if error.status != 410 or last_try:
                    raise
        raise AssertionError

    def _pages(self, path: str, query: dict[str, str]) -> tuple[list[Object], str]:
        items: list[Object] = []
        more = ""
        for _ in range(_MAX_PAGES):
            page = {**query, "limit": str(_PAGE), **({"continue": more} if more else {})}
            answer = self.call("GET", path, **page)
            found, metadata = answer.get("items") or [], answer.get("metadata") or {}
            if not isinstance(found, list) or not isinstance(metadata, dict):
                raise Unavailable("The Kubernetes API's list is none.")
            items += [item for item in found if isinstance(item, dict)]
            more = str(metadata.get("continue") or "")
            if not more:
                return items, str(metadata.get("resourceVersion") or "")
        raise Unavailable(f"{path} has more than {_MAX_PAGES * _PAGE} objects.")

    def watch(self, path: str, seconds: int, **query: str) -> Iterator[Object]:
        """What changes, as it changes, for so long at most; raises as `call` does."""
        query = {**query, "watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        timeout = (_CONNECT_SECONDS, seconds + _READ_SECONDS)
        try:
            answer = self._ask("GET", path, None, "application/json", query, timeout)
            with closing(answer.response) as response:
                if answer.status != 200:
                    _raise_refusal(answer.status, response.read(_CHUNK), answer.headers)
                for line in _lines(response):
                    yield json.loads(line)
        except _Later as error:
            raise self._unavailable(error) from error
        except _FAULTS as error:
            raise _unreachable(error) from error

    def _bytes(self, method: str, path: str, body: Any, content_type: str, query: dict[str, str]) -> bytes:
        wait = self._closed_until - self._clock()
        if wait > 0:
            raise Unavailable("The Kubernetes API asked not to be called for a while.", round(wait) + 1)
        for attempt in range(_TRIES):
            try:
                return self._once(method, path, body, content_type, query)
            except _Later as error:
                if error.seconds > _SHORT_SECONDS or attempt == _TRIES - 1:
                    raise self._unavailable(error) from error
                self._sleep(error.seconds)
        raise AssertionError

    def _once(self, method: str, path: str, body: Any, content_type: str, query: dict[str, str]) -> bytes:
        deadline = self._clock() + _CALL_SECONDS
        try:
            answer = self._ask(method, path, body, content_type, query, (_CONNECT_SECONDS, _READ_SECONDS))
            with closing(answer.response) as response:
                data = bytearray()
                while chunk := response.read(_CHUNK):
                    data += chunk
                    if len(data) > _MAX_BYTES or self._clock() > deadline:
                        raise Unavailable("The Kubernetes API's answer is too large, or too slow.")
        except _FAULTS as error:
            raise _unreachable(error) from error
        _raise_refusal(answer.status, bytes(data), answer.headers)
        return bytes(data)

    def _ask(
        self,
        method: str,
        path: str,
        body: Any,
        content_type: str,
        query: dict[str, str],
        timeout: tuple[float, float],
    ) -> Any:
        request = self._connection.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params={"Accept": "application/json", "Content-Type": content_type},
            auth_settings=["BearerToken"],
        )
        return self._connection.call_api(*request[:3], body=body, _request_timeout=timeout)

    def _unavailable(self, later: _Later) -> Unavailable:
        self._closed_until = max(self._closed_until, self._clock() + later.seconds)
        return Unavailable(str(later), round(later.seconds) or 1)


def open_api(kubeconfig: str | None, *, clock: Callable[[], float], sleep: Callable[[float], object]) -> Api:
    """The API of `kubeconfig`, else of the pod that we are in, else of ~/.kube/config; `SettingsError`."""
    configuration = client.Configuration()
    configuration.retries = False
    load: Any = config
    try:
        if kubeconfig is None and OWN_NAMESPACE.exists():
            load.load_incluster_config(client_configuration=configuration)
        else:
            load.load_kube_config(
                config_file=kubeconfig, client_configuration=configuration, persist_config=False
            )
    except (config.ConfigException, OSError) as error:
        raise SettingsError(f"--kubeconfig: {error}") from error
    except (AttributeError, LookupError, TypeError, ValueError) as error:  # the client expects a good file
        raise SettingsError(f"--kubeconfig: {kubeconfig or 'it'} is no kubeconfig") from error
    return Api(client.ApiClient(configuration), clock=clock, sleep=sleep)


def context_namespace(kubeconfig: str | None) -> str:
    """The namespace of the kubeconfig's current context, where kubectl would work; "default" without one."""
    load: Any = config
    try:
        _, current = load.list_kube_config_contexts(config_file=kubeconfig)
        return str(current["context"].get("namespace") or "default")
    except (config.ConfigException, OSError, AttributeError, LookupError, TypeError, ValueError):
        return "default"


def _raise_refusal(status: int, data: bytes, headers: Any) -> None:
    if status < 400:
        return
    try:
        body = json.loads(data)
        text = str(body["message"])[:500]
    except (ValueError, LookupError, TypeError):
        text = f"HTTP status {status}"
    if status in (429, 503) and (seconds := _retry_after(headers)) is not None:
        raise _Later(seconds, f"The Kubernetes API answered {status}: {text}")
    if status >= 500 or status in (401, 408, 429):
        raise Unavailable(f"The Kubernetes API answered {status}: {text}")
    raise Refused(status, text)


def _retry_after(headers: Any) -> float | None:
    """Seconds from the header (RFC 9110, 10.2.3); the form with a date is one that Kubernetes never uses."""
    text = str((headers or {}).get("Retry-After") or "")
    return min(float(text), _LONGEST_SECONDS) if text.isascii() and text.isdigit() else None


def _lines(response: Any) -> Iterator[bytes]:
    kept = b""
    while chunk := response.read1(_CHUNK):
        *lines, kept = (kept + chunk).split(b"\n")
        if len(kept) > _MAX_LINE:
            raise ValueError("a line of the watch is too long")
        yield from filter(None, lines)


def _unreachable(error: Exception) -> Unavailable:
    return Unavailable(f"The Kubernetes API can't be reached: {type(error).__name__}.")
