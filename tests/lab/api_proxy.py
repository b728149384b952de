"""A proxy in front of a real Kubernetes API server that makes faults on demand: slow, refusing, garbage, cut,
gone. It speaks plain HTTP on loopback to whoever it is tried on, and is its kubeconfig's user towards the
server.

    with ApiProxy(kubeconfig) as proxy:
        runtime = connect(agent, proxy.kubeconfig(tmp_path), …)
        with proxy.fault(status=429, headers={"Retry-After": "1"}, path=r"/pods", count=3):
            …
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import re
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

_SECONDS = 90.0


@dataclass
class Fault:
    """What happens to the requests that match: answered with `status` and `body` instead of passed on where
    `status` is given; held for `delay` seconds before; `cut`: the connection ends without an answer. `count`:
    how many requests it is for; None for all.
    """

    path: str = ""
    method: str = ""
    status: int = 0
    body: bytes = b'{"kind": "Status", "message": "made by the test"}'
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: bool = False
    count: int | None = None
    hits: int = 0

    def takes(self, method: str, path: str) -> bool:
        """Whether it is for this request; counts it then."""
        if self.count is not None and self.hits >= self.count:
            return False
        if not re.search(self.path, path) or self.method not in ("", method):
            return False
        self.hits += 1
        return True


class ApiProxy:
    """The proxy; `calls` are the requests that it saw, as `METHOD path?query`."""

    def __init__(self, kubeconfig: str | Path) -> None:
        given = yaml.safe_load(Path(kubeconfig).read_text())
        cluster = given["clusters"][0]["cluster"]
        user = given["users"][0]["user"]
        self._namespace = given["contexts"][0]["context"].get("namespace") or "default"
        self._server = urlsplit(cluster["server"])
        self._context = _context(cluster, user)
        self._token = user.get("token")
        self._faults: list[Fault] = []
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.calls: list[str] = []

    def __enter__(self) -> ApiProxy:
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut_all()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)

    def kubeconfig(self, folder: Path) -> str:
        """The path of a kubeconfig that leads here."""
        url = f"http://127.0.0.1:{self._http.server_address[1]}"
        context = {"cluster": "proxy", "user": "nobody", "namespace": self._namespace}
        text = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "proxy", "cluster": {"server": url}}],
            "users": [{"name": "nobody", "user": {}}],
            "contexts": [{"name": "proxy", "context": context}],
            "current-context": "proxy",
        }
        path = folder / "kubeconfig"
        path.write_text(yaml.safe_dump(text))
        return str(path)

    @contextlib.contextmanager
    def fault(self, **fields: Any) -> Iterator[Fault]:
        """A fault for as long as the block; `cut` also ends what is open now."""
        fault = Fault(**fields)
        with self._lock:
            self._faults.append(fault)
        if fault.cut:
            self.cut_all()
        try:
            yield fault
        finally:
            with self._lock:
                self._faults.remove(fault)

    def cut_all(self) -> None:
        """End every connection that is open."""
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def faults_for(self, method: str, path: str) -> Fault | None:
        """The fault for a request, if there is one."""
        with self._lock:
            self.calls.append(f"{method} {path}")
            return next((fault for fault in self._faults if fault.takes(method, path)), None)

    @contextlib.contextmanager
    def noted(self, connection: socket.socket) -> Iterator[None]:
        """Remember an open connection, to cut it."""
        with self._lock:
            self._open.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(connection)

    def ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> http.client.HTTPConnection:
        """The real server, asked."""
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        connection = http.client.HTTPSConnection(
            self._server.hostname or "", self._server.port, timeout=_SECONDS, context=self._context
        )
        connection.request(method, path, body=body or None, headers=headers)
        return connection


class _Handler(BaseHTTPRequestHandler):
    """One connection of whoever is tried."""

    owner: ApiProxy
    protocol_version = "HTTP/1.1"
    timeout = _SECONDS

    def handle(self) -> None:
        with self.owner.noted(self.connection), contextlib.suppress(OSError):
            super().handle()

    def log_message(self, *_: Any) -> None:
        """Not at all."""

    def do_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.owner.faults_for(self.command, self.path)
        if fault is not None:
            if fault.delay:
                time.sleep(fault.delay)  # noqa: TID251 - it is what the fault is
            if fault.cut:
                self.close_connection = True
                return
            if fault.status:
                self._answer(fault.status, fault.body, {**fault.headers})
                return
        self._pass_on(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_any  # noqa: N815 - http.server's names

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _pass_on(self, body: bytes) -> None:
        kept = {name: self.headers[name] for name in ("Accept", "Content-Type") if self.headers[name]}
        connection = self.owner.ask(self.command, self.path, body, kept)
        try:
            answer = connection.getresponse()
            self.send_response(answer.status)
            for name in ("Content-Type", "Retry-After"):
                if answer.headers[name]:
                    self.send_header(name, answer.headers[name])
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            while chunk := answer.read1(1 << 16):
                self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
        finally:
            connection.close()


def _context(cluster: Mapping[str, Any], user: Mapping[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(
        cafile=cluster.get("certificate-authority"),
        cadata=_decoded(cluster.get("certificate-authority-data")),
    )
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for name in ("client-certificate", "client-key"):
            path = Path(folder) / name
            if user.get(f"{name}-data"):
                path.write_bytes(base64.b64decode(user[f"{name}-data"]))
                paths.append(str(path))
            elif user.get(name):
                paths.append(user[name])
        if paths:
            context.load_cert_chain(*paths)
    return context


def _decoded(data: str | None) -> str | None:
    return base64.b64decode(data).decode() if data else None
