"""What the root, the agent and its gateway serve, against the document and against nonsense."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import yaml

from tests.contract.document import DOCUMENT, METHODS, operations, problems
from tests.fakes.edge_agent_parts import AGENT
from tests.flow.servers import APP, World, call, world

NAN_INSIDE = b'{"location": {"latitude": NaN, "longitude": 0}}'


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    registration = {
        "incarnation": 1,
        "name": "pittsburgh-1",
        "location": {"latitude": 40.4, "longitude": -79.9},
    }
    with world(tmp_path_factory.mktemp("recipes"), registration) as made:
        yield made


def test_the_root_serves_the_contract(running: World) -> None:
    assert yaml.safe_load(call(running.root, "GET", "/api/v1/openapi.yaml").body) == DOCUMENT


def concrete(path: str) -> str:
    key = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw"
    number = "0f3a9c1d2e4b5f60"
    return path.format(
        app_uuid=APP,
        application_key=key,
        cloudlet_uuid=AGENT,
        tenant="acme",
        token_id=number,
        invitation_id=number,
        number=1,
        command_id="3q2-7wECAwQFBgcICQoLDA",
        session="3q2-7wECAwQFBgcICQoLDA",
        bundle=f"sha256:{'0' * 64}",
        digest=f"sha256:{'1' * 64}",
    )


@pytest.mark.parametrize("server", ["root", "cloudlet", "gateway"])
def test_what_is_documented_is_served_and_answers_as_documented(running: World, server: str) -> None:
    with running.gateway("100.64.0.9") as gateway:
        url = {"root": running.root, "cloudlet": running.agent, "gateway": gateway}[server]
        for path, method, operation in operations():
            if server not in operation["x-served-by"]:
                continue
            where = f"{method.upper()} {path}"
            answer = call(url, method.upper(), concrete(path))
            assert str(answer.status) in operation["responses"], f"{where}: {answer.status} {answer.body!r}"
            if answer.status >= 400:
                assert answer.kind == "application/problem+json", where
                assert problems("Problem", answer.json) == [], where


@pytest.mark.parametrize("server", ["root", "cloudlet"])
def test_other_methods_are_405_as_problems(running: World, server: str) -> None:
    url = running.root if server == "root" else running.agent
    for path, item in DOCUMENT["paths"].items():
        served = [method for method in METHODS if server in item.get(method, {}).get("x-served-by", [])]
        for method in METHODS if served else ():
            if method in served or method in item:
                continue
            answer = call(url, method.upper(), concrete(path))
            assert answer.status == 405, f"{method} {path}: {answer.status}"
            assert problems("Problem", answer.json) == []


@pytest.mark.parametrize("server", ["root", "cloudlet"])
def test_what_is_not_there_is_404_as_a_problem(running: World, server: str) -> None:
    url = running.root if server == "root" else running.agent
    for path in (
        "/",
        "/api",
        "/api/v2/health",
        "/api/v1/deploy",
        f"/api/v1/deploy/{APP}",
        "/%2e%2e/etc/passwd",
    ):
        answer = call(url, "GET", path)
        assert answer.status == 404, f"{path}: {answer.status}"
        assert problems("Problem", answer.json) == []


@pytest.mark.parametrize("server", ["root", "cloudlet"])
@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"null", b'"x"', b"NaN", NAN_INSIDE, b"\xff", b"[" * 60_000],
    ids=["open", "array", "null", "text", "nan", "nan inside", "binary", "deep"],
)
def test_wrong_bodies_are_400(running: World, server: str, body: bytes) -> None:
    url = running.root if server == "root" else running.agent
    answer = call(url, "POST", concrete("/api/v1/deploy/{app_uuid}/{application_key}"), body)
    assert answer.status == 400, answer.body
    assert problems("Problem", answer.json) == []


@pytest.mark.parametrize("server", ["root", "cloudlet"])
def test_a_megabyte_is_413(running: World, server: str) -> None:
    url = running.root if server == "root" else running.agent
    body = json.dumps({"x": "y" * 1_048_576}).encode()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        answer = call(url, "POST", concrete("/api/v1/deploy/{app_uuid}/{application_key}"), body)
        assert answer.status == 413
        assert problems("Problem", answer.json) == []


def test_a_request_that_is_none_gets_an_answer_and_the_server_goes_on(running: World) -> None:
    for url in (running.root, running.agent):
        parts = urlsplit(url)
        with socket.create_connection((parts.hostname or "", parts.port or 0), 5) as raw:
            raw.sendall(b"\x16\x03\x01 GET /\x00 HTTP/9\r\n\r\n")
            raw.shutdown(socket.SHUT_WR)
            assert b" 500 " not in raw.recv(200)
        assert call(url, "GET", "/api/v1/health").status == 200
