"""The agent's servers on real sockets: what a WSGI test can't show."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from edge_agent.errors import SettingsError
from edge_agent.machine import has_ipv6
from edge_agent.option_values import Address
from edge_agent.serving.api import make_api
from edge_agent.serving.servers import serve, serve_names
from edge_agent.tunnels.names import Names
from tests.fakes.edge_agent_backends import HELLOWORLD
from tests.fakes.edge_agent_parts import Parts
from tests.fakes.edge_agent_roots import anybody

KEY = base64.b64encode(b"\xff" * 31 + b"\xf0").decode()
PATH = f"/api/v1/deploy/{HELLOWORLD}/{KEY}"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def port() -> Iterator[int]:
    port = free_port()
    close = serve(make_api(Parts(threads=1).deployments, anybody()), [Address("127.0.0.1", port)])
    yield port
    close()


def say(port: int, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send raw bytes; return status, headers and body of the answer."""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), headers, body


def post(path: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: agent", "Connection: close", *headers]
    if not any(header.startswith("Transfer-Encoding") for header in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def test_several_addresses_are_one_api_and_end_together() -> None:
    port = free_port()
    places = [Address("127.0.0.1", port), Address("127.0.0.2", port)]
    close = serve(make_api(Parts(threads=1).deployments, anybody()), places)
    try:
        for place in places:
            with socket.create_connection((place.host, port), 5) as connection:
                connection.sendall(b"GET /api/v1/health HTTP/1.0\r\n\r\n")
                assert connection.recv(65536).startswith(b"HTTP/1.0 200 ")
    finally:
        close()
    for place in places:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((place.host, port), 5)
    assert f"serve {port}" not in [thread.name for thread in threading.enumerate()]


def test_where_one_address_is_taken_none_is_kept() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
        with pytest.raises(SettingsError, match="in use"):
            serve(print, [Address("127.0.0.2", port), Address("127.0.0.1", port)])
        socket.create_server(("127.0.0.2", port)).close()


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_ipv6_is_served_beside_ipv4() -> None:
    port = free_port()
    api = make_api(Parts(threads=1).deployments, anybody())
    close = serve(api, [Address("127.0.0.1", port), Address("::1", port)])
    try:
        for host in ("127.0.0.1", "::1"):
            with socket.create_connection((host, port), 5) as connection:
                connection.sendall(b"GET /api/v1/health HTTP/1.0\r\n\r\n")
                assert connection.recv(65536).startswith(b"HTTP/1.0 200 ")
    finally:
        close()


def test_the_published_android_clients_path(port: int) -> None:
    status, headers, body = say(port, post(f"/{PATH}?wait=0"))
    assert (status, headers["Content-Type"]) == (200, "application/json"), body
    assert json.loads(body)[0]["ApplicationKey"] == KEY


@pytest.mark.parametrize(
    "path", [f"{PATH}%00", "/api/v1/deploy/%FF/%FE", f"{PATH}?results=%FF", "/%2e%2e/%2e%2e/x"]
)
def test_hostile_paths_are_answered(port: int, path: str) -> None:
    status, headers, _ = say(port, post(path))
    assert status in (400, 404)
    assert headers["Content-Type"] == "application/problem+json"


def test_bodies_of_a_megabyte(port: int) -> None:
    megabyte = b"x" * (1 << 20)
    status, headers, _ = say(port, post(PATH, megabyte))
    assert (status, headers["Content-Type"]) == (413, "application/problem+json")
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(megabyte), megabyte)
    status, headers, _ = say(port, post(PATH, chunked, "Transfer-Encoding: chunked"))
    assert (status, headers["Content-Type"]) == (413, "application/problem+json")


def test_idle_connections_keep_nobody_out(port: int) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))
        assert say(port, post(f"{PATH}?wait=0"))[0] == 200


def test_an_address_that_is_taken_is_the_operators_to_change() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("127.0.0.1", int(taken.getsockname()[1]))
        with pytest.raises(SettingsError, match="in use"):
            serve(make_api(Parts().deployments, anybody()), [address])
    with pytest.raises(SettingsError, match="assign"):
        serve_names(Names(Parts().deployments.zone, "x", IPv4Address), Address("192.0.2.1", 53))
