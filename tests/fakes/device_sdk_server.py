"""An HTTP server on loopback that answers as a test scripts it, down to single bytes."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Request:
    """What came in: `target` is path and query."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


Reply = Callable[[Request, socket.socket], None]


@dataclass
class ScriptedServer:
    """Hands each request to `reply`, which writes the answer to the socket; keeps the requests."""

    reply: Reply
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.stop = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while not self.stop.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            line = stream.readline().decode("latin-1").split()
            if len(line) < 2:
                return
            headers = {}
            while (header := stream.readline().decode("latin-1").strip()) != "":
                name, _, value = header.partition(":")
                headers[name.lower()] = value.strip()
            body = stream.read(int(headers.get("content-length", "0")))
            request = Request(line[0], line[1], headers, body)
            self.requests.append(request)
            try:
                self.reply(request, connection)
            except OSError:
                return  # the client has gone

    def close(self) -> None:
        self.stop.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def answer(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Reply:
    """A reply with `body` as JSON, or as it is if it is bytes."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(content)}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"
    return lambda _request, connection: connection.sendall(head + content)


def deployment(**changes: Any) -> dict[str, Any]:
    """A deployment that can be used, as JSON. The keys of `changes` replace those of the same name."""
    return {
        "UUID": "00000000-0000-0000-0000-000000000000",
        "ApplicationKey": "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=",
        "Status": "Deploying",
        "StatusURL": "http://100.71.0.1/api/v1/deployment",
        "Cloudlet": {"UUID": "5f1c9a1e-7f35-4a39-9d52-3f1f8f0e6a11", "Name": "pittsburgh-1"},
        "Services": [
            {"name": "helloworld", "address": "100.71.0.18", "ports": [{"protocol": "TCP", "port": 80}]}
        ],
        "TunnelConfig": tunnel_config(),
        **changes,
    }


def tunnel_config(**changes: Any) -> dict[str, Any]:
    """A tunnel that can be used, as JSON."""
    return {
        "publicKey": "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
        "allowedIPs": ["100.71.0.1/32", "100.71.0.16/29"],
        "endpoint": "192.0.2.7:51820",
        "address": ["100.71.0.17/32"],
        "dns": ["100.71.0.1", "helloworld-0123456789.sinfonia.internal"],
        **changes,
    }
