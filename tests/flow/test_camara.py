"""CAMARA's programs at a real root over HTTP: paths, shapes, strictness, errors and correlators."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.contract.document import problems
from tests.fakes.edge_agent_parts import AGENT
from tests.flow.servers import APP, HIDDEN, UNKNOWN, World, world

ZONES_1 = "/simple-edge-discovery/v1/edge-cloud-zones?filter=closest"
ZONES_2 = "/simple-edge-discovery/v2/retrieve-closest-edge-cloud-zone"
ENDPOINTS = "/application-endpoint-discovery/v0.1/retrieve-optimal-app-endpoints"
V4 = {"ipv4Address": {"publicAddress": "127.0.0.1", "publicPort": 4500}}
BOTH = {**V4, "ipv6Address": "2001:db8::7", "phoneNumber": "+123456789"}
CORRELATOR = "b4333c46-49c0-4f62-80d7-f0ef930f1c46"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    registration = {"incarnation": 1, "name": "Pittsburgh #1", "location": {"latitude": 40, "longitude": -80}}
    with world(tmp_path_factory.mktemp("recipes"), registration) as made:
        yield made


def ask(url: str, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
    """Status, JSON and headers; every answer is JSON and brings the correlator back."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=15)
    try:
        raw = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {
            "x-correlator": CORRELATOR,
            **{name.replace("_", "-"): said for name, said in headers.items()},
        }
        connection.request(method, path, raw, sent)
        answer = connection.getresponse()
        assert answer.headers["Content-Type"] == "application/json"
        if headers.get("x_correlator") is None:
            assert answer.headers["x-correlator"] == CORRELATOR
        return answer.status, json.loads(answer.read()), answer.headers
    finally:
        connection.close()


def test_zones_by_headers(running: World) -> None:
    for headers in ({}, {"IPv4_Address": "198.51.100.7"}, {"Phone_Number": "+441234567890"}):
        status, found, _ = ask(running.root, "GET", ZONES_1, **headers)
        assert status == 200
        assert problems("EdgeCloudZone", found[0]) == []
        assert (found[0]["edgeCloudZoneId"], found[0]["edgeCloudZoneName"]) == (str(AGENT), "Pittsburgh-1")


def test_zones_by_body(running: World) -> None:
    status, zone, _ = ask(running.root, "POST", ZONES_2, {"device": V4})
    assert (status, problems("EdgeCloudZone", zone)) == (200, [])
    assert "device" not in zone
    _, zone, _ = ask(running.root, "POST", ZONES_2, {"device": BOTH})
    assert zone["device"] == {"ipv4Address": {"publicAddress": "127.0.0.1"}}
    assert problems("EdgeCloudZone", zone) == []


@pytest.mark.parametrize("name", ["appId", "applicationEndpointsId"])
@pytest.mark.parametrize("version", ["v0.1", "v0.1rc1", "v0rc1"])
def test_endpoints(running: World, name: str, version: str) -> None:
    path = ENDPOINTS.replace("v0.1", version)
    status, found, _ = ask(running.root, "POST", path, {name: APP, "device": BOTH})
    assert (status, problems("EndpointDiscoveryResult", found)) == (200, [])
    assert found[name] == APP
    endpoint = found["applicationEndpoints"][0]
    agent = urlsplit(running.agent)
    assert (endpoint["ipv4Addresses"], endpoint["port"]) == ([agent.hostname], agent.port)
    assert endpoint["edgeCloudZone"]["edgeCloudZoneId"] == str(AGENT)
    assert found["device"] == {"ipv4Address": {"publicAddress": "127.0.0.1"}}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", ZONES_1.partition("?")[0], None, 400, "INVALID_QUERYSTRING"),
        ("POST", ZONES_2, b"{", 400, "INVALID_ARGUMENT"),
        ("POST", ZONES_2, b"", 400, "INVALID_ARGUMENT"),
        ("POST", ZONES_2, {"device": {}}, 400, "INVALID_ARGUMENT"),
        ("POST", ZONES_2, {"device": {**V4, "imei": "1"}}, 400, "INVALID_ARGUMENT"),
        ("POST", ZONES_2, {}, 422, "MISSING_IDENTIFIER"),
        ("POST", ZONES_2, {"device": {"phoneNumber": "+123456789"}}, 422, "UNSUPPORTED_IDENTIFIER"),
        ("POST", ENDPOINTS, {"device": V4}, 400, "INVALID_ARGUMENT"),
        ("POST", ENDPOINTS, {"appId": "x", "device": V4}, 400, "INVALID_ARGUMENT"),
        ("POST", ENDPOINTS, {"appId": UNKNOWN, "device": V4}, 404, "NOT_FOUND"),
        ("POST", ENDPOINTS, {"appId": APP}, 422, "MISSING_IDENTIFIER"),
        ("POST", ENDPOINTS.replace("v0.1", "v9"), {"appId": APP, "device": V4}, 404, "NOT_FOUND"),
    ],
)
def test_errors(running: World, method: str, path: str, body: Any, status: int, code: str) -> None:
    got, error, _ = ask(running.root, method, path, body)
    assert (got, error["status"], error["code"]) == (status, status, code)
    assert problems("CamaraError", error) == []


def test_a_correlator_that_is_none_is_refused_and_not_sent_back(running: World) -> None:
    status, error, headers = ask(running.root, "POST", ZONES_2, {"device": V4}, x_correlator="a b")
    assert (status, error["code"]) == (400, "INVALID_ARGUMENT")
    assert "x-correlator" not in headers


def test_an_app_whose_recipe_is_hidden_is_served_all_the_same(running: World) -> None:
    status, _, _ = ask(running.root, "POST", ENDPOINTS, {"appId": HIDDEN, "device": V4})
    assert status == 200
