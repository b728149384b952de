"""Talking to roots, over real HTTP to a small root that does what a test tells it."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.deployments.requirements import Hardware
from edge_agent.roots.root_calls import RootCalls, Signer
from edge_agent.roots.root_trust import RootTrust
from edge_agent.roots.root_wire import Command, Registration, Usage
from edge_agent.roots.roots import Root, Self
from edge_agent.serving.signatures import PublicKey, Signed, sign
from edge_agent.sessions import make_session
from edge_agent.wire import Resources
from tests.fakes.edge_agent_parts import AGENT, Clock
from tests.fakes.edge_agent_roots import NOW, SigningRoot
from tests.lab.machine import poll
from tests.unit.edge_agent.test_wire import holds

KEY = Ed25519PrivateKey.generate()
PUBLIC = PublicKey(KEY.public_key().public_bytes_raw())
APP = uuid.UUID(int=0)
LEASE = {"lease_token": "token-1", "interval_seconds": 15, "lease_seconds": 50}


class SmallRoot:
    """Answers from `script` (status, body, headers), the last one for ever; keeps what it heard."""

    def __init__(self) -> None:
        self.script: list[tuple[int, Any, dict[str, str]]] = [(200, LEASE, {})]
        self.heard: list[tuple[str, str, Any, str | None]] = []
        self.signed: list[tuple[str | None, bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                token = self.headers.get("Authorization")
                outer.heard.append((self.command, self.path, json.loads(body or b"null"), token))
                outer.signed.append((self.headers.get("X-Sinfonia-Signature"), body))
                status, answer, headers = outer.script.pop(0) if len(outer.script) > 1 else outer.script[0]
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(0 if status == 204 else len(data)))
                self.end_headers()
                if status != 204:
                    self.wfile.write(data)

            do_PUT = do_POST = do_DELETE = do_GET = handle_any  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def said(self) -> list[str]:
        return [f"{method} {path.removeprefix('/api/v1/cloudlets')}" for method, path, _, _ in self.heard]


@pytest.fixture
def small() -> Iterator[SmallRoot]:
    small = SmallRoot()
    yield small
    small.server.shutdown()
    small.server.server_close()


class Outbox:
    """Usage to be told, 64 at a time."""

    def __init__(self, *entries: Usage) -> None:
        self.entries = list(entries)

    def pending(self, _root: str) -> list[Usage]:
        return self.entries[:64]

    def done(self, _root: str, entries: Any) -> None:
        self.entries = [entry for entry in self.entries if entry not in entries]


class Agent:
    """One root's side of an agent: its `root`, and what a test may change."""

    def __init__(self, url: str, folder: Path, measure: Any = None, **changes: Any) -> None:
        self.registration = Registration(
            "http://192.0.2.7:7070/api/v1/deploy",
            7,
            "pittsburgh-1",
            15.0,
            accepted_clients=("192.0.2.0/24",),
            rejected_clients=("192.0.2.128/25",),
        )
        self.draining = False
        self.cached: tuple[uuid.UUID, ...] = ()
        self.hardware = Hardware()
        self.outbox = Outbox()
        self.commands: list[Command] = []
        self.trust = RootTrust(url, folder, Clock(), lambda: NOW)
        me = Self(
            replace(self.registration, **changes),
            measure or (lambda: Resources.of({"cpu_ratio": 0.25})),
            lambda: 1_000,
            lambda: self.draining,
            lambda: self.cached,
            lambda: self.hardware,
        )
        calls = calls_of(url, self.trust)
        self.root = Root(calls, me, random.Random(1), self.outbox, self.commands.extend)


def calls_of(url: str, trust: RootTrust) -> RootCalls:
    session = make_session(time.monotonic)
    session.trust_env = False
    return RootCalls(url, AGENT, session, trust, Signer(PUBLIC, KEY.sign))


@pytest.fixture
def agent_of(tmp_path: Path) -> Any:
    return lambda url, measure=None: Agent(url, tmp_path, measure).root


def test_register_then_keepalives_then_goodbye(agent_of: Any, small: SmallRoot) -> None:
    small.script = [
        (200, LEASE, {}),
        (200, {"interval_seconds": 30, "lease_seconds": 99}, {}),
        (200, {**LEASE, "lease_token": "token-2"}, {}),
        (204, {}, {}),
    ]
    root = agent_of(small.url + "/")
    pauses = [root.step() for _ in range(3)]
    root.goodbye()
    assert small.said == [
        f"PUT /{AGENT}",
        f"POST /{AGENT}/keepalive",
        f"POST /{AGENT}/keepalive",
        f"DELETE /{AGENT}",
    ]
    holds("Registration", small.heard[0][2])
    assert small.heard[0][2]["resources"] == {"cpu_ratio": 0.25}
    assert [body["sequence"] for _, _, body, _ in small.heard[1:3]] == [1, 2]
    assert [token for *_, token in small.heard] == [
        None,
        "Bearer token-1",
        "Bearer token-1",
        "Bearer token-2",
    ]
    assert 12 <= pauses[0] <= 15
    assert 24 <= pauses[1] <= 30


def test_a_lost_lease_is_registered_again(agent_of: Any, small: SmallRoot) -> None:
    for status in (410, 401, 409):
        small.heard.clear()
        small.script = [(200, LEASE, {}), (status, {}, {}), (200, LEASE, {}), (200, LEASE, {})]
        root = agent_of(small.url)
        pauses = [root.step() for _ in range(4)]
        assert small.said == [
            f"PUT /{AGENT}",
            f"POST /{AGENT}/keepalive",
            f"PUT /{AGENT}",
            f"POST /{AGENT}/keepalive",
        ]
        assert pauses[1] <= 1.0
        assert [small.heard[heard][2]["sequence"] for heard in (1, 3)] == [1, 2], "the root keeps its own"


def test_a_standing_incarnation_is_passed_at_that_root_alone(agent_of: Any, small: SmallRoot) -> None:
    small.script = [(409, {"incarnation": 99}, {}), (200, LEASE, {})]
    root = agent_of(small.url)
    root.step()
    root.step()
    assert [body["incarnation"] for _, _, body, _ in small.heard] == [7, 100]
    agent_of(small.url).step()
    assert small.heard[-1][2]["incarnation"] == 7


@pytest.mark.parametrize("standing", [2**53 - 1, 2**53 - 2, 400 * 24 * 3600 * 1000])
def test_a_standing_incarnation_of_a_far_future_is_not_believed(
    agent_of: Any, small: SmallRoot, standing: int
) -> None:
    small.script = [(409, {"incarnation": standing}, {}), (200, LEASE, {})]
    root = agent_of(small.url)
    root.step()
    root.step()
    assert [body["incarnation"] for _, _, body, _ in small.heard] == [7, 7]


def test_a_failed_keepalive_is_counted(agent_of: Any, small: SmallRoot) -> None:
    small.script = [(200, LEASE, {}), (503, {}, {}), (200, LEASE, {})]
    root = agent_of(small.url)
    for _ in range(3):
        root.step()
    assert [body["sequence"] for _, _, body, _ in small.heard[1:]] == [1, 2]


def test_back_off_grows_and_ends(agent_of: Any, small: SmallRoot) -> None:
    small.script = [(503, {}, {})]
    root = agent_of(small.url)
    pauses = [root.step() for _ in range(10)]
    assert pauses[0] <= 2
    assert 30 <= pauses[-1] <= 60
    small.script = [(200, LEASE, {}), (503, {}, {})]
    root.step()
    assert root.step() <= 2, "a success starts the back-off anew"


@pytest.mark.parametrize(
    ("after", "pause"), [("120", 120.0), ("999999", 3600.0), ("-5", 2.0), ("soon", 2.0), ("9" * 99, 2.0)]
)
def test_retry_after_is_heard_within_reason(
    agent_of: Any, small: SmallRoot, after: str, pause: float
) -> None:
    small.script = [(503, {}, {"Retry-After": after})]
    assert agent_of(small.url).step() <= pause
    if pause > 2:
        assert agent_of(small.url).step() == pause


DATE = "Tue, 24 Nov 1970 10:00:00 GMT"


@pytest.mark.parametrize(
    ("after", "date", "pause"),
    [
        ("Tue, 24 Nov 1970 10:02:00 GMT", DATE, 120.0),
        ("Tuesday, 24-Nov-70 10:02:00 GMT", DATE, 120.0),
        ("Tue Nov 24 10:02:00 1970", DATE, 120.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", DATE, 3600.0),
        (DATE, "Tue, 24 Nov 1970 10:02:00 GMT", 2.0),
        ("Tue, 99 Nov 1970 10:02:00 GMT", DATE, 2.0),
        ("Tue, 24 Nov 1970 10:02:00 GMT", "yesterday", 2.0),
        ("Tue, 24 Nov 1970 10:02:00 GMT", "", 2.0),
        ("x" * 9000, DATE, 2.0),
    ],
)
def test_retry_after_as_a_date_counts_from_the_answers_own(
    agent_of: Any, after: str, date: str, pause: float
) -> None:
    head = f"HTTP/1.1 503 No\r\nDate: {date}\r\nRetry-After: {after}\r\nContent-Length: 0\r\n\r\n"
    raw = RawRoot(head.encode())
    try:
        root = agent_of(raw.url)
        first = root.step()
    finally:
        raw.close()
    assert first == pause if pause > 2 else 0 < first <= 2


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"rubbish",
        b"[]",
        b'{"interval_seconds": NaN, "lease_seconds": 1, "lease_token": "x"}',
        {"interval_seconds": 15, "lease_seconds": 50},
        {**LEASE, "lease_token": "a\nb"},
        {**LEASE, "interval_seconds": -1},
        b"x" * 200_000,
    ],
)
def test_rubbish_is_not_believed(agent_of: Any, small: SmallRoot, answer: Any) -> None:
    small.script = [(200, answer, {})]
    root = agent_of(small.url)
    assert root.step() <= 2
    assert root.step() <= 4
    assert small.said == [f"PUT /{AGENT}"] * 2


def test_redirects_are_not_followed(agent_of: Any, small: SmallRoot) -> None:
    small.script = [(307, b"", {"Location": small.url + "/elsewhere"})]
    agent_of(small.url).step()
    assert small.said == [f"PUT /{AGENT}"]


def test_a_root_that_is_away(agent_of: Any) -> None:
    root = agent_of("http://127.0.0.1:9")
    assert root.step() <= 2
    root.goodbye()


def test_a_published_root_gets_the_published_keepalive(agent_of: Any, small: SmallRoot) -> None:
    small.script = [(404, b"<html>", {}), (204, {}, {})]
    root = agent_of(small.url)
    assert root.step() == 0.0
    assert 12 <= root.step() <= 15
    root.goodbye()
    assert small.said == [f"PUT /{AGENT}", "POST /"]
    said = small.heard[1][2]
    holds("PublishedKeepalive", said)
    assert said["name"] == "pittsburgh-1"
    assert (said["accepted_clients"], said["rejected_clients"]) == (["192.0.2.0/24"], ["192.0.2.128/25"])


def test_a_proxy_that_starts_does_not_make_a_root_a_published_one(agent_of: Any, small: SmallRoot) -> None:
    small.script = [(404, b"", {}), (404, b"", {}), (200, LEASE, {})]
    root = agent_of(small.url)
    assert root.step() == 0.0
    assert 0 < root.step() <= 2
    assert 12 <= root.step() <= 15
    assert small.said == [f"PUT /{AGENT}", "POST /", f"PUT /{AGENT}"]


def test_a_published_root_is_asked_for_a_registration_now_and_then(agent_of: Any, small: SmallRoot) -> None:
    small.script = [(404, b"", {}), (204, {}, {})]
    root = agent_of(small.url)
    for _ in range(21):
        root.step()
    small.script = [(200, LEASE, {})]
    root.step()
    assert small.said == [f"PUT /{AGENT}", *["POST /"] * 20, f"PUT /{AGENT}"]


COMMAND = {
    "id": "3q2-7wECAwQFBgcICQoLDA",
    "method": "POST",
    "path": "/app/key?wait=5",
    "client_ip": "198.51.100.7",
    "signature": "a..b",
}


@pytest.mark.parametrize(
    ("status", "answer", "headers"),
    [
        (200, b"rubbish", {}),
        (200, b"[" * 100_000, {}),
        (200, b"{" + b" " * 200_000 + b"}", {}),
        (200, {}, {}),
        (200, {**LEASE, "interval_seconds": 1e9}, {}),
        (200, {**LEASE, "lease_token": 7}, {}),
        (200, {**LEASE, "lease_token": "x\r\nHost: y"}, {}),
        (200, {**LEASE, "commands": [COMMAND] * 9}, {}),
        (200, {**LEASE, "commands": [{**COMMAND, "method": "PATCH"}]}, {}),
        (200, {**LEASE, "commands": [{**COMMAND, "path": "//elsewhere\n"}]}, {}),
        (200, {**LEASE, "commands": {"id": COMMAND}}, {}),
        (302, b"", {"Location": "http://127.0.0.1:9/"}),
        (503, {"detail": {"a": ["b"]}, "incarnation": "x"}, {}),
        (500, b"\xff\xfe" * 50_000, {}),
    ],
)
def test_a_root_that_lies_in_a_keepalive_keeps_its_lease_and_commands_nothing(
    small: SmallRoot, tmp_path: Path, status: int, answer: Any, headers: dict[str, str]
) -> None:
    agent = Agent(small.url, tmp_path)
    small.script = [(200, LEASE, {}), (status, answer, headers), (200, LEASE, {})]
    pauses = [agent.root.step() for _ in range(3)]
    assert 0 < pauses[1] <= 2
    assert 12 <= pauses[2] <= 15
    assert agent.commands == []
    assert agent.root.token == "token-1"
    assert small.said == [f"PUT /{AGENT}", *[f"POST /{AGENT}/keepalive"] * 2]


def test_keys_in_a_keepalive_change_none_that_are_pinned(small: SmallRoot, tmp_path: Path) -> None:
    other = {"root_keys": {"keys": [OTHER.public.to_jwk()]}}
    small.script = [(200, {**LEASE, **KEYS}, {}), (200, {**LEASE, **other}, {})]
    agent = Agent(small.url, tmp_path)
    for _ in range(2):
        agent.root.step()
    assert agent.trust.key(OTHER.public.thumbprint) is None


class RawRoot:
    """Answers each call with the next of these bytes, one at a time with `pause` seconds between them."""

    def __init__(self, *answers: bytes, pause: float = 0.0) -> None:
        self.calls = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._answers = answers
        self._pause = pause
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._closed.is_set():
            connection, _ = self._listening.accept()
            with connection:
                connection.recv(65536)
                answer = self._answers[min(self.calls, len(self._answers) - 1)]
                self.calls += 1
                for part in [answer[at : at + 1] for at in range(len(answer))] if self._pause else [answer]:
                    if self._closed.wait(self._pause):
                        break
                    try:
                        connection.sendall(part)
                    except OSError:
                        break

    def close(self) -> None:
        self._closed.set()
        socket.create_connection(self._listening.getsockname(), 1).close()
        self._thread.join(5)
        self._listening.close()


BROKEN = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnone",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
    b"HTTP/1.1 2",
    b"\x16\x03\x01",
    b"",
]


@pytest.mark.parametrize("answer", BROKEN)
def test_a_broken_answer_is_a_refusal(agent_of: Any, answer: bytes) -> None:
    raw = RawRoot(answer)
    root = agent_of(raw.url)
    try:
        assert 0 < root.step() <= 2
        assert 0 < root.step() <= 4
        assert raw.calls >= 1  # the second may have found the connection of the first closed
    finally:
        raw.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + b" " * 500,
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 500,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0000" + b"0" * 500,
    ],
)
def test_a_trickled_answer_is_not_waited_for(
    agent_of: Any, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.roots.root_calls.TIMEOUT", (1.0, 0.5))
    raw = RawRoot(answer, pause=0.02)
    started = time.monotonic()
    try:
        assert 0 < agent_of(raw.url).step() <= 2
        assert time.monotonic() - started < 5
    finally:
        raw.close()


def test_no_fault_ends_a_roots_thread(
    agent_of: Any, small: SmallRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.roots.roots._LONGEST_BACKOFF_SECONDS", 0.01)
    faults = [ZeroDivisionError("no"), MemoryError()]

    def measure() -> Resources:
        if faults:
            raise faults.pop()
        return Resources.of({})

    stop = threading.Event()
    thread = threading.Thread(target=agent_of(small.url, measure).run, args=(stop,))
    thread.start()
    deadline = time.monotonic() + 5
    while not small.heard and time.monotonic() < deadline:
        stop.wait(0.01)
    stop.set()
    thread.join(5)
    assert small.said == [f"PUT /{AGENT}", f"DELETE /{AGENT}"]


def test_the_thread_ends_with_goodbye(agent_of: Any, small: SmallRoot) -> None:
    stop = threading.Event()
    root = agent_of(small.url)
    thread = threading.Thread(target=root.run, args=(stop,))
    thread.start()
    while not small.heard:
        stop.wait(0.01)
    stop.set()
    thread.join(5)
    assert small.said[-1] == f"DELETE /{AGENT}"


def test_registrations_are_signed_for_this_root_and_keepalives_are_not(
    small: SmallRoot, tmp_path: Path
) -> None:
    agent = Agent(small.url + "/", tmp_path)
    for _ in range(2):
        agent.root.step()
    (header, body), (none, _) = small.signed
    assert none is None
    assert header is not None
    signed = Signed.parse(header, body)
    signed.verify(PUBLIC)
    assert signed.claims["jwk"] == PUBLIC.to_jwk()
    assert signed.claims["aud"] == small.url
    assert signed.claims["iat"] == int(NOW)


KEYS = {"root_keys": {"keys": [SigningRoot().public.to_jwk()]}}
OTHER = SigningRoot()


def test_the_roots_keys_are_pinned(small: SmallRoot, tmp_path: Path) -> None:
    rotated = {"root_keys": {"keys": [OTHER.public.to_jwk(), *KEYS["root_keys"]["keys"]]}}
    small.script = [(200, {**LEASE, **KEYS}, {}), (410, {}, {}), (200, {**LEASE, **rotated}, {})]
    agent = Agent(small.url, tmp_path)
    for _ in range(3):
        agent.root.step()
    assert agent.root.token == "token-1"
    assert agent.trust.key(OTHER.public.thumbprint) == OTHER.public


@pytest.mark.parametrize(
    ("changed", "proven"),
    [
        ({}, True),
        ({"aud": str(uuid.uuid4())}, False),
        ({"iss": "https://another.example"}, False),
        ({"iss": None}, False),
        ({"kid": "another"}, False),
        ({"body": b"{}"}, False),
        ({"signer": SigningRoot().key}, False),
    ],
)
def test_a_root_shows_that_it_has_its_key(tmp_path: Path, changed: dict[str, Any], proven: bool) -> None:
    url, said, root = "https://root.example/api", {"incarnation": 7}, SigningRoot()
    calls = calls_of(url, RootTrust(url, tmp_path, Clock(), lambda: NOW))
    body, signer = changed.pop("body", json.dumps(said).encode()), changed.pop("signer", root.key)
    claims = {"kid": root.public.thumbprint, "aud": str(AGENT), "iss": url, **changed}
    proof = sign(claims, body, signer.sign)
    assert calls.proves(proof, [root.public, OTHER.public], said) is proven
    assert not calls.proves("nonsense", [root.public], said)
    assert not calls.proves(proof, [OTHER.public], said)


def test_a_root_with_other_keys_is_left_and_told_so(
    small: SmallRoot, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small.script = [(200, {**LEASE, **KEYS}, {})]
    Agent(small.url, tmp_path).root.step()
    small.script = [(200, {**LEASE, "root_keys": {"keys": [OTHER.public.to_jwk()]}}, {}), (204, {}, {})]
    agent = Agent(small.url, tmp_path)
    assert agent.root.step() > 0
    assert agent.root.token is None
    assert small.said[-2:] == [f"PUT /{AGENT}", f"DELETE /{AGENT}"]
    assert agent.trust.key(OTHER.public.thumbprint) is None
    (error,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "remove" in vars(error)["reason"]
    small.script = [(200, LEASE, {})]
    agent.root.step()
    assert agent.root.token == "token-1", "a root that tells no keys is as it was"


def test_a_drain_is_told_at_once_and_only_when_it_changes(small: SmallRoot, tmp_path: Path) -> None:
    agent = Agent(small.url, tmp_path)
    stop = threading.Event()
    thread = threading.Thread(target=agent.root.run, args=(stop,))
    thread.start()
    assert poll(lambda: len(small.heard) == 1)
    agent.draining = True
    assert poll(lambda: len(small.heard) == 2)
    agent.draining = False
    assert poll(lambda: len(small.heard) == 3)
    stop.set()
    thread.join(5)
    assert [body.get("draining") for _, _, body, _ in small.heard[:3]] == [None, True, False]


def test_a_root_that_is_away_is_not_beset_with_a_drain(small: SmallRoot, tmp_path: Path) -> None:
    agent = Agent(small.url, tmp_path)
    agent.root.step()
    small.script = [(503, {}, {"Retry-After": "30"})]
    agent.draining = True
    assert agent.root.step() == 30.0
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    assert agent.root._rested(stop, 30.0), "it waits as it was told to"
    small.script = [(200, LEASE, {})]
    agent.root.step()
    assert small.heard[-1][2]["draining"] is True


def test_apps_whose_images_are_here_are_told_when_they_change(small: SmallRoot, tmp_path: Path) -> None:
    agent = Agent(small.url, tmp_path)
    agent.root.step()
    for cached in ((APP,), (APP,), ()):
        agent.cached = cached
        agent.root.step()
    assert [body.get("cached") for _, _, body, _ in small.heard] == [None, [str(APP)], None, []]


def test_a_cloudlet_that_can_not_be_called_says_so_and_gets_commands(
    small: SmallRoot, tmp_path: Path
) -> None:
    agent = Agent(small.url, tmp_path, endpoint=None)
    small.script = [(200, LEASE, {}), (200, {**LEASE, "commands": [COMMAND]}, {})]
    agent.root.step()
    agent.root.step()
    holds("Registration", small.heard[0][2])
    assert small.heard[0][2]["callable"] is False
    assert agent.commands == [Command("3q2-7wECAwQFBgcICQoLDA", "POST", "/app/key?wait=5", "a..b")]
    small.script = [(404, b"", {})]
    fresh = Agent(small.url, tmp_path, endpoint=None)
    assert fresh.root.step() > 0, "the published keepalive has no word for it"
    assert fresh.root.step() > 0
    assert small.said[-2:] == [f"PUT /{AGENT}"] * 2


def test_usage_is_told_with_keepalives_until_it_is_heard(small: SmallRoot, tmp_path: Path) -> None:
    agent = Agent(small.url, tmp_path)
    entry = Usage("helloworld-1", APP, 100, 700, 5, 7)
    agent.outbox.entries = [entry]
    small.script = [(200, LEASE, {}), (200, LEASE, {}), (503, {}, {}), (200, LEASE, {}), (204, {}, {})]
    for _ in range(2):
        agent.root.step()
    assert agent.outbox.entries == [entry]
    agent.root.step()
    assert agent.outbox.entries == []
    method, path, body, token = small.heard[-1]
    assert (method, path, token) == ("POST", f"/api/v1/cloudlets/{AGENT}/usage", "Bearer token-1")
    assert body == [entry.to_json()]


@pytest.mark.parametrize("status", [400, 404, 405])
def test_usage_that_a_root_will_never_take_is_dropped(small: SmallRoot, tmp_path: Path, status: int) -> None:
    agent = Agent(small.url, tmp_path)
    agent.outbox.entries = [Usage("helloworld-1", APP, 100, 700, 5, 7)]
    small.script = [(200, LEASE, {}), (200, LEASE, {}), (status, {}, {})]
    for _ in range(2):
        agent.root.step()
    assert agent.outbox.entries == []
    assert agent.root.token == "token-1"


def test_usage_goes_before_goodbye(small: SmallRoot, tmp_path: Path) -> None:
    agent = Agent(small.url, tmp_path)
    agent.root.step()
    agent.outbox.entries = [Usage("helloworld-1", APP, 100, 700, 5, 7)]
    agent.root.goodbye()
    assert small.said[1:] == [f"POST /{AGENT}/usage", f"DELETE /{AGENT}"]


def test_a_published_root_is_not_told_of_a_cloudlet_that_drains(small: SmallRoot, tmp_path: Path) -> None:
    agent = Agent(small.url, tmp_path)
    small.script = [(404, b"", {}), (204, {}, {})]
    for _ in range(2):
        agent.root.step()
    agent.draining = True
    agent.root.step()
    assert small.said == [f"PUT /{AGENT}", "POST /"]


def test_hardware_that_changes_is_told_by_registering_again(small: SmallRoot, tmp_path: Path) -> None:
    agent = Agent(small.url, tmp_path)
    agent.hardware = Hardware(4, 1 << 30)
    agent.root.step()
    agent.root.step()
    agent.hardware = Hardware(8, 1 << 31)
    agent.root.step()
    agent.root.step()
    assert [method for method, *_ in small.heard] == ["PUT", "POST", "PUT", "POST"]
    assert [body["hardware"]["cores"] for method, _, body, _ in small.heard if method == "PUT"] == [4, 8]


def test_a_root_that_takes_no_second_registration_has_keepalives_all_the_same(
    small: SmallRoot, tmp_path: Path
) -> None:
    agent = Agent(small.url, tmp_path)
    agent.root.step()
    agent.hardware = Hardware(8)
    small.script = [(503, {}, {}), (200, LEASE, {}), (503, {}, {}), (200, LEASE, {})]
    for _ in range(4):
        agent.root.step()
    assert [method for method, *_ in small.heard] == ["PUT", "PUT", "POST", "PUT", "POST"]
