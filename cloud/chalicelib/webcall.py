"""One HTTP call to somebody who is not trusted: bounded in time and size, only to where it may go.

Called by `agents.py`, `recipes.py` and `upcall.py`. The name is resolved once and the connection goes to the
address that was checked, so that a name can't point elsewhere a moment later. No redirects, proxies or
credentials.
"""

import http.client
import io
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any, cast
from urllib.parse import SplitResult

from chalicelib.fields import Address, parse_url

CONNECT_SECONDS = 2.0
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052


class CallError(Exception):
    """The call failed; the text says how, for people."""


@dataclass(frozen=True, slots=True)
class WebAnswer:
    """Status, content type without parameters, and the whole body."""

    status: int
    content_type: str
    body: bytes


class _TimedReader(io.RawIOBase):
    """Reads a socket until a moment; a trickle of bytes does not extend it."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, left: Callable[[], float]) -> None:
        self._raw = raw
        self._sock = sock
        self._left = left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._left())
        return cast("int | None", self._raw.readinto(buffer))

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *, left: Callable[[], float], **kwargs: Any) -> None:
        super().__init__(sock, **kwargs)
        self.fp = io.BufferedReader(_TimedReader(self.fp.detach(), sock, left))


class _PinnedConnection(http.client.HTTPConnection):
    """Goes to an address that was chosen before, while Host and certificate stay those of the name."""

    def __init__(self, url: SplitResult, address: str, port: int, left: Callable[[], float]) -> None:
        super().__init__(url.hostname or "", port)
        self._address = address
        self._left = left
        self._tls = ssl.create_default_context() if url.scheme == "https" else None
        self.response_class = partial(_TimedResponse, left=left)  # type: ignore[assignment]

    def connect(self) -> None:
        self.sock = socket.create_connection((self._address, self.port), min(self._left(), CONNECT_SECONDS))
        self.sock.settimeout(self._left())
        if self._tls is not None:
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self.host)


class WebCaller:
    """Makes calls. `allow_private`: whether loopback, private and link-local addresses may be called."""

    def __init__(self, *, allow_private: bool, monotonic: Callable[[], float]) -> None:
        self._allow_private = allow_private
        self._monotonic = monotonic

    def call(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        seconds: float,
        most_bytes: int,
        body: bytes | None = None,
    ) -> WebAnswer:
        """Make the call within `seconds`, resolving the name apart. Every failure is a `CallError`."""
        end = self._monotonic() + seconds

        def left() -> float:
            remaining = end - self._monotonic()
            if remaining <= 0:
                raise TimeoutError
            return remaining

        try:
            parts = parse_url(url, "url")
            port = parts.port or (443 if parts.scheme == "https" else 80)
            address = self._resolve(parts.hostname or "", port)
            connection = _PinnedConnection(parts, address, port, left)
            try:
                target = parts.path + (f"?{parts.query}" if parts.query else "")
                connection.request(method, target or "/", body=body, headers=dict(headers))
                return _read(connection.getresponse(), most_bytes)
            finally:
                connection.close()
        except TimeoutError as error:
            raise CallError("did not answer in time") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise CallError(f"could not be called ({error})") from error

    def _resolve(self, host: str, port: int) -> str:
        """The first of the host's addresses, if all of them are allowed."""
        addresses = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        if not self._allow_private and not all(map(_public, addresses)):
            raise CallError("is at a private address, which this root does not call")
        return addresses[0]


def _read(response: http.client.HTTPResponse, most_bytes: int) -> WebAnswer:
    with response:
        body = response.read(most_bytes + 1)
    if len(body) > most_bytes:
        raise CallError(f"answered with more than {most_bytes} bytes")
    if response.length:  # http.client does not complain if asked for a number of bytes
        raise http.client.IncompleteRead(body, response.length)
    content_type = (response.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
    return WebAnswer(response.status, content_type, body)


def _public(text: str) -> bool:
    """Whether an address belongs to the internet, also one that an IPv6 address carries inside."""
    address: Address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in _NAT64:
            inner = IPv4Address(address.packed[12:])
        address = inner or address
    return address.is_global and not address.is_multicast
