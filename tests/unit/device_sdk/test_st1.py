import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml

from device_sdk import problems
from device_sdk.calls import st1
from device_sdk.calls.caller import Caller
from device_sdk.calls.st1 import Server, split_link
from device_sdk.errors import (
    DeploymentError,
    NoCloudletError,
    NotFoundError,
    RequestError,
    RootError,
    TooManyError,
)
from device_sdk.wire import DeviceContext, Hardware, Location, Measurement
from tests.fakes.device_sdk_server import Reply, Request, ScriptedServer, answer, deployment

APP = UUID(int=0)
KEY = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw"
Serve = Callable[[Reply], ScriptedServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[ScriptedServer] = []

    def start(reply: Reply) -> ScriptedServer:
        servers.append(ScriptedServer(reply))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def deploy(
    server: ScriptedServer, context: DeviceContext | None = None, timeout: float = 5, results: int = 1
):
    return Server(server.url).deploy(
        APP, KEY, results=results, context=context or DeviceContext(), timeout=timeout
    )


def test_the_call_is_the_contracts(serve: Serve) -> None:
    server = serve(answer(200, [deployment()]))
    context = DeviceContext(Location(40.4, -79.9, 50), hardware=Hardware(cores=8))
    assert deploy(server, context, results=2)[0].cloudlet is not None
    request = server.requests[0]
    assert (request.method, request.target) == ("POST", f"/api/v1/deploy/{APP}/{KEY}?results=2&wait=0")
    assert json.loads(request.body) == {
        "location": {"latitude": 40.4, "longitude": -79.9, "accuracy_m": 50},
        "hardware": {"cores": 8},
    }
    assert request.headers["content-type"] == "application/json"


def test_a_base_path_and_a_trailing_slash_are_kept_and_dropped(serve: Serve) -> None:
    server = serve(answer(200, [deployment()]))
    Server(server.url + "/stage/").deploy(APP, KEY, results=1, context=DeviceContext(), timeout=5)
    assert server.requests[0].target.startswith("/stage/api/v1/deploy/")


def test_looking_without_deploying_tells_the_place_in_a_header(serve: Serve) -> None:
    server = serve(answer(200, [{"UUID": str(APP), "Endpoint": "http://192.0.2.7:7070/api/v1/deploy"}]))
    context = DeviceContext(Location(40.4, -79.9))
    assert len(Server(server.url).candidates(APP, results=3, context=context, timeout=5)) == 1
    request = server.requests[0]
    assert (request.method, request.target) == ("GET", f"/api/v1/candidates/{APP}?results=3")
    assert request.headers["x-location"] == "40.4,-79.9"
    assert request.body == b""


@pytest.mark.parametrize(("cloudlet", "query"), [(None, ""), (UUID(int=7), f"?keep={UUID(int=7)}")])
def test_letting_go_of_all_or_of_all_but_one(serve: Serve, cloudlet: UUID | None, query: str) -> None:
    server = serve(answer(204, None))
    Server(server.url).keep(APP, KEY, cloudlet, timeout=5)
    request = server.requests[0]
    assert (request.method, request.target) == ("DELETE", f"/api/v1/deploy/{APP}/{KEY}{query}")


def test_one_cloudlets_nonsense_does_not_cost_the_others_answers(serve: Serve) -> None:
    server = serve(answer(200, [{"UUID": 1}, deployment(), "x", deployment()]))
    assert len(deploy(server)) == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b"null", b'"x"', b"[1]", b"[{}]", b"[NaN]", b"\xff\xfe", b"[" * 50_000],
    ids=lambda body: body[:8],
)
def test_rubbish_is_named(serve: Serve, body: bytes) -> None:
    with pytest.raises(RootError, match="answers nonsense"):
        deploy(serve(answer(200, body)))


@pytest.mark.parametrize("status", [201, 202, 204, 206, 302, 418, 500, 504])
def test_other_statuses_are_no_answers(serve: Serve, status: int) -> None:
    with pytest.raises(RootError, match=str(status)):
        deploy(serve(answer(status, [deployment()])))


def _drip(first: bytes) -> Reply:
    """Send one byte at a time, for ever: no socket's time-out fires."""

    def reply(_request: Request, connection: socket.socket) -> None:
        connection.sendall(first)
        end, pace = time.monotonic() + 2.5, threading.Event()
        while time.monotonic() < end:
            connection.sendall(b"x")
            pace.wait(0.05)

    return reply


@pytest.mark.parametrize(
    "reply",
    [
        lambda _request, connection: connection.recv(1),
        _drip(b""),
        _drip(b"HTTP/1.1 200 OK\r\nX-A: "),
        _drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"),
    ],
    ids=["silent", "status", "header", "body"],
)
def test_a_root_that_hangs_costs_the_time_that_was_given(serve: Serve, reply: Reply) -> None:
    started = time.monotonic()
    with pytest.raises(RootError, match=r"did not answer within 0.3 s|Read timed out"):
        deploy(serve(reply), timeout=0.3)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    "head",
    ["Content-Length: 10000000", "Transfer-Encoding: chunked", "X: y"],
    ids=["told", "chunked", "until the end"],
)
def test_an_answer_without_end_is_cut(serve: Serve, head: str) -> None:
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n" if "chunked" in head else b"x" * 0x10000

    def reply(_request: Request, connection: socket.socket) -> None:
        connection.sendall(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode())
        for _ in range(1000):
            connection.sendall(chunk)

    with pytest.raises(RootError, match="too much data"):
        deploy(serve(reply))


def test_a_compressed_bomb_is_not_opened(serve: Serve) -> None:
    import gzip

    bomb = gzip.compress(b" " * 50_000_000)
    with pytest.raises(RootError):
        deploy(serve(answer(200, bomb, {"Content-Encoding": "gzip"})))


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_that_keeps_the_path_is_followed_on_the_same_host(serve: Serve, status: int) -> None:
    there = serve(answer(200, [deployment()]))
    here = serve(
        lambda request, connection: answer(status, b"", {"Location": there.url + request.target})(
            request, connection
        )
    )
    context = DeviceContext(Location(1, 2))
    assert len(deploy(here, context)) == 1
    assert there.requests[0].method == "POST"
    assert there.requests[0].target == here.requests[0].target
    assert there.requests[0].body == here.requests[0].body


@pytest.mark.parametrize(
    ("status", "location"),
    [
        (301, "{same}"),
        (302, "{same}"),
        (303, "{same}"),
        (307, "/elsewhere"),
        (307, "http://192.0.2.1{path}"),
        (307, "http://localhost{path}"),
        (307, "ftp://127.0.0.1{path}"),
        (308, "file:///etc/passwd"),
        (307, "http://user:secret@127.0.0.1{path}"),
        (307, "http://[{path}"),
    ],
)
def test_a_redirect_elsewhere_is_not_followed(serve: Serve, status: int, location: str) -> None:
    def reply(request: Request, connection: socket.socket) -> None:
        path = request.target.split("?")[0]
        to = location.replace("{same}", server.url + path).replace("{path}", path)
        answer(status, b"", {"Location": to})(request, connection)

    server = serve(reply)
    with pytest.raises(RootError):
        deploy(server)
    assert len(server.requests) == 1


def test_redirects_without_end_end(serve: Serve) -> None:
    server = serve(
        lambda request, connection: answer(307, b"", {"Location": request.target})(request, connection)
    )
    with pytest.raises(RootError, match="without end"):
        deploy(server)
    assert len(server.requests) == st1.MAX_REDIRECTS + 1


def problem(kind: str, status: int, **more: Any) -> dict[str, Any]:
    return {"type": f"urn:sinfonia:problem:{kind}", "title": "T", "status": status, "detail": "why", **more}


@pytest.mark.parametrize(
    ("kind", "status", "error"),
    [
        ("invalid-request", 400, RequestError),
        ("not-found", 404, NotFoundError),
        ("forbidden", 403, RequestError),
        ("recipe-unusable", 422, DeploymentError),
        ("deploy-failed", 502, DeploymentError),
        ("no-cloudlet", 503, NoCloudletError),
        ("unavailable", 503, RootError),
        ("internal", 500, RootError),
        ("of-tomorrow", 400, RequestError),
        ("of-tomorrow", 503, RootError),
    ],
)
def test_problems_become_errors_that_say_why(serve: Serve, kind: str, status: int, error: type) -> None:
    with pytest.raises(error, match=rf"\({status}\): why") as caught:
        deploy(serve(answer(status, problem(kind, status))))
    assert type(caught.value) is error


@pytest.mark.parametrize(("advice", "seconds"), [("7", 7.0), ("", None), ("x", None), ("-1", None)])
def test_advice_on_when_to_ask_again_is_kept(serve: Serve, advice: str, seconds: float | None) -> None:
    with pytest.raises(NoCloudletError) as caught:
        deploy(serve(answer(503, problem("no-cloudlet", 503), {"Retry-After": advice})))
    assert caught.value.retry_after_seconds == seconds


def test_an_error_in_plain_text_is_shown_without_control_characters(serve: Serve) -> None:
    with pytest.raises(RequestError) as caught:
        deploy(serve(answer(400, b"no\x1b[2J\nway" + b"x" * 1000)))
    assert "no [2J way" in str(caught.value)
    assert len(str(caught.value)) < 400


def test_every_problem_of_the_contract_is_mapped() -> None:
    text = (Path(__file__).parents[3] / "cloud/chalicelib/openapi.yaml").read_text()
    types = yaml.safe_load(text)["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]
    assert set(problems.PROBLEMS) == set(types)


def test_a_root_that_is_not_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(RootError, match=rf"127.0.0.1:{port} can't be reached \(Connection refused\)"):
        Server(f"http://127.0.0.1:{port}").health(5)


@pytest.mark.parametrize(
    "url",
    [
        *("", "root", "ftp://x", "http://", "http://x:99999", "http://a b"),
        *("http://x/?q", "http://x#f", "http://[", "http://x\n"),
    ],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(RequestError, match="it looks like"):
        Server(url)


def test_neighbours_are_not_asked_through_a_proxy(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = serve(answer(200, {"status": "ok"}))
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.delenv("no_proxy", raising=False)
    server = serve(answer(200, {"status": "ok"}))
    Server(server.url, proxies=False).health(5)
    assert (len(server.requests), len(proxy.requests)) == (1, 0)


@pytest.mark.parametrize("body", [{}, {"status": "ill"}, [], {"status": "ok", "uuid": "x"}])
def test_a_server_that_is_not_well_says_so(serve: Serve, body: Any) -> None:
    with pytest.raises(RootError, match="nonsense"):
        Server(serve(answer(200, body)).url).health(5)


def test_messages_never_hold_a_key(serve: Serve) -> None:
    with pytest.raises(RootError) as caught:
        deploy(serve(answer(500, b"")))
    assert not re.search(KEY[:20], str(caught.value))


CALLER = Caller("sf_1_secret", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")


def ask(server: ScriptedServer, caller: Caller = CALLER):
    return Server(server.url, caller).deploy(APP, KEY, results=1, context=DeviceContext(), timeout=5)


def test_token_and_trace_go_with_the_call(serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server = serve(answer(200, [deployment()]))
    ask(server)
    assert server.requests[0].headers["authorization"] == "Bearer sf_1_secret"
    assert server.requests[0].headers["traceparent"] == CALLER.trace


def test_a_redirect_elsewhere_gets_no_token(serve: Serve) -> None:
    there = serve(answer(200, [deployment()]))
    here = serve(
        lambda request, connection: answer(307, b"", {"Location": there.url + request.target})(
            request, connection
        )
    )
    ask(here)
    assert "authorization" in here.requests[0].headers
    assert "authorization" not in there.requests[0].headers
    assert there.requests[0].headers["traceparent"] == CALLER.trace


def test_a_matcher_that_failed_is_told_as_a_note(serve: Serve) -> None:
    notes: list[str] = []
    server = serve(answer(200, [deployment()], {"X-Sinfonia-Matcher": "fallback; it took more than 0.8 s"}))
    ask(server, Caller(note=notes.append))
    assert notes == ["matcher: fallback; it took more than 0.8 s"]


@pytest.mark.parametrize(
    ("advice", "seconds", "when"), [("12", 12.0, "in 12 s"), ("soon", None, "later"), ("", None, "later")]
)
def test_too_many_calls_say_when_to_try_again(
    serve: Serve, advice: str, seconds: float | None, when: str
) -> None:
    body = problem("too-many-requests", 429)
    with pytest.raises(TooManyError, match=rf"why\. Try again {when}\.") as busy:
        ask(serve(answer(429, body, {"Retry-After": advice})))
    assert busy.value.retry_after_seconds == seconds
    with pytest.raises(TooManyError):
        ask(serve(answer(429, b"slow down")))


def test_an_app_that_wants_a_token_says_how_to_give_one(serve: Serve) -> None:
    server = serve(answer(401, problem("unauthorized", 401)))
    with pytest.raises(RequestError, match="SINFONIA_TOKEN"):
        ask(server, Caller())
    with pytest.raises(RequestError) as refused:
        ask(server)
    assert "SINFONIA_TOKEN" not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_what_was_measured_is_told_and_nothing_is_expected_back(serve: Serve) -> None:
    server = serve(answer(204, b""))
    Server(server.url).measured(APP, Measurement(UUID(int=7), 11.41234), 5)
    request = server.requests[0]
    assert (request.method, request.target) == ("POST", f"/api/v1/measurements/{APP}")
    assert json.loads(request.body) == [{"cloudlet": str(UUID(int=7)), "rtt_ms": 11.412}]
    with pytest.raises(RootError):
        Server(serve(answer(500, b"")).url).measured(APP, Measurement(UUID(int=7), 1), 5)


@pytest.mark.parametrize(
    ("url", "plain", "link"),
    [
        ("http://[fe80::7%25enP2p1s0]:7070", "http://[fe80::7]:7070", "enP2p1s0"),
        ("http://[FE80::7%25a%b]", "http://[FE80::7]", "a%b"),
        ("http://[2001:db8::7]:7070", "http://[2001:db8::7]:7070", ""),
        ("https://root.example/%25eth0]", "https://root.example/%25eth0]", ""),
        ("http://[fe80::7%eth0]:7070", "http://[fe80::7%eth0]:7070", ""),
    ],
)
def test_a_link_is_this_devices_own_affair(url: str, plain: str, link: str) -> None:
    assert split_link(url) == (plain, link)


def test_a_link_that_is_gone_is_an_error_in_a_line() -> None:
    with pytest.raises(RootError, match="can't be reached"):
        Server("http://[fe80::7%25nowhere]:7070").health(2)
