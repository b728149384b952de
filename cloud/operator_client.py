"""Calls of a root's management API, over HTTP with a token. Called by `operator_commands.py`.

Bounded in time and size; no redirects, which could take the token elsewhere. What the root refuses is an
`OperatorError` with an exit status that says what to do about it.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, ClassVar
from urllib.parse import quote, urlencode, urljoin, urlsplit

import requests

_MOST_BYTES = 16 * 2**20
_CONNECT_SECONDS = 5.0
_TRIES = 4
_LONGEST_PAUSE_SECONDS = 60.0
_NEXT = re.compile(r'<([^<>]*)>\s*;\s*rel="?next"?')


class OperatorError(Exception):
    """One line for whoever typed the command; `exit_status` is the program's."""

    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, status: int | None = None) -> None:
        """`status`: what the root answered with, if it did."""
        super().__init__(message)
        self.status = status


class Refused(OperatorError):
    """The command, or what it asks for, has to be changed."""

    exit_status = 2


class RootAway(OperatorError):
    """The root can't be reached, is too busy, or answers nonsense: try again later, or look at its URL."""

    exit_status = 3


class NotAllowed(OperatorError):
    """There is no token, or this one is not enough."""

    exit_status = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """The JSON of an answer (None if it has none), its version, and where its next page is."""

    body: Any
    version: str | None
    following: str | None


class _Bearer(requests.auth.AuthBase):
    """Puts the token in; with an `auth` of ours, requests looks for none in ~/.netrc."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """The request with its `Authorization`."""
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class RootClient:
    """One root. `pause` waits so many seconds; `seconds` is the limit of each call."""

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        seconds: float,
        pause: Callable[[float], object],
        plain: bool = False,
    ) -> None:
        """`plain`: whether the token may go unencrypted to another machine."""
        self._url = _checked(url, plain=plain or token is None)
        self._auth = _Bearer(token)
        self._seconds = seconds
        self._pause = pause
        self._session = requests.Session()

    def call(
        self,
        method: str,
        *path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        version: str | None = None,
    ) -> Answer:
        """One call; the parts of the path are escaped. `version`: the one that is to be changed."""
        url = "/".join([self._url, "api/v1", *(quote(part, safe="") for part in path)])
        if query:
            url += f"?{urlencode(query)}"
        headers = {} if version is None else {"If-Match": version}
        return self._call(method, url, body, headers)

    def pages(self, *path: str, query: Mapping[str, str] | None = None) -> Iterator[list[Any]]:
        """The pages of a list, one after the other."""
        answer = self.call("GET", *path, query=query)
        while True:
            if not isinstance(answer.body, list):
                raise RootAway(f"The root at {self._url} answers nonsense: there should be a list.")
            yield answer.body
            if answer.following is None:
                return
            answer = self._call("GET", answer.following, None, {})

    def _call(self, method: str, url: str, body: Any, headers: dict[str, str]) -> Answer:
        """Make the call, again after a while where the root asks for that and nothing was changed."""
        for attempt in range(1, _TRIES + 1):
            response, content = self._send(method, url, body, headers)
            wait = _asked_pause(response) if attempt < _TRIES else None
            if wait is None or (response.status_code == 503 and method != "GET"):
                break
            self._pause(wait)
        if response.status_code >= 300:
            raise self._error(response, content)
        return Answer(
            self._json(content) if content else None, response.headers.get("ETag"), self._next(url, response)
        )

    def _send(
        self, method: str, url: str, body: Any, headers: dict[str, str]
    ) -> tuple[requests.Response, bytes]:
        try:
            with self._session.request(
                method,
                url,
                json=body,
                headers=headers,
                auth=self._auth,
                timeout=(_CONNECT_SECONDS, self._seconds),
                allow_redirects=False,
                stream=True,
            ) as response:
                content = b""
                for chunk in response.iter_content(65536):
                    content += chunk
                    if len(content) > _MOST_BYTES:
                        raise RootAway(f"The root at {self._url} answers more than 16 MiB.")
                return response, content
        except requests.RequestException as error:
            raise RootAway(
                f"The root at {self._url} can't be reached ({_reason(error)}); check its URL and the network."
            ) from error

    def _error(self, response: requests.Response, content: bytes) -> OperatorError:
        status = response.status_code
        try:
            problem = json.loads(content)
            detail = str(problem.get("detail") or problem["title"])
        except (ValueError, LookupError, AttributeError, RecursionError):
            detail = content[:200].decode("utf-8", "replace") or response.reason
        kind: type[OperatorError] = Refused
        if status in (401, 403):
            kind = NotAllowed
        elif status in (408, 429) or status >= 500 or status < 400:
            kind = RootAway
        return kind(f"The root says ({status}): {printable(detail)}", status)

    def _json(self, content: bytes) -> Any:
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise RootAway(f"The root at {self._url} answers nonsense: this is no JSON.") from error

    def _next(self, url: str, response: requests.Response) -> str | None:
        found = _NEXT.search(response.headers.get("Link", ""))
        if found is None:
            return None
        following: str = urljoin(url, found[1])
        if urlsplit(following)[:2] != urlsplit(url)[:2] or following == url:
            raise RootAway(f"The root at {self._url} answers nonsense: its next page is elsewhere.")
        return following


def printable(text: str, longest: int = 500) -> str:
    """`text` on one line without control characters: others' names come to the operator's terminal."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def _checked(url: str, *, plain: bool) -> str:
    """The URL without trailing slashes. Raises `Refused`."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or "@" in parts.netloc or not re.fullmatch(r"[!-~]+", url):
        raise Refused(
            f"{printable(url, 100)!r} is no URL of a root; it should be like https://root.example.org"
        )
    if parts.scheme == "http" and not plain and not _is_loopback(parts.hostname or ""):
        raise Refused(
            f"{url} would carry the token unencrypted; use https, or --plain if that is what you want"
        )
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _asked_pause(response: requests.Response) -> float | None:
    """The seconds after which the root wants to be asked again, if soon."""
    advice = response.headers.get("Retry-After", "")
    if response.status_code not in (429, 503) or not re.fullmatch(r"[0-9]{1,6}", advice):
        return None
    return float(advice) if float(advice) <= _LONGEST_PAUSE_SECONDS else None


def _reason(error: BaseException) -> str:
    """The innermost cause in few words."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return printable(getattr(error, "strerror", None) or str(error) or type(error).__name__, 200)
