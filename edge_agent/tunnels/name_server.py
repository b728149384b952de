"""The sockets of the gateway's name server, UDP and TCP (RFC 7766). Made by `servers.py`; asks `names.py`."""

from __future__ import annotations

import contextlib
import logging
import socket
import socketserver
import struct
import threading
import time
from typing import Any, Protocol, TypeVar

_LOG = logging.getLogger(__name__)

_TCP_SECONDS = 2.0
_TCP_CONNECTIONS = 16

S = TypeVar("S", bound=socketserver.BaseServer)


class Respond(Protocol):
    """What answers a query from an address, or says nothing; over UDP with as much as the asker takes."""

    def __call__(self, query: bytes, source: str, *, udp: bool) -> bytes | None:
        """The answer."""


class _Udp(socketserver.BaseRequestHandler):
    server: _UdpServer

    def handle(self) -> None:
        query, sock = self.request
        reply = self.server.respond(query, self.client_address[0], udp=True)
        if reply:
            sock.sendto(reply, self.client_address)


class _Tcp(socketserver.BaseRequestHandler):
    server: _TcpServer

    def handle(self) -> None:
        self._end = time.monotonic() + _TCP_SECONDS
        with contextlib.suppress(OSError, EOFError):
            (length,) = struct.unpack("!H", self._receive(2))
            reply = self.server.respond(self._receive(length), self.client_address[0], udp=False)
            if reply:
                self._hurry()
                self.request.sendall(struct.pack("!H", len(reply)) + reply)

    def _receive(self, length: int) -> bytes:
        received = b""
        while len(received) < length:
            self._hurry()
            part = self.request.recv(length - len(received))
            if not part:
                raise EOFError
            received += part
        return received

    def _hurry(self) -> None:
        """The connection ends on time, however slowly it speaks."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.request.settimeout(left)


class _UdpServer(socketserver.UDPServer):
    allow_reuse_address = True
    respond: Respond

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        """Answering one query failed; the next ones are answered."""
        _LOG.debug("a query was not answered", exc_info=True)


class _TcpServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 16
    respond: Respond
    _slots = threading.BoundedSemaphore(_TCP_CONNECTIONS)

    def process_request(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        """Serve it in a thread of its own, unless too many are served."""
        if self._slots.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: object, client_address: object) -> None:
        """Give the slot back at the end."""
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            self._slots.release()

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        """Answering one query failed; the next ones are answered."""
        _LOG.debug("a query was not answered", exc_info=True)


class NameServer:
    """UDP and TCP on one address. `start` serves in two threads until `stop`."""

    def __init__(self, address: tuple[str, int], respond: Respond) -> None:
        """Bind the address, IPv4 or IPv6; raises `OSError`."""
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._udp = _bound(_UdpServer, family, address, _Udp)
        self.address = (address[0], int(self._udp.server_address[1]))
        try:
            self._tcp = _bound(_TcpServer, family, self.address, _Tcp)
        except OSError:
            self._udp.server_close()
            raise
        self._udp.respond = respond
        self._tcp.respond = respond

    def start(self) -> None:
        """Serve in the background."""
        for server in (self._udp, self._tcp):
            threading.Thread(target=server.serve_forever, args=(0.05,), name="names", daemon=True).start()

    def stop(self) -> None:
        """Stop serving and close the sockets."""
        for server in (self._udp, self._tcp):
            server.shutdown()
            server.server_close()


def _bound(kind: type[S], family: int, address: tuple[str, int], handler: Any) -> S:
    """A server that is bound to the address; the family is a class's in `socketserver`."""
    server: S = type(kind.__name__, (kind,), {"address_family": family})(address, handler)
    return server
