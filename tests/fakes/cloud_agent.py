"""A cloudlet's agent as a real HTTP server on loopback, which can also misbehave.

`behave` is a function `(request) -> None` over the raw `BaseHTTPRequestHandler`; the default deploys.
`request.agent` is the agent that was asked.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from chalicelib.keys import json_form, parse_application_key

Behaviour = Callable[[BaseHTTPRequestHandler], None]


def deployment(app_uuid: str, key: bytes, **changed) -> dict:
    """A deployment as an agent answers it, with some fields changed."""
    return {
        "UUID": app_uuid,
        "ApplicationKey": json_form(key),
        "Status": "Deploying",
        "DeploymentName": "helloworld-0123456789",
        "Created": "2026-11-24T12:00:00Z",
        "TunnelConfig": {
            "publicKey": "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
            "allowedIPs": ["100.71.0.1/32", "100.71.0.16/29"],
            "endpoint": "192.0.2.7:51820",
            "address": ["100.71.0.17/32"],
            "dns": ["100.71.0.1", "helloworld-0123456789.sinfonia.internal"],
        },
        **changed,
    }


def asked(request: BaseHTTPRequestHandler) -> tuple[str, bytes]:
    """The app and the key of a request."""
    app_uuid, key = urlsplit(request.path).path.split("/")[-2:]
    return app_uuid, parse_application_key(key)


def send(
    request: BaseHTTPRequestHandler, body: bytes, status=200, kind="application/json", **headers
) -> None:
    """Answer a request."""
    request.send_response(status)
    request.send_header("Content-Type", kind)
    request.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)


def deploys(**changed) -> Behaviour:
    """Deploy, with some fields of the answer changed."""
    return lambda request: send(request, json.dumps([deployment(*asked(request), **changed)]).encode())


def declines(status: int, detail: str = "no room") -> Behaviour:
    """Answer with a problem."""
    body = json.dumps({"type": "about:blank", "title": "no", "status": status, "detail": detail}).encode()
    return lambda request: send(request, body, status, "application/problem+json")


def works(status: str = "Ready") -> Behaviour:
    """As a real agent: one backend for an app and key, found again, and removed when that is asked."""

    def behave(request: BaseHTTPRequestHandler) -> None:
        backends, backend = request.agent.backends, asked(request)
        if request.command == "POST":
            backends.add(backend)
        if request.command == "DELETE":
            backends.discard(backend)
            request.agent.removed.append(backend)
            return send(request, b"", 204)
        if backend not in backends:
            return declines(404, "nothing here")(request)
        return send(request, json.dumps([deployment(*backend, Status=status)]).encode())

    return behave


def hangs(request: BaseHTTPRequestHandler) -> None:
    """Never answer."""
    request.agent.released.wait(30)


def late(behave: Behaviour) -> Behaviour:
    """Not before the agent is `released`."""

    def wait_and_behave(request: BaseHTTPRequestHandler) -> None:
        request.agent.released.wait(30)
        behave(request)

    return wait_and_behave


class FakeAgent:
    """What was asked of the agent, and how it behaves from now on."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.backends: set[tuple[str, bytes]] = set()
        self.removed: list[tuple[str, bytes]] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.behave: Behaviour = deploys()
        self.released = threading.Event()  # set when the test is over: those that hang need hang no longer


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256  # beyond, a connection is only made at its second try, a second later


@contextmanager
def running_agent(behave: Behaviour | None = None) -> Iterator[FakeAgent]:
    """An agent on a free port of 127.0.0.1, until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        @property
        def agent(self) -> FakeAgent:
            return agent

        def handle_any(self) -> None:
            agent.requests.append((self.command, self.path, dict(self.headers)))
            with suppress(OSError):  # the caller has gone, as it should
                agent.behave(self)

        do_GET = do_POST = do_DELETE = handle_any  # noqa: N815 - http.server's names

        def log_message(self, *_arguments) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    agent = FakeAgent(f"http://127.0.0.1:{server.server_address[1]}/api/v1/deploy")
    if behave is not None:
        agent.behave = behave
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield agent
    finally:
        agent.released.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
