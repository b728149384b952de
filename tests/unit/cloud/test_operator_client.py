"""The operator's client against a server of ours that answers as told."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from operator_client import NotAllowed, OperatorError, Refused, RootAway, RootClient, printable

TOKEN = "sf_0123456789abcdef_secret"


class Server:
    """Answers with the next of `answers`: (status, headers, body). Keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.asked.append((self.command, self.path, headers, body))
                status, given, content = outer.answers.pop(0)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **given}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_DELETE = answer  # noqa: N815

            def log_message(self, *_words) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def say(self, status: int, body=None, **headers: str) -> None:
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answers.append(
            (status, {name.replace("_", "-"): value for name, value in headers.items()}, content)
        )


@pytest.fixture(scope="module")
def started() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.http.shutdown()
    server.http.server_close()
    thread.join(5)


@pytest.fixture
def server(started: Server) -> Server:
    started.answers.clear()
    started.asked.clear()
    return started


class Pauses(list):
    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def client(server: Server, pauses: Pauses | None = None) -> RootClient:
    return RootClient(server.url, TOKEN, seconds=5, pause=Pauses() if pauses is None else pauses)


def test_a_call_carries_the_token_and_escapes_its_path(server):
    server.say(200, {"x": 1}, ETag='"3"')
    answer = client(server).call("PUT", "tenants", "a/../b c?", body={"y": 2}, version='"2"')
    ((method, path, headers, body),) = server.asked
    assert (method, path) == ("PUT", "/api/v1/tenants/a%2F..%2Fb%20c%3F")
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert headers["if-match"] == '"2"'
    assert json.loads(body) == {"y": 2}
    assert (answer.body, answer.version) == ({"x": 1}, '"3"')


def test_a_netrc_does_not_take_the_tokens_place(server, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server.say(200, {})
    client(server).call("GET", "tenants")
    assert server.asked[0][2]["authorization"] == f"Bearer {TOKEN}"


def test_pages_follow_the_link(server):
    server.say(200, [1, 2], Link='<?limit=2&after=b>; rel="next"')
    server.say(200, [], Link=f"<{server.url}/api/v1/tenants?after=c>; rel=next")
    server.say(200, [3])
    assert list(client(server).pages("tenants", query={"limit": "2"})) == [[1, 2], [], [3]]
    assert [path for _, path, _, _ in server.asked] == [
        "/api/v1/tenants?limit=2",
        "/api/v1/tenants?limit=2&after=b",
        "/api/v1/tenants?after=c",
    ]


@pytest.mark.parametrize("link", ["http://192.0.2.1/api/v1/tenants", "//192.0.2.1/x", "/api/v1/tenants"])
def test_a_next_page_elsewhere_or_without_end_is_not_followed(server, link):
    server.say(200, [], Link=f'<{link}>; rel="next"')
    with pytest.raises(RootAway, match="next page"):
        list(client(server).pages("tenants"))


def test_a_redirect_does_not_take_the_token_along(server):
    server.say(307, Location="http://192.0.2.1/")
    with pytest.raises(RootAway, match="307"):
        client(server).call("GET", "tenants")
    assert len(server.asked) == 1


def test_it_waits_as_asked_and_tries_again(server):
    pauses = Pauses()
    server.say(429, {"title": "Too many requests"}, Retry_After="7")
    server.say(503, {"title": "Unavailable"}, Retry_After="2")
    server.say(200, [])
    assert client(server, pauses).call("GET", "tenants").body == []
    assert pauses == [7.0, 2.0]


@pytest.mark.parametrize("advice", ["86400", "", "-1", "soon", "9" * 400])
def test_it_does_not_wait_for_long_or_for_nothing(server, advice):
    pauses = Pauses()
    server.say(429, {"title": "Too many requests", "detail": "Too many deploys."}, Retry_After=advice)
    with pytest.raises(RootAway, match="Too many deploys"):
        client(server, pauses).call("GET", "tenants")
    assert pauses == []


def test_it_gives_up(server):
    for _ in range(4):
        server.say(429, {"title": "Too many requests"}, Retry_After="1")
    with pytest.raises(RootAway):
        client(server).call("GET", "tenants")
    assert len(server.asked) == 4


def test_what_may_have_happened_is_not_done_twice(server):
    server.say(503, {"title": "Unavailable"}, Retry_After="1")
    with pytest.raises(RootAway):
        client(server).call("POST", "tenants", "acme", "tokens", body={})
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("status", "kind", "exit_status"),
    [
        (400, Refused, 2),
        (404, Refused, 2),
        (409, Refused, 2),
        (401, NotAllowed, 4),
        (403, NotAllowed, 4),
        (500, RootAway, 3),
        (502, RootAway, 3),
    ],
)
def test_refusals_say_what_to_do(server, status, kind, exit_status):
    server.say(status, {"title": "Title", "detail": "What is\nwrong\x1b[31m."})
    with pytest.raises(OperatorError, match="What is wrong") as refused:
        client(server).call("GET", "tenants")
    assert type(refused.value) is kind
    assert (refused.value.exit_status, refused.value.status) == (exit_status, status)
    assert "\x1b" not in str(refused.value)


@pytest.mark.parametrize("body", [b"<html>", b"[1", b'"x"', b"null", b"\xff", b"[" * 50_000, b""])
def test_errors_and_answers_of_any_kind_are_survived(server, body):
    server.say(502, body)
    with pytest.raises(RootAway):
        client(server).call("GET", "tenants")
    server.say(200, body)
    with pytest.raises(RootAway, match="nonsense"):
        list(client(server).pages("tenants"))


def test_an_endless_answer_ends(server):
    server.say(200, b" " * (17 * 2**20))
    with pytest.raises(RootAway, match="16 MiB"):
        client(server).call("GET", "tenants")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "root.example.org",
        "ftp://x",
        "https://",
        "https://u:p@x",
        "https://x?y",
        "https://x#y",
        "https://x:0",
        "http://root.example.org",
        "http://192.0.2.1",
        "https://x:99999",
        "https://x y",
        "http://127.0.0.1.example",
    ],
)
def test_urls_that_are_none_or_would_show_the_token(url):
    with pytest.raises(Refused):
        RootClient(url, TOKEN, seconds=1, pause=Pauses())


@pytest.mark.parametrize(
    "url", ["https://x", "http://127.0.0.1:8080/", "http://localhost", "http://[::1]:1/"]
)
def test_urls_that_are_fine(url):
    RootClient(url, TOKEN, seconds=1, pause=Pauses())
    RootClient("http://192.0.2.1", TOKEN, seconds=1, pause=Pauses(), plain=True)


def test_nobody_there_is_said_in_one_line():
    with pytest.raises(RootAway) as away:
        RootClient("http://127.0.0.1:1", TOKEN, seconds=1, pause=Pauses()).call("GET", "tenants")
    assert "refused" in str(away.value)
    assert len(str(away.value).splitlines()) == 1


def test_text_is_cut_and_cleaned():
    assert printable("a\n\x1b[31m b\u202e", 100) == "a [31m b"
    assert printable("x" * 600) == "x" * 499 + "…"
