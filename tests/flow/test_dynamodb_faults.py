"""A root whose DynamoDB refuses, throttles, breaks off or hangs: a clear 503 in bounded time, never a 500."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from app import app
from chalicelib.root import build_root
from chalicelib.settings import Settings
from wsgi import WsgiAdapter

from tests.fakes.cloud_dynamodb import FaultyDynamoDB, breaks_off, fails, faulty_dynamodb, says
from tests.flow.servers import APP, call
from tests.lab.engines import CREDENTIALS
from tests.lab.web import serving

KEY = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw"
CLOUDLET = "5f1c9a1e-7f35-4a39-9d52-3f1f8f0e6a11"
MOST_SECONDS = 25.0  # API Gateway gives up at 29
CALLS: dict[str, tuple[str, str, Any]] = {
    "deploy": ("POST", f"/api/v1/deploy/{APP}/{KEY}", {}),
    "status": ("GET", f"/api/v1/deploy/{APP}/{KEY}", None),
    "candidates": ("GET", f"/api/v1/candidates/{APP}", None),
    "list": ("GET", "/api/v1/cloudlets/", None),
    "register": (
        "PUT",
        f"/api/v1/cloudlets/{CLOUDLET}",
        {"endpoint": "http://192.0.2.7:7070/api/v1/deploy", "incarnation": 1},
    ),
    "published": (
        "POST",
        "/api/v1/cloudlets/",
        {"uuid": CLOUDLET, "endpoint": "http://192.0.2.7:7070/api/v1/deploy", "resources": {}},
    ),
    "health": ("GET", "/api/v1/health", None),
}
FAULTS = {
    "refuses": fails(400, "AccessDeniedException"),
    "throttles": fails(400, "ProvisionedThroughputExceededException"),
    "limits": fails(400, "ThrottlingException"),
    "is broken": fails(500, "InternalServerError"),
    "is away": fails(503, "ServiceUnavailable"),
    "has no table": fails(400, "ResourceNotFoundException"),
    "says nonsense": says(b"<html>"),
    "says an array": says(b"[]"),
    "breaks off": breaks_off,
}


@pytest.fixture(scope="module")
def fault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FaultyDynamoDB, str]]:
    recipes: Path = tmp_path_factory.mktemp("recipes")
    (recipes / f"{APP}.yaml").write_text("chart: helloworld\nversion: 0.1.0\n")
    with pytest.MonkeyPatch.context() as patch, faulty_dynamodb() as dynamodb:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        settings = Settings(
            lease_secret=b"0123456789abcdef",
            recipes=str(recipes),
            dynamodb_url=dynamodb.url,
            allow_private_endpoints=True,
            open=True,
        )
        app.serve(build_root(settings, chance=random.Random(0)))
        with serving(WsgiAdapter(app)) as url:
            yield dynamodb, url


def ask(url: str, name: str) -> None:
    method, path, body = CALLS[name]
    begun = time.monotonic()
    answer = call(url, method, path, b"" if body is None else json.dumps(body).encode())
    assert answer.status == 503, answer.body
    assert answer.kind == "application/problem+json"
    assert answer.json["type"] in {"urn:sinfonia:problem:unavailable", "urn:sinfonia:problem:no-cloudlet"}
    assert time.monotonic() - begun < MOST_SECONDS


# Every call with one fault, and every fault with a call that reads, one that writes, and one that does both.
PAIRS = [
    (way, name)
    for way in FAULTS
    for name in CALLS
    if way == "throttles" or name in {"health", "published", "deploy"}
]


@pytest.mark.parametrize(("way", "name"), PAIRS)
def test_a_fault_is_a_503(fault: tuple[FaultyDynamoDB, str], way: str, name: str) -> None:
    dynamodb, url = fault
    dynamodb.behave = FAULTS[way]
    dynamodb.calls.clear()
    ask(url, name)
    assert 1 <= len(dynamodb.calls) <= 30  # bounded, retries and all


def test_one_that_hangs_is_given_up(fault: tuple[FaultyDynamoDB, str]) -> None:
    dynamodb, url = fault
    dynamodb.behave = dynamodb.hangs
    ask(url, "health")
