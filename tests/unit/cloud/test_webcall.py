"""Calls to servers that misbehave, over real sockets."""

import socket
import threading
import time
from contextlib import contextmanager

import pytest
from chalicelib.webcall import CallError, WebCaller, _public

from tests.fakes.cloud_agent import running_agent, send


def call(url: str, method="GET", seconds=2.0, most_bytes=1000, allow_private=True):
    caller = WebCaller(allow_private=allow_private, monotonic=time.monotonic)
    return caller.call(method, url, {"X-Test": "1"}, seconds=seconds, most_bytes=most_bytes)


@contextmanager
def raw_server(talk):
    """A TCP server for one connection that says what `talk(connection)` says."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()

        def run() -> None:
            try:
                connection, _ = server.accept()
                with connection:
                    connection.recv(65536)
                    talk(connection, stop)
            except OSError:
                pass

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/x"
        stop.set()
        server.close()
        thread.join(5)


def trickle(text: bytes):
    def talk(connection, stop) -> None:
        for byte in text:
            connection.sendall(bytes([byte]))
            if stop.wait(0.05):
                return

    return talk


def test_a_plain_answer():
    with running_agent(lambda r: send(r, b"{}", kind="Application/JSON; charset=utf-8")) as server:
        answer = call(f"{server.url}?a=b", "POST")
    assert (answer.status, answer.content_type, answer.body) == (200, "application/json", b"{}")
    method, path, headers = server.requests[0]
    assert (method, path) == ("POST", "/api/v1/deploy?a=b")
    assert headers["X-Test"] == "1"
    assert headers["Content-Length"] == "0"


def test_no_proxy_of_the_environment_is_used(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with running_agent() as server:
        assert call(server.url + "/00000000-0000-0000-0000-000000000000/" + "A" * 43).status == 200


def test_a_redirect_is_not_followed():
    with running_agent() as other, running_agent(lambda r: send(r, b"", 307, Location=other.url)) as server:
        assert call(server.url, "POST").status == 307
    assert other.requests == []


@pytest.mark.parametrize(
    ("talk", "complaint"),
    [
        (lambda _c, stop: stop.wait(5), "in time"),
        (trickle(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 100), "in time"),
        (trickle(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 500), "in time"),
        (
            lambda c, _s: c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhalf"),
            "could not be called",
        ),
        (lambda c, _s: c.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"), "could not be called"),
        (lambda c, _s: c.sendall(b"HTTP/1.1 abc\r\n\r\n"), "could not be called"),
        (lambda c, _s: c.sendall(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 5000), "could not be called"),
        (lambda c, _s: c.sendall(b"HTTP/1.1 200 OK\r\nA: " + b"b" * 100_000), "could not be called"),
        (lambda c, _s: c.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001), "more than 1000 bytes"),
        (
            lambda c, _s: c.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
            "could not be called",
        ),
        (lambda _c, _s: None, "could not be called"),
    ],
)
def test_servers_that_misbehave(talk, complaint):
    begun = time.monotonic()
    with raw_server(talk) as url, pytest.raises(CallError, match=complaint):
        call(url, seconds=0.5)
    assert time.monotonic() - begun < 2


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(CallError, match="could not be called"):
        call(f"http://127.0.0.1:{port}/")


def test_tls_to_a_server_without_it():
    with running_agent() as server, pytest.raises(CallError, match="could not be called"):
        call(server.url.replace("http:", "https:"))


@pytest.mark.parametrize(
    "url", ["", "ftp://x/", "http:///x", "http://a@b/", "http://[::1", "http://no such host/"]
)
def test_urls_that_can_not_be_called(url):
    with pytest.raises(CallError):
        call(url)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "0x7f000001", "2130706433", "0.0.0.0", "[::1]"]
)
def test_private_addresses_are_refused_however_they_are_written(host):
    with running_agent() as server:
        port = server.url.split(":")[2].split("/")[0]
        with pytest.raises(CallError, match=r"private|could not"):
            call(f"http://{host}:{port}/", allow_private=False)
    assert server.requests == []


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("10.0.0.1", False),
        ("172.16.3.4", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("192.0.2.1", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fd00:ec2::254", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("2002:0a00:0001::1", False),
        ("64:ff9b::10.0.0.1", False),
        ("64:ff9b::8.8.8.8", True),
    ],
)
def test_which_addresses_are_public(address, public):
    assert _public(address) is public
