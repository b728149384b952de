"""DynamoDB on a bad day: a real HTTP server on loopback that refuses, throttles, breaks off or hangs."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Behaviour = Callable[[BaseHTTPRequestHandler], None]


def fails(status: int, kind: str) -> Behaviour:
    """Answer as DynamoDB words its errors."""
    body = json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{kind}", "message": kind}).encode()
    return lambda request: _send(request, status, body)


def says(body: bytes) -> Behaviour:
    """Answer 200 with this."""
    return lambda request: _send(request, 200, body)


def breaks_off(request: BaseHTTPRequestHandler) -> None:
    """Close the connection in the middle of the answer."""
    request.send_response(200)
    request.send_header("Content-Length", "1000")
    request.end_headers()
    request.wfile.write(b'{"Items": [')
    request.close_connection = True


def _send(request: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    request.send_response(status)
    request.send_header("Content-Type", "application/x-amz-json-1.0")
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


class FaultyDynamoDB:
    """`behave` may be changed while it runs; `calls` are the operations it was asked for."""

    def __init__(self) -> None:
        self.url = ""
        self.behave: Behaviour = fails(500, "InternalServerError")
        self.calls: list[str] = []
        self._released = threading.Event()

    def hangs(self, _request: BaseHTTPRequestHandler) -> None:
        """Say nothing until the test is over."""
        self._released.wait(60)


@contextmanager
def faulty_dynamodb(tls: ssl.SSLContext | None = None) -> Iterator[FaultyDynamoDB]:
    """One on a free port of 127.0.0.1, until the end of the block; by HTTPS with `tls`."""
    fault = FaultyDynamoDB()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            fault.calls.append(self.headers.get("X-Amz-Target", "").rpartition(".")[2])
            with suppress(OSError):
                fault.behave(self)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    fault.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield fault
    finally:
        fault._released.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
