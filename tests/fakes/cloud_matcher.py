"""An app's own matcher behind HTTP: an endpoint as an upcall finds it, or Lambda's invoke call."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """What the matcher answers with; `headers` besides the length."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class MatcherServer:
    """`url` of the server, what was asked of it (paths and JSON bodies), and in which traces."""

    url: str
    asked: list[tuple[str, Any]]
    traces: list[str | None]


@contextmanager
def matcher_server(answer: Callable[[Any], Answer]) -> Iterator[MatcherServer]:
    """A server on loopback that answers each POST with what `answer` makes of the question."""
    asked: list[tuple[str, Any]] = []
    traces: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, question))
            traces.append(self.headers["traceparent"])
            made = answer(question)
            try:
                self.send_response(made.status)
                for name, value in made.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(made.body)))
                self.end_headers()
                self.wfile.write(made.body)
            except OSError:  # who asked did not wait
                pass

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield MatcherServer(f"http://127.0.0.1:{server.server_port}", asked, traces)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def chosen(question: Any) -> Answer:
    """All candidates, the greatest UUID first."""
    uuids = sorted((each["uuid"] for each in question["candidates"]), reverse=True)
    return Answer(json.dumps({"candidates": uuids}).encode())
