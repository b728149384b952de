"""HTTP to a root (ST-1), or to a cloudlet that is asked directly: the same calls.

Called by `deploy.py` and `discovery.py`. The one module that knows `requests`, whose errors and problem
documents become this package's errors here. An answer is bounded in time and size, and followed to
another place only where that is harmless.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode, urljoin, urlsplit
from uuid import UUID

from device_sdk.background import Pending
from device_sdk.calls.caller import Caller
from device_sdk.errors import RequestError, RootError, SinfoniaError
from device_sdk.fields import WireError, parse_json, printable
from device_sdk.nearby.links import number_of
from device_sdk.nearby.pairing_wire import PairingDone, PairingOffer, PairingProof, encoded
from device_sdk.problems import error_of
from device_sdk.wire import (
    MAX_RESULTS,
    Candidate,
    Deployment,
    DeviceContext,
    Health,
    Measurement,
)

if TYPE_CHECKING:
    import requests

    from device_sdk.nearby.seals import SealedCall

T = TypeVar("T")

MAX_ANSWER_BYTES = 256 * 1024
MAX_REDIRECTS = 3
CONNECT_SECONDS = 5.0

_BYTES = "application/octet-stream"
_PLAIN = {"Accept": "application/json", "Accept-Encoding": "identity"}


class Server:
    """A root, or a cloudlet, at `base_url`. `what` names it in messages."""

    def __init__(
        self, base_url: str, caller: Caller | None = None, what: str = "root", *, proxies: bool = True
    ) -> None:
        """`proxies`: whether to use the environment's proxies; never towards the device's own network."""
        self.base_url = check_url(base_url)
        self._url, self._link = split_link(self.base_url)
        self._caller = caller or Caller()
        self.what = what
        self._proxies = proxies

    def deploy(
        self,
        app_uuid: UUID,
        key_segment: str,
        *,
        results: int,
        context: DeviceContext,
        timeout: float,
    ) -> list[Deployment]:
        """Ask for the app's backend; the answer comes before the backend is ready. Seconds for `timeout`."""
        # Both sides are told to answer at once: readiness is followed through the tunnel.
        return self._deployments("POST", app_uuid, key_segment, results, context, timeout, {"wait": "0"})

    def deployments(
        self, app_uuid: UUID, key_segment: str, *, results: int, context: DeviceContext, timeout: float
    ) -> list[Deployment]:
        """The backends that exist for this app and key. Raises `NotFoundError` for none."""
        return self._deployments("GET", app_uuid, key_segment, results, context, timeout, {})

    def candidates(
        self, app_uuid: UUID, *, results: int, context: DeviceContext, timeout: float
    ) -> list[Candidate]:
        """The cloudlets that a deploy would ask, the best first."""
        query = {"results": str(results)}
        place = _location(context)
        answer = self._ask("GET", f"/api/v1/candidates/{app_uuid}", query, place, None, timeout)
        return self._elements(answer, Candidate.from_json)

    def health(self, timeout: float) -> Health:
        """Whether the server can do its work, and who it is."""
        return self._checked(Health.from_json, self._ask("GET", "/api/v1/health", {}, {}, None, timeout))

    def begin_pairing(self, message: bytes, timeout: float) -> PairingOffer:
        """A cloudlet's answer to this device's half of pairing."""
        body = {"message": encoded(message)}
        return self._checked(
            PairingOffer.from_json, self._ask("POST", "/api/v1/pairing", {}, {}, body, timeout)
        )

    def finish_pairing(self, session: str, proof: PairingProof, timeout: float) -> PairingDone:
        """A cloudlet's last word, after this device's."""
        path = f"/api/v1/pairing/{session}"
        return self._checked(PairingDone.from_json, self._ask("POST", path, {}, {}, proof.to_json(), timeout))

    def measured(self, app_uuid: UUID, measurement: Measurement, timeout: float) -> None:
        """Tell what was measured to a cloudlet: a root offers better ones then."""
        path = f"/api/v1/measurements/{app_uuid}"
        self._ask("POST", path, {}, {}, [measurement.to_json()], timeout, empty=True)

    def keep(self, app_uuid: UUID, key_segment: str, cloudlet: UUID | None, timeout: float) -> None:
        """Have everything removed that was deployed for this app and key, but for what is on this cloudlet.

        Raises `NotFoundError` where nothing is deployed there.
        """
        query = {} if cloudlet is None else {"keep": str(cloudlet)}
        path = f"/api/v1/deploy/{app_uuid}/{key_segment}"
        self._ask("DELETE", path, query, {}, None, timeout, empty=True)

    def _deployments(
        self,
        method: str,
        app_uuid: UUID,
        key_segment: str,
        results: int,
        context: DeviceContext,
        timeout: float,
        query: Mapping[str, str],
    ) -> list[Deployment]:
        path = f"/api/v1/deploy/{app_uuid}/{key_segment}"
        body = context.to_json() if method == "POST" else None
        headers = _location(context) if body is None else {}
        answer = self._ask(method, path, {"results": str(results), **query}, headers, body, timeout)
        return self._elements(answer, Deployment.from_json)

    def _checked(self, read: Callable[[Any], T], answer: Any) -> T:
        """The answer as the contract has it."""
        try:
            return read(answer)
        except WireError as error:
            raise self._nonsense(error) from error

    def _elements(self, answer: Any, parse: Callable[[Any, str], T]) -> list[T]:
        """The good elements of an array: one cloudlet's nonsense must not cost the answers of the others."""
        if not isinstance(answer, list) or not answer:
            raise self._nonsense(WireError("", "the answer must be a list of at least one element"))
        good, problem = [], WireError("", "")
        for index, element in enumerate(answer[:MAX_RESULTS]):
            try:
                good.append(parse(element, f"[{index}]"))
            except WireError as error:
                problem = error
        if not good:
            raise self._nonsense(problem) from problem
        return good

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: Any,
        timeout: float,
        *,
        empty: bool = False,
    ) -> Any:
        """The answer's JSON, None where an `empty` one (204) is fine."""
        exchange = Pending(
            lambda: self._exchange(method, path, query, headers, body, timeout, empty=empty),
            f"ask {self.what}",
        )
        try:
            return exchange.result(timeout)
        except TimeoutError:
            raise RootError(
                f"The {self.what} at {self.base_url} did not answer within {timeout:g} s."
            ) from None

    def _exchange(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: Any,
        timeout: float,
        *,
        empty: bool,
    ) -> Any:
        import requests

        url, seal = self._url + path, self._caller.seal
        raw = isinstance(body, bytes)
        content = body if raw or body is None else json.dumps(body, allow_nan=False).encode()
        kind = {} if content is None else {"Content-Type": _BYTES if raw else "application/json"}
        try:
            with requests.Session() as session:
                session.trust_env = self._proxies
                if self._link:
                    session.mount(self._url, _from_link(self._url, self._link))
                if self._caller.token:
                    session.auth = _as_it_is  # so that no netrc takes the place of our own header
                for _ in range(MAX_REDIRECTS + 1):
                    sealed = seal.call(method, path, urlencode(query), content or b"") if seal else None
                    own = self._caller.headers(trusted=self._is_own(url)) | (sealed.headers if sealed else {})
                    with session.request(
                        method,
                        url,
                        params=query,
                        headers={**_PLAIN, **kind, **own, **headers},
                        data=content,
                        timeout=(min(CONNECT_SECONDS, timeout), timeout),
                        allow_redirects=False,
                        stream=True,
                    ) as response:
                        if response.is_redirect:
                            url = self._redirected(url, response)
                        elif not (sealed and sealed.is_late(response.status_code, response.headers)):
                            return self._read(response, sealed, empty=empty)
        except SinfoniaError:
            raise
        except (requests.RequestException, OSError, ValueError) as error:
            raise self._unreachable(error) from error
        raise RootError(f"The {self.what} at {self.base_url} redirects without end.")

    def _is_own(self, url: str) -> bool:
        """Whether it is at the server that the app named: a redirect's goal gets no token."""
        here, there = urlsplit(self._url), urlsplit(url)
        return (here.scheme, here.netloc) == (there.scheme, there.netloc)

    def _redirected(self, url: str, response: requests.Response) -> str:
        """Where a redirect leads. The method and the path must stay; a stranger's host needs HTTPS."""
        old, new = urlsplit(url), urlsplit(urljoin(url, response.headers["Location"]))
        stays = response.status_code in (307, 308) and new.path == old.path
        safe = new.scheme == "https" or (new.scheme == old.scheme == "http" and new.hostname == old.hostname)
        if not stays or not safe or new.username is not None:
            place = printable(f"{new.scheme}://{new.hostname or ''}", 100)
            raise RootError(
                f"The {self.what} at {self.base_url} redirects to {place}, which is not followed."
            )
        return new._replace(query="", fragment="").geturl()

    def _read(self, response: requests.Response, sealed: SealedCall | None, *, empty: bool) -> Any:
        content = bytearray()
        for chunk in response.iter_content(16 * 1024):
            content += chunk
            if len(content) > MAX_ANSWER_BYTES:
                raise RootError(f"The {self.what} at {self.base_url} answers with too much data.")
        if sealed:
            sealed.check(response.status_code, response.headers, bytes(content))
        if empty and response.status_code == 204:
            return None
        if response.status_code != 200:
            raise self._problem(response, bytes(content))
        matcher = response.headers.get("X-Sinfonia-Matcher")
        if matcher:
            self._caller.note(f"matcher: {printable(matcher, 100)}")
        try:
            return parse_json(bytes(content))
        except WireError as error:
            raise self._nonsense(error) from error

    def _problem(self, response: requests.Response, content: bytes) -> SinfoniaError:
        who = f"The {self.what} at {self.base_url}"
        advice = response.headers.get("Retry-After", "")
        return error_of(who, response.status_code, content, advice, token_sent=bool(self._caller.token))

    def _nonsense(self, error: WireError) -> RootError:
        said = printable(str(error), 200)
        return RootError(f"The {self.what} at {self.base_url} answers nonsense: {said}.")

    def _unreachable(self, error: Exception) -> RootError:
        reason = error
        while reason.__cause__ or reason.__context__:
            reason = reason.__cause__ or reason.__context__  # type: ignore[assignment]
        text = printable(getattr(reason, "strerror", None) or str(reason) or type(reason).__name__, 200)
        return RootError(
            f"The {self.what} at {self.base_url} can't be reached ({text}); check its URL and the network."
        )


def _location(context: DeviceContext) -> Mapping[str, str]:
    """Where the device is, for calls without a body."""
    place = context.location
    return {"X-Location": f"{place.latitude},{place.longitude}"} if place else {}


def _as_it_is(request: Any) -> Any:
    return request


def split_link(url: str) -> tuple[str, str]:
    """A URL that may name the link of its address, as `http://[fe80::1%25eth0]:7070` (RFC 6874), without
    that, and the link: its name means nothing on the other side, and `requests` would mangle some.
    """
    found = re.fullmatch(r"(https?://\[[0-9a-fA-F:]+)%25([^\]]+)(\].*)", url)
    return (found[1] + found[3], found[2]) if found else (url, "")


def _from_link(url: str, link: str) -> Any:
    """What sends from this device's own address on a link, and so to the link. Raises `OSError`."""
    from requests.adapters import HTTPAdapter

    number = number_of(link)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.connect((urlsplit(url).hostname or "", 9, 0, number))  # sends nothing
        own = probe.getsockname()[0].partition("%")[0]

    class FromLink(HTTPAdapter):
        def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
            super().init_poolmanager(*arguments, **options, source_address=(own, 0, 0, number))

    return FromLink()


def check_url(url: str) -> str:
    """`url` without trailing slashes. Raises `RequestError` unless it is http(s)://HOST[:PORT][/PATH]."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.query or parts.fragment or not re.fullmatch(r"[!-~]+", url):
        shown = printable(url, 100)
        raise RequestError(f"{shown!r} is no URL of a root; it looks like https://root.example.org")
    return url.rstrip("/")
