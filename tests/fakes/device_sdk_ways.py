"""Ways to several cloudlets without tunnels: each is a gateway on loopback, as slow as a test wants."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from device_sdk.errors import TunnelError
from device_sdk.keys import KeyPair
from device_sdk.target import Target
from device_sdk.tunnels.routes import TunnelPlan
from device_sdk.wire import Deployment
from tests.fakes.device_sdk_servers import at

KEY = KeyPair(b"\x01" * 32, b"\x63" * 32)
KEY_TEXT = base64.b64encode(KEY.public).decode()


def target(name: str, number: int, **changes: Any) -> Target:
    """What a root answers of the cloudlet `name`."""
    made = Deployment.from_json({**at(name, number, **changes), "ApplicationKey": KEY_TEXT})
    return Target.of(made, made.app_uuid, KEY)


class FakeGateway:
    """Answers after `delays` seconds, one after the other and then the last again. `silent`: no handshake;
    `greetings`: so many until one arrives; `deaf`: takes connections and says nothing. Transfers run at
    `mbps`, None: there are no such probes.
    """

    def __init__(
        self,
        *delays: float,
        silent: bool = False,
        deaf: bool = False,
        probes: bool = True,
        refuses: bool = False,
        mbps: float | None = None,
        status: str = "Ready",
        greetings: int = 1,
        number: int = 1,
    ) -> None:
        self.delays, self.silent, self.deaf, self.probes = list(delays) or [0.0], silent, deaf, probes
        self.refuses, self.mbps, self.status = refuses, mbps, status
        self.greetings, self.number = greetings, number
        self.released = threading.Event()
        self.asked: list[str] = []
        self.closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self._server.server_address[1]

    def wait(self, seconds: float | None = None) -> None:
        """As long as a round trip takes here, or so many seconds."""
        if seconds is None:
            seconds = self.delays.pop(0) if len(self.delays) > 1 else self.delays[0]
        self.closing.wait(seconds)

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(gateway: FakeGateway) -> type[BaseHTTPRequestHandler]:  # noqa: C901 - one short method for each request
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            gateway.asked.append(self.path)
            if gateway.deaf:
                gateway.closing.wait(30)
                self.close_connection = True
                return
            gateway.wait()
            if self.path.startswith("/api/v1/probe/download"):
                self._transfer(int(self.path.partition("bytes=")[2]), b"")
            elif self.path == "/api/v1/probe":
                self._answer(204 if gateway.probes else 404)
            elif self.path.startswith("/api/v1/deployment"):
                made = {k: v for k, v in at("x", gateway.number).items() if k != "Reason"}
                status = {"ApplicationKey": KEY_TEXT, "Status": gateway.status, "Reason": "no such image"}
                self._answer(200, json.dumps({**made, **status}).encode())
            else:
                self._answer(200 if self.path == "/" else 500, b"Hello")

        def do_POST(self) -> None:
            gateway.asked.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            self._transfer(1_000_000, b'{"bytes": 1000000}')

        def do_DELETE(self) -> None:
            gateway.released.set()
            self._answer(202)

        def _transfer(self, size: int, answer: bytes) -> None:
            if gateway.mbps is None:
                self._answer(503)
                return
            if answer:
                gateway.wait(size * 8 / 1e6 / gateway.mbps)
                self._answer(200, answer)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            for _ in range(10):
                gateway.wait(size / 10 * 8 / 1e6 / gateway.mbps)
                self.wfile.write(bytes(size // 10))

        def _answer(self, status: int, body: bytes = b"") -> None:
            self.send_response(status)
            if status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                return  # the device has gone

        def log_message(self, *_arguments: object) -> None:
            return

    return Handler


class FakeWay:
    """A way to one gateway."""

    def __init__(self, gateway: FakeGateway, plan: TunnelPlan) -> None:
        self.gateway, self.plan, self.dropped = gateway, plan, False
        self.greetings = 1

    def connect(self, _address: tuple[str, int], timeout: float) -> socket.socket:
        if self.dropped or self.gateway.silent:
            raise TimeoutError("no answer")
        self.gateway.wait()
        if self.gateway.refuses:
            raise ConnectionRefusedError
        return socket.create_connection(self.gateway.address, timeout)

    def handshake_seconds_ago(self) -> float | None:
        return None if self.gateway.silent or self.greetings < self.gateway.greetings else 0.1

    def greet_again(self) -> None:
        self.greetings += 1

    def received_bytes(self) -> int:
        return 0


class FakeWays:
    """A sandbox whose ways are those to `gateways`, by the last number of their endpoints' addresses; each
    takes `opening_seconds`.
    """

    opening_seconds = 0.0

    def __init__(self, gateways: Mapping[int, FakeGateway], broken: Mapping[int, Exception] | None = None):
        self.gateways, self.broken = gateways, broken or {}
        self.ways: list[FakeWay] = []
        self.closed = False
        self._leading: FakeWay | None = None

    def opener(self) -> Callable[[TunnelPlan, KeyPair], FakeWays]:
        def open_ways(plan: TunnelPlan, key: KeyPair) -> FakeWays:
            self.closed = False
            self._leading = self.stand_by(plan, key)
            return self

        return open_ways

    @property
    def leading(self) -> FakeWay:
        assert self._leading is not None
        return self._leading

    def stand_by(self, plan: TunnelPlan, _key: KeyPair) -> FakeWay:
        number = int(str(plan.endpoint[0]).rpartition(".")[2])
        if number in self.broken:
            raise self.broken[number]
        if self.closed:
            raise TunnelError("The tunnel is closed.")
        threading.Event().wait(self.opening_seconds)
        self.ways.append(FakeWay(self.gateways[number], plan))
        return self.ways[-1]

    def lead(self, way: FakeWay) -> FakeWay:
        before, self._leading = self.leading, way
        return before

    def drop(self, way: FakeWay) -> None:
        if way is not self._leading:
            way.dropped = True

    def connect(self, address: tuple[str, int], timeout: float) -> socket.socket:
        if self.closed:
            raise TunnelError("The tunnel is closed.")
        return self.leading.connect(address, timeout)

    def spawn(
        self, command: Sequence[str], environ: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, env=environ)

    def handshake_seconds_ago(self) -> float | None:
        return self.leading.handshake_seconds_ago()

    def close(self) -> None:
        self.closed = True
