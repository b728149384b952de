"""Gateways that misbehave; those that behave are in tests/ports/test_tunnel.py."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import pytest

from device_sdk.errors import DeploymentError, TunnelError
from device_sdk.tunnels.readiness import Gateway
from device_sdk.tunnels.routes import StatusAddress
from tests.fakes.device_sdk_server import Reply, Request, ScriptedServer, answer, deployment

Behave = Callable[[Reply], Gateway]


@pytest.fixture
def behave() -> Iterator[Behave]:
    servers: list[ScriptedServer] = []

    def start(reply: Reply) -> Gateway:
        servers.append(ScriptedServer(reply))
        port = urlsplit(servers[-1].url).port
        return Gateway(
            StatusAddress("100.71.0.1", 80, "/api/v1/deployment"),
            lambda _address, timeout: socket.create_connection(("127.0.0.1", port), timeout),
            time.monotonic,
        )

    yield start
    for server in servers:
        server.close()


def in_turn(*replies: Reply) -> Reply:
    """Each reply once, the last one from then on."""
    turn = count()
    return lambda request, connection: replies[min(next(turn), len(replies) - 1)](request, connection)


def ignore(_text: str) -> None:
    return


def test_a_gateway_that_stumbles_is_asked_again(behave: Behave) -> None:
    gateway = behave(
        in_turn(
            lambda _request, _connection: None,
            answer(500, b""),
            answer(200, b"<html>"),
            answer(200, {"UUID": 1}),
            answer(200, deployment(Status="Ready")),
        )
    )
    assert gateway.wait_ready(5, ignore).status == "Ready"


def test_a_gateway_that_does_not_hold_its_answers_is_not_hammered(behave: Behave) -> None:
    asked: list[Request] = []

    def reply(request: Request, connection: socket.socket) -> None:
        asked.append(request)
        answer(200, deployment(Reason="starting"))(request, connection)

    with pytest.raises(DeploymentError, match=r"not ready within 1 s: starting"):
        behave(reply).wait_ready(1, ignore)
    assert 3 <= len(asked) <= 8
    assert [request.target.partition("wait=")[2][:2] for request in asked[:2]] == ["0.", "0."]


def test_the_questions_are_long_polls(behave: Behave) -> None:
    asked: list[str] = []

    def reply(request: Request, connection: socket.socket) -> None:
        asked.append(request.target)
        ready = len(asked) > 1
        answer(200, deployment(Status="Ready" if ready else "Deploying"))(request, connection)

    behave(reply).wait_ready(60, ignore)
    assert asked == ["/api/v1/deployment?wait=0.000", "/api/v1/deployment?wait=10.000"]


@pytest.mark.parametrize(
    "body",
    [b"x" * 100_000, b"[" * 50_000, b"", b"\xff", b"NaN"],
    ids=["large", "deep", "empty", "binary", "nan"],
)
def test_rubbish_ends_with_the_time_that_was_given(behave: Behave, body: bytes) -> None:
    with pytest.raises(TunnelError, match="Nothing answered through the tunnel within 0"):
        behave(answer(200, body)).wait_ready(0.5, ignore)


def test_a_gateway_that_sends_a_byte_at_a_time_ends_with_it_too(behave: Behave) -> None:
    def reply(_request: Request, connection: socket.socket) -> None:
        end, pace = time.monotonic() + 3, threading.Event()
        while time.monotonic() < end:
            connection.sendall(b"H")
            pace.wait(0.02)

    started = time.monotonic()
    with pytest.raises(TunnelError):
        behave(reply).wait_ready(0.5, ignore)
    assert time.monotonic() - started < 2.5


def test_reasons_are_handed_on_clean(behave: Behave) -> None:
    heard: list[str] = []
    gateway = behave(
        in_turn(answer(200, deployment(Reason="a\x1b[31m\nb")), answer(200, deployment(Status="Ready")))
    )
    gateway.wait_ready(5, heard.append)
    assert heard == ["a [31m b"]


@pytest.mark.parametrize("status", [200, 202, 204, 404])
def test_released_means_released(behave: Behave, status: int) -> None:
    behave(answer(status, b"")).release(2)


@pytest.mark.parametrize(
    "reply", [answer(500, b""), lambda _request, _connection: None], ids=["500", "nothing"]
)
def test_a_release_that_fails_says_so(behave: Behave, reply: Any) -> None:
    with pytest.raises(TunnelError, match="can't be released"):
        behave(reply).release(1)
