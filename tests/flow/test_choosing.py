"""What an app and its device demand, the app's own matcher, and what devices measured: over HTTP."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
from app import app
from chalicelib.accounts.app_records import AppSettings
from chalicelib.accounts.recipes import Recipe
from chalicelib.accounts.tenants import TenantSettings
from chalicelib.choosing.requirements import Requirements
from chalicelib.fleet.cloudlets import Hardware, Trust
from chalicelib.root import build_root
from wsgi import WsgiAdapter

from tests.contract.document import problems
from tests.fakes.cloud_agent import works
from tests.fakes.cloud_matcher import Answer, chosen, matcher_server
from tests.fakes.cloud_site import APP, HERE, Site
from tests.lab.web import serving

LOCATION = f"{HERE.latitude},{HERE.longitude}"
OTHERS_BROKE = Answer(b"Internal Server Error", 500)


class Choosing(Site):
    """Three cloudlets, the nearest first; the second has a GPU, the third is known well. Served over HTTP."""

    url: str

    def serve(self, url: str, **settings: Any) -> None:
        self.url = url
        self.served = build_root(
            self.settings.__class__(
                lease_secret=b"0" * 16,
                recipes=self.settings.recipes,
                allow_private_endpoints=True,
                trusted_proxies=(ip_network("127.0.0.0/8"),),
                matchers=("network", "load"),
                **settings,
            ),
            self.stores,
            clock=lambda: self.now,
            monotonic=lambda: self.now,
            chance=random.Random(0),
        )
        app.serve(self.served)

    def app_of(self, *matchers: str, **settings: Any) -> UUID:
        """A tenant's app."""
        uuid = uuid4()
        self.served.tenants.put("acme", TenantSettings(), by_operator=True)
        made = AppSettings(matchers=matchers, **settings)
        self.served.managed_apps.put("acme", uuid, made, by_operator=True)
        self.served.managed_apps.add_recipe("acme", uuid, Recipe(uuid, "c", "1"), use=True)
        return uuid

    def call(
        self, method: str, path: str, body: Any = None, address: str = "198.51.100.7"
    ) -> tuple[int, str | None, Any]:
        """Status, what is said of the matcher, JSON."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=15)
        try:
            raw = None if body is None else json.dumps(body)
            headers = {"X-ClientIP": address, "X-Location": LOCATION}
            connection.request(method, path, raw, headers)
            answer = connection.getresponse()
            content = answer.read()
            said = answer.headers["X-Sinfonia-Matcher"]
            return answer.status, said, json.loads(content) if content else None
        finally:
            connection.close()

    def candidates(self, uuid: UUID = APP, **more: Any) -> tuple[list[str], str | None]:
        status, said, found = self.call("GET", f"/api/v1/candidates/{uuid}?results=3", **more)
        assert status == 200, found
        return [each["Name"][-1] for each in found], said

    def deploy(self, demanded: dict[str, Any] | None, uuid: UUID = APP) -> tuple[int, Any]:
        body = {} if demanded is None else {"requirements": demanded}
        key = random.Random(str(demanded)).randbytes(32).hex()
        status, _, answer = self.call("POST", f"/api/v1/deploy/{uuid}/{key}", body)
        return status, answer

    def first(self, demanded: dict[str, Any] | None, uuid: UUID = APP) -> str:
        status, answer = self.deploy(demanded, uuid)
        assert status == 200, answer
        return str(answer[0]["Cloudlet"]["Name"])[-1]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(WsgiAdapter(app)) as served:
        yield served


@pytest.fixture
def site(url: str, tmp_path: Path) -> Iterator[Choosing]:
    with ExitStack() as stack:
        made = Choosing(tmp_path, stack)
        made.run(*[works()] * 3)
        cores = Hardware(cores=8)
        made.change(1, hardware=cores)
        made.change(2, hardware=replace(cores, memory_bytes=2**34, gpu="A2"), jurisdiction="US-PA")
        made.change(3, hardware=cores, trust=Trust.LISTED, price=0.5, jurisdiction="DE", cached=(APP,))
        made.serve(url)
        yield made


@pytest.mark.parametrize(
    ("demanded", "name"),
    [
        (None, "1"),
        ({}, "1"),
        ({"gpu": True}, "2"),
        ({"cores": 8, "memory_bytes": 2**34}, "2"),
        ({"jurisdictions": ["US"]}, "2"),
        ({"jurisdictions": ["FR", "DE"]}, "3"),
        ({"trust": "invited"}, "3"),
        ({"cached": True}, "3"),
        ({"max_price": 0.1}, "1"),
    ],
)
def test_a_device_gets_what_it_demands(site: Choosing, demanded: dict[str, Any] | None, name: str) -> None:
    assert site.first(demanded) == name


def test_what_nobody_has_is_no_cloudlet_and_what_is_wrong_is_refused(site: Choosing) -> None:
    for demanded, status, kind in (
        ({"gpu": True, "jurisdictions": ["DE"]}, 503, "no-cloudlet"),
        ({"gpu": "yes"}, 400, "invalid-request"),
        ({"trust": "blind"}, 400, "invalid-request"),
    ):
        found, problem = site.deploy(demanded)
        assert (found, problem["type"]) == (status, f"urn:sinfonia:problem:{kind}")
        assert problems("Problem", problem) == []


def test_what_the_app_demands_holds_whatever_the_device_does(site: Choosing) -> None:
    uuid = site.app_of(requirements=Requirements(gpu=True))
    assert site.first(None, uuid) == "2"
    assert site.deploy({"trust": "listed"}, uuid)[0] == 503
    assert site.candidates(uuid) == (["2"], None)


def test_an_apps_own_matcher_chooses_for_its_devices_only(site: Choosing) -> None:
    with matcher_server(chosen) as server:
        uuid = site.app_of(f"{server.url}/choose")
        assert site.candidates(uuid) == (["3", "2", "1"], None)
        assert site.candidates() == (["1", "2", "3"], None)
        assert site.first(None, uuid) == "3"
    for _, question in server.asked:
        assert problems("MatcherQuestion", question) == []
        assert question["app"] == str(uuid)
        assert "198.51.100.7" not in json.dumps(question)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda _: OTHERS_BROKE, "failed"),
        (lambda _: Answer(json.dumps({"candidates": [str(uuid4())]}).encode()), "unknown"),
        (lambda _: Answer(json.dumps({"candidates": [str(APP)] * 65}).encode()), "nonsense"),
    ],
)
def test_a_matcher_that_fails_costs_nothing_and_the_device_is_told(
    site: Choosing, answer: Callable[[Any], Answer], why: str
) -> None:
    with matcher_server(answer) as server:
        uuid = site.app_of(server.url)
        assert site.candidates(uuid)[1] == f"fallback; {why}"
        assert sorted(site.candidates(uuid)[0]) == ["1", "2", "3"]
        status, said, found = site.call("POST", f"/api/v1/deploy/{uuid}/{'ab' * 32}", {})
        assert (status, said, len(found)) == (200, f"fallback; {why}", 1)
        assert site.candidates(uuid)[1] == "fallback; resting"
        asked = len(server.asked)
        assert asked == 3
        site.now += 11
        assert site.candidates(uuid)[1] == f"fallback; {why}"


def test_a_matcher_that_chooses_nobody_is_asked_again_each_time(site: Choosing) -> None:
    with matcher_server(lambda _: Answer(b'{"candidates": []}')) as server:
        uuid = site.app_of(server.url)
        assert [site.candidates(uuid)[1] for _ in range(5)] == ["fallback; none"] * 5


def test_a_tenants_matcher_that_hangs_slows_nobody_else(site: Choosing, url: str) -> None:
    site.serve(url, matcher_seconds=0.3)
    go = threading.Event()
    with matcher_server(lambda question: go.wait(20) and chosen(question)) as server:
        uuid = site.app_of(server.url)
        waiting = [threading.Thread(target=site.candidates, args=(uuid,)) for _ in range(12)]
        for thread in waiting:
            thread.start()
        begun = time.monotonic()
        assert site.candidates() == (["1", "2", "3"], None)
        assert time.monotonic() - begun < 5
        for thread in waiting:
            thread.join(10)
        assert site.candidates(uuid)[1] in {"fallback; resting", "fallback; slow", "fallback; busy"}
        go.set()


def test_what_devices_of_a_network_measured_changes_what_is_offered_there(site: Choosing) -> None:
    nearest, second, third = (str(row.uuid) for row in site.rows)
    for last in (7, 8, 9):
        report = [
            {"cloudlet": nearest, "rtt_ms": 85.0, "throughput_mbps": 20.0},
            {"cloudlet": second, "rtt_ms": 48.0},
            {"cloudlet": third, "rtt_ms": 12.0, "throughput_mbps": 200.0},
        ]
        path = f"/api/v1/measurements/{APP}"
        assert site.call("POST", path, report, address=f"198.51.100.{last}")[0] == 204
    assert site.candidates(address="198.51.100.200")[0] == ["3", "2", "1"]
    assert site.candidates(address="203.0.113.7")[0] == ["1", "2", "3"]


def test_measurements_are_checked(site: Choosing) -> None:
    good = [{"cloudlet": str(APP), "rtt_ms": 1}]
    for path, body, status in (
        (APP, good, 204),
        (APP, [], 204),
        (APP, good * 17, 400),
        (APP, {"cloudlet": str(APP)}, 400),
        (APP, [{"cloudlet": str(APP), "rtt_ms": "1"}], 400),
        (uuid4(), good, 404),
        ("x", good, 400),
    ):
        found, _, problem = site.call("POST", f"/api/v1/measurements/{path}", body)
        assert found == status, body
        assert problem is None or problems("Problem", problem) == []


def test_measurements_without_their_table_are_503_and_devices_are_served_all_the_same(site: Choosing) -> None:
    site.stores.measurements.away = True  # type: ignore[attr-defined]
    report = [{"cloudlet": str(APP), "rtt_ms": 1}]
    assert site.call("POST", f"/api/v1/measurements/{APP}", report)[0] == 503
    assert site.candidates() == (["1", "2", "3"], None)
