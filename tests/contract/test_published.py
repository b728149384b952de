"""What the published Sinfonia's clients and cloudlets send and expect, against our root and our agent.

The facts are those of WIRE.md in the design notes: `sinfonia-tier3` 0.7.4 (desktop), the Android client, and
Tier 1 and 2 of `sinfonia` 0.4.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from ipaddress import IPv4Address, ip_address, ip_interface, ip_network
from typing import Any
from urllib.parse import quote

import pytest

from tests.contract.document import problems
from tests.fakes.edge_agent_parts import AGENT
from tests.flow.servers import APP, HIDDEN, KEY, UNKNOWN, Answer, World, call, world

STANDARD = base64.b64encode(KEY).decode()
DESKTOP = base64.urlsafe_b64encode(KEY).decode().rstrip("=")
DESKTOP_HEADERS = {
    "User_Agent": "python-requests/2.31.0",
    "Accept": "*/*",
    "Accept_Encoding": "gzip, deflate",
}
RESOURCES = {"cpu_ratio": 0.05, "mem_ratio": 0.3, "net_rx_rate": 1.5, "net_tx_rate": 0, "gpu_ratio": 100}
ANDROID_HEADERS = {"User_Agent": "okhttp/4.9.0", "Accept_Encoding": "gzip"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("recipes")) as made:
        yield made


@pytest.fixture(params=["root", "agent"])
def server(request: pytest.FixtureRequest, running: World) -> str:
    return str(getattr(running, request.param))


def accept(answer: Answer) -> list[dict[str, Any]]:
    """What the desktop client asks of an answer; Android's is content with the same."""
    assert answer.status == 200, answer.body
    assert answer.kind == "application/json"
    deployments: list[dict[str, Any]] = answer.json
    assert isinstance(deployments, list)
    assert deployments
    for deployment in deployments:
        assert problems("Deployment", deployment) == []
        assert re.fullmatch(r"[0-9a-f-]{36}", deployment["UUID"])
        assert len(base64.b64decode(deployment["ApplicationKey"], validate=True)) == 32
        tunnel = deployment["TunnelConfig"]
        assert len(base64.b64decode(tunnel["publicKey"], validate=True)) == 32
        host, port = tunnel["endpoint"].split(":")
        assert str(IPv4Address(host)) == host
        assert 0 < int(port) < 65536
        assert all(ip_network(block) for block in tunnel["allowedIPs"])
        assert all(ip_interface(address) for address in tunnel["address"])
        assert_resolvable(tunnel["dns"])
    return deployments


def assert_resolvable(dns: list[str]) -> None:
    """Addresses are name servers, everything else a search domain, in which names have no underscores."""
    for entry in dns:
        try:
            ip_address(entry)
        except ValueError:
            assert re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*", entry), entry


SPELLINGS = {
    "desktop": DESKTOP,
    "url-safe, padded": DESKTOP + "=",
    "android: standard, raw": STANDARD,
    "slashes escaped": STANDARD.replace("/", "%2F"),
    "all escaped": STANDARD.replace("/", "%2F").replace("+", "%2B").replace("=", "%3D"),
    "lower-case escapes": STANDARD.replace("/", "%2f").replace("=", "%3d"),
    "hexadecimal": KEY.hex(),
    "HEXADECIMAL": KEY.hex().upper(),
}


@pytest.mark.parametrize("prefix", ["", "/"], ids=["as it should be", "base URL with a slash"])
@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_every_spelling_of_a_key_gets_the_same_backend(server: str, spelling: str, prefix: str) -> None:
    answer = call(server, "POST", f"{prefix}/api/v1/deploy/{APP}/{spelling}", **ANDROID_HEADERS)
    (deployment,) = accept(answer)
    assert deployment["ApplicationKey"] == STANDARD
    assert (
        deployment["DeploymentName"]
        == accept(call(server, "GET", f"/api/v1/deploy/{APP}/{DESKTOP}"))[0]["DeploymentName"]
    )


ROUGH_KEYS = {
    "one slash first": b"\xfc" + bytes(range(31)),
    "slashes alone": b"\xff" * 32,
    "a plus first": b"\xf8" + bytes(range(31)),
    "double slashes within": bytes(range(10)) + b"\xff" * 8 + bytes(range(14)),
    "slashes at the end": bytes(range(30)) + b"\xff" * 2,  # but the last letter, which has four bits
}
WAYS = {
    "raw": lambda text: text,
    "raw, without padding": lambda text: text.rstrip("="),
    "slashes escaped": lambda text: text.replace("/", "%2F"),
    "double slashes escaped": lambda text: text.replace("//", "%2F%2F"),
    "every other slash escaped": lambda text: text.replace("//", "/%2f"),
    "plus and padding escaped": lambda text: text.replace("+", "%2B").replace("=", "%3D"),
    "all escaped": lambda text: quote(text, safe=""),
    "escaped twice": lambda text: quote(quote(text, safe=""), safe=""),
    "url-safe": lambda text: text.rstrip("=").replace("/", "_").replace("+", "-"),
    "url-safe, padded": lambda text: text.replace("/", "_").replace("+", "-"),
}


@pytest.mark.parametrize("key", ROUGH_KEYS.values(), ids=ROUGH_KEYS.keys())
def test_a_key_of_slashes_is_the_same_in_every_form(server: str, key: bytes) -> None:
    text = base64.b64encode(key).decode()
    names = set()
    for way, spell in WAYS.items():
        for path in (f"/{spell(text)}", f"/{spell(text)}/", f"/{spell(text)}/?results=1"):
            for method in ("POST", "GET"):
                answer = call(server, method, f"/api/v1/deploy/{APP}{path}", **ANDROID_HEADERS)
                assert answer.status == 200, (way, method, path, answer.body)
                (deployment,) = accept(answer)
                assert deployment["ApplicationKey"] == text, (way, path)
                names.add(deployment["DeploymentName"])
    assert len(names) == 1


@pytest.mark.parametrize("more", ["A", "/A", "//AAAA", "/..", "%2F..%2F", "%00", "%25", "%0A", "?", " "])
def test_what_hangs_on_to_a_key_is_no_part_of_one(server: str, more: str) -> None:
    answer = call(server, "POST", f"/api/v1/deploy/{APP}/{STANDARD}{quote(more, safe='/%')}")
    assert_problem(answer, 400)


def test_the_desktop_client_sends_nothing_but_the_path(server: str) -> None:
    answer = call(server, "POST", f"/api/v1/deploy/{APP}/{DESKTOP}", **DESKTOP_HEADERS)
    (deployment,) = accept(answer)
    # It knows nothing of readiness and connects at once; so the answer waits a little for the backend.
    assert deployment["Status"] == "Ready"


@pytest.mark.parametrize("results", ["1", "3", "4", "99"])
def test_more_results_than_three_count_as_three(server: str, results: str) -> None:
    assert len(accept(call(server, "POST", f"/api/v1/deploy/{APP}/{DESKTOP}?results={results}"))) == 1


@pytest.mark.parametrize("query", ["results=0", "results=-1", "results=x", "results=1.5", "results="])
def test_wrong_numbers_of_results_are_400(server: str, query: str) -> None:
    assert_problem(call(server, "POST", f"/api/v1/deploy/{APP}/{DESKTOP}?{query}"), 400)


@pytest.mark.parametrize("location", ["40.4433,-79.9436", "40.4433, -79.9436", "-90,180"])
def test_a_location_may_come_in_a_header(server: str, location: str) -> None:
    accept(call(server, "POST", f"/api/v1/deploy/{APP}/{DESKTOP}", X_Location=location))


@pytest.mark.parametrize("location", ["", "40.4433", "a,b", "91,0", "0,181", "nan,0", "1,2,3", "inf,1"])
def test_a_malformed_location_is_400(server: str, location: str) -> None:
    assert_problem(call(server, "POST", f"/api/v1/deploy/{APP}/{DESKTOP}", X_Location=location), 400)


@pytest.mark.parametrize("key", ["x", DESKTOP[:-1], DESKTOP + "AA", "!" * 43, "0" * 63, "%00" * 43])
def test_what_is_no_key_is_400(server: str, key: str) -> None:
    assert_problem(call(server, "POST", f"/api/v1/deploy/{APP}/{key}"), 400)


def test_an_unknown_app_is_404_and_a_malformed_one_400(server: str) -> None:
    assert_problem(call(server, "POST", f"/api/v1/deploy/{UNKNOWN}/{DESKTOP}"), 404)
    assert_problem(call(server, "POST", f"/api/v1/deploy/helloworld/{DESKTOP}"), 400)


def assert_problem(answer: Answer, status: int) -> None:
    """The body is shown to people as it is."""
    assert answer.status == status, answer.body
    assert answer.kind == "application/problem+json"
    assert problems("Problem", answer.json) == []
    assert answer.json["detail"]
    assert b"Traceback" not in answer.body


def test_android_looks_again_by_get(server: str) -> None:
    accept(call(server, "POST", f"/api/v1/deploy/{APP}/{STANDARD}", **ANDROID_HEADERS))
    (found,) = accept(call(server, "GET", f"/api/v1/deploy/{APP}/{STANDARD}", **ANDROID_HEADERS))
    assert found["ApplicationKey"] == STANDARD
    other = base64.urlsafe_b64encode(bytes(32)).decode().rstrip("=")
    assert_problem(call(server, "GET", f"/api/v1/deploy/{APP}/{other}"), 404)


def test_a_published_root_asks_our_agent(running: World) -> None:
    path = f"/api/v1/deploy/{APP}/{DESKTOP}"
    headers = {"X_ClientIP": "192.0.2.50", "X_Location": "40.4433,-79.9436"}
    accept(call(running.agent, "POST", path, **headers, **DESKTOP_HEADERS))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"resources": RESOURCES},
        {"locations": [[-37.8136, 144.9631]], "local_networks": ["198.51.100.0/24"], "name": "corner-shop"},
        {"accepted_clients": ["0.0.0.0/0", "::/0"], "rejected_clients": ["203.0.113.0/24"]},
    ],
    ids=["bare", "resources", "place", "networks"],
)
def test_a_published_cloudlet_is_known_to_our_root(running: World, more: dict[str, Any]) -> None:
    uuid = "9be5ab7c-2bd5-4e44-9b2a-6f9a7c0f6c1d"
    said = {"uuid": uuid, "endpoint": "http://192.0.2.9:30051/api/v1/deploy", "resources": {}, **more}
    answer = call(
        running.root, "POST", "/api/v1/cloudlets/", json.dumps(said).encode(), Content_Type="application/json"
    )
    assert (answer.status, answer.body) == (204, b"")
    listed = call(running.root, "GET", "/api/v1/cloudlets/")
    assert listed.status == 200
    assert {uuid, str(AGENT)} <= {cloudlet["uuid"] for cloudlet in listed.json}
    assert all(problems("Cloudlet", cloudlet) == [] for cloudlet in listed.json)


def test_recipes_are_shown_as_they_were(running: World) -> None:
    shown = call(running.root, "GET", f"/api/v1/recipe/{APP}/")
    assert (shown.status, shown.kind) == (200, "application/json")
    assert problems("Recipe", shown.json) == []
    assert_problem(call(running.root, "GET", f"/api/v1/recipe/{HIDDEN}/"), 403)
    assert_problem(call(running.root, "GET", f"/api/v1/recipe/{UNKNOWN}/"), 404)
