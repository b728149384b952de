"""Measurements by Prometheus' queries, from a server that answers what a test says; and their options."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from edge_agent.arguments import make_parser
from edge_agent.errors import SettingsError
from edge_agent.roots.prometheus import QUERIES, Prometheus
from edge_agent.roots.resource_settings import ResourceSettings
from edge_agent.sessions import make_session
from tests.fakes.edge_agent_parts import Clock


class Server:
    """A Prometheus that answers every query with `answer` (status, body), or with its own of `answers`."""

    def __init__(self) -> None:
        self.answer: tuple[int, bytes] = (200, b"")
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.queries: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.queries += parse_qs(urlsplit(self.path).query)["query"]
                status, body = outer.answers.get(outer.queries[-1], outer.answer)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def sample(value: Any) -> bytes:
    result = [{"metric": {}, "value": [1, value]}]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()


REAL = {
    "vector": (
        200,
        (
            b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","instance":'
            b'"127.0.0.1:19100","job":"node"},"value":[1795558243.347,"20"]}]}}'
        ),
    ),
    "scalar": (
        200,
        b'{"status":"success","data":{"resultType":"scalar","result":[1795558243.408,"0.5"]}}',
    ),
    "absent": (200, b'{"status":"success","data":{"resultType":"vector","result":[]}}'),
    "matrix": (
        200,
        (
            b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"x"},"values":'
            b'[[1795558241.126,"1"],[1795558242.126,"1"]]}]}}'
        ),
    ),
    "string": (
        200,
        b'{"status":"success","data":{"resultType":"string","result":[1795558243.476,"idle"]}}',
    ),
    "no PromQL": (
        400,
        (
            b'{"status":"error","errorType":"bad_data","error":"invalid parameter \\"query\\": 1:6: parse '
            b'error: unclosed left parenthesis"}'
        ),
    ),
}
"""As Prometheus 2.42 answers."""


def measured(server: Server, **changes: Any) -> Any:
    return Prometheus(server.url, make_session(time.monotonic), time.monotonic, **changes).measure().to_json()


def test_it_is_asked_for_each_value(server: Server) -> None:
    server.answer = (200, sample("0.25"))
    assert measured(server) == dict.fromkeys(QUERIES, 0.25)
    assert server.queries == list(QUERIES.values())


def test_an_operator_s_own_queries(server: Server) -> None:
    server.answers = {"busy": REAL["scalar"], "used": (200, sample("1.5")), "up": REAL["vector"]}
    assert measured(server, queries={"cpu_ratio": "busy", "mem_ratio": "used", "net_rx_rate": "up"}) == {
        "cpu_ratio": 0.5,
        "mem_ratio": 1.0,
        "net_rx_rate": 20.0,
    }


FAILURES = [
    (500, b""),
    (302, b""),
    REAL["no PromQL"],
    REAL["absent"],
    REAL["matrix"],
    REAL["string"],
    (200, b"rubbish"),
    (200, b"[]"),
    (200, b'{"data": []}'),
    (200, b'{"data": {"result": []}}'),
    (200, sample("NaN")),
    (200, sample("+Inf")),
    (200, sample(None)),
    (200, sample([])),
    (200, b" " * (2 << 20) + sample("0.1")),
]


@pytest.mark.parametrize("answer", FAILURES)
def test_a_query_that_fails_leaves_its_value_out_and_no_other(
    server: Server, answer: tuple[int, bytes]
) -> None:
    server.answer = (200, sample("0.25"))
    server.answers = {QUERIES["mem_ratio"]: answer}
    assert set(measured(server)) == set(QUERIES) - {"mem_ratio"}


def test_what_fails_is_told_once(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.answer = (400, b'{"status": "error", "error": "parse error at char 3"}')
    source = Prometheus(server.url, make_session(time.monotonic), time.monotonic, {"cpu_ratio": "a b"})
    for _ in range(3):
        assert source.measure().to_json() == {}
    assert [record.reason for record in caplog.records] == ["it answers 400: parse error at char 3"]  # type: ignore[attr-defined]


def test_that_there_is_no_gpu_is_nothing_to_tell(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.answer = (200, sample("0.25"))
    server.answers = {QUERIES["gpu_ratio"]: REAL["absent"]}
    assert set(measured(server)) == set(QUERIES) - {"gpu_ratio"}
    assert caplog.records == []


def test_a_server_that_is_away_is_asked_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    assert Prometheus(url, make_session(time.monotonic), time.monotonic).measure().to_json() == {}


def test_a_slow_server_does_not_hold_a_keepalive_for_long(server: Server) -> None:
    clock = Clock()

    class Slow(type(make_session(clock))):  # type: ignore[misc]
        def get(self, *words: Any, **options: Any) -> Any:
            clock.seconds += 4
            return super().get(*words, **options)

    server.answer = (200, sample("0.25"))
    assert len(Prometheus(server.url, Slow(), clock).measure().to_json()) == 2


def settings(*words: str) -> ResourceSettings:
    least = ["run", "--runtime", "podman", "--recipes", "r", "--root", "http://root.example"]
    return ResourceSettings.from_arguments(make_parser().parse_args([*least, *words]))


def test_queries_are_settings() -> None:
    url = "http://prometheus.example:9090"
    assert settings() == ResourceSettings()
    words = ("--prometheus", url, "--prometheus-query", 'cpu_ratio=1 - avg(x{mode="idle"})')
    assert settings(*words) == ResourceSettings(url, {**QUERIES, "cpu_ratio": '1 - avg(x{mode="idle"})'})


@pytest.mark.parametrize(
    ("queries", "words"),
    [
        (["cpu=1"], "is cpu_ratio meant"),
        (["disk=1"], "there are cpu_ratio, mem_ratio"),
        (["cpu_ratio"], "must be NAME=EXPR"),
        (["cpu_ratio="], "must be NAME=EXPR"),
        (["cpu_ratio=" + "x" * 5000], "at most 4096"),
        (["cpu_ratio=1", "cpu_ratio=2"], "given twice"),
    ],
)
def test_queries_that_are_none(queries: list[str], words: str) -> None:
    options = [f"--prometheus-query={query}" for query in queries]
    with pytest.raises(SettingsError, match=words):
        settings("--prometheus", "http://prometheus.example", *options)


def test_queries_without_a_server() -> None:
    with pytest.raises(SettingsError, match="there is no --prometheus"):
        settings("--prometheus-query", "cpu_ratio=1")
