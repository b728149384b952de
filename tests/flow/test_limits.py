"""Who goes too fast, or guesses, is answered 429 with `Retry-After`; nobody else notices."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
from app import app
from chalicelib.accounts.app_records import AppSettings
from chalicelib.accounts.recipes import Recipe
from chalicelib.accounts.tenants import Quotas, TenantSettings
from chalicelib.accounts.tokens import Scope, TokenRequest
from chalicelib.root import Root, build_root
from chalicelib.settings import Settings
from chalicelib.stores import Stores
from wsgi import WsgiAdapter

from tests.contract.document import problems
from tests.fakes.cloud_agent import running_agent
from tests.fakes.cloud_stores import fake_stores
from tests.lab.web import serving

APP = "00000000-0000-0000-0000-000000000000"
CLOUDLET = "5f1c9a1e-7f35-4a39-9d52-3f1f8f0e6a11"
NOON = 1_795_521_600.0


class Site:
    """A root behind a trusted proxy, a cloudlet, and clients with their own addresses. Time stands still."""

    def __init__(self, url: str, recipes: Path, agent: str) -> None:
        self.url, self.recipes, self.now = url, recipes, NOON
        (recipes / f"{APP}.yaml").write_text("chart: c\nversion: '1'\nrestricted: false\n")
        self.stores: Stores = fake_stores()
        self.serve()
        registration = {"endpoint": f"{agent}/api/v1/deploy", "incarnation": 1}
        status, _, self.lease = self.call("192.0.2.7", "PUT", f"/api/v1/cloudlets/{CLOUDLET}", registration)
        assert status == 200, self.lease

    def serve(self, **settings: Any) -> Root:
        """Another container of the same root."""
        chosen = {"trusted_proxies": (ip_network("127.0.0.0/8"),), **settings}
        self.root = build_root(
            Settings(
                lease_secret=b"0123456789abcdef",
                recipes=str(self.recipes),
                allow_private_endpoints=True,
                open=True,
                **chosen,
            ),
            self.stores,
            clock=lambda: self.now,
            monotonic=lambda: self.now,
        )
        app.serve(self.root)
        return self.root

    def call(
        self, client: str, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, str | None, Any]:
        """Status, `Retry-After` and JSON."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=15)
        try:
            raw = None if body is None else json.dumps(body)
            connection.request(method, path, raw, {"X-ClientIP": client, **headers})
            answer = connection.getresponse()
            content = answer.read()
            return answer.status, answer.headers["Retry-After"], json.loads(content) if content else None
        finally:
            connection.close()

    def deploy(self, app_uuid: object = APP, client: str = "198.51.100.1", **headers: str) -> int:
        key = bytes([1 + len(str(client))] * 32).hex()
        status, after, body = self.call(client, "POST", f"/api/v1/deploy/{app_uuid}/{key}", {}, **headers)
        if status == 429:
            assert problems("Problem", body) == []
            assert body["type"] == "urn:sinfonia:problem:too-many-requests"
            assert after is not None
            assert int(after) >= 1
        return status

    def app_of(self, tenant: str, quotas: Quotas | None = None, **settings: Any) -> UUID:
        """A new app of a tenant, which is made if it is not there."""
        uuid = uuid4()
        self.root.tenants.put(tenant, TenantSettings(quotas=quotas), by_operator=True)
        self.root.managed_apps.put(tenant, uuid, AppSettings(**settings), by_operator=True)
        self.root.managed_apps.add_recipe(tenant, uuid, Recipe(uuid, "c", "1"), use=True)
        return uuid


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[str, str]]:
    with serving(WsgiAdapter(app)) as url, running_agent() as agent:
        yield url, agent.url


@pytest.fixture
def site(running: tuple[str, str], tmp_path: Path) -> Site:
    return Site(running[0], tmp_path, running[1])


def test_an_address_is_held_and_others_are_not(site: Site) -> None:
    site.serve(calls_per_address=0.5)
    assert [site.deploy() for _ in range(6)] == [200] * 5 + [429]
    assert site.deploy(client="198.51.100.2") == 200
    assert site.call("198.51.100.1", "GET", f"/api/v1/candidates/{APP}")[0] == 200
    site.now += 2
    assert [site.deploy(), site.deploy()] == [200, 429]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", f"/api/v1/candidates/{APP}", None),
        ("GET", f"/api/v1/deploy/{APP}/{'00' * 32}", None),
        ("DELETE", f"/api/v1/deploy/{APP}/{'00' * 32}", None),
        ("POST", f"/api/v1/measurements/{APP}", []),
        ("GET", f"/api/v1/recipe/{APP}", None),
        (
            "PUT",
            "/api/v1/cloudlets/81c80f71-10f5-4a1e-8a1d-a85b983ae116",
            {"endpoint": "http://192.0.2.7/x", "incarnation": 1},
        ),
        ("POST", "/api/v1/cloudlets/", {"uuid": str(uuid4()), "endpoint": "http://x/y", "resources": {}}),
        ("GET", "/api/v1/cloudlets/", None),
        ("GET", f"/api/v1/cloudlets/{CLOUDLET}", None),
    ],
)
def test_every_kind_of_call_is_held(site: Site, method: str, path: str, body: Any) -> None:
    site.serve(calls_per_address=0.1)
    statuses = [site.call("198.51.100.1", method, path, body)[0] for _ in range(2)]
    assert statuses[0] != 429
    assert statuses[1] == 429


def test_who_is_no_trusted_proxy_has_one_address_whatever_it_says(site: Site) -> None:
    site.serve(calls_per_address=0.1, trusted_proxies=())
    assert site.deploy(client="198.51.100.1") == 200
    assert site.deploy(client="198.51.100.2") == 429


def test_a_keepalive_is_not_held_by_its_address(site: Site) -> None:
    """Thousands of cloudlets may stand behind one address, and each has a pace of its own."""
    site.serve(calls_per_address=0.1)
    bearer = {"Authorization": f"Bearer {site.lease['lease_token']}"}
    for sequence in range(1, 6):
        site.now += 5
        path = f"/api/v1/cloudlets/{CLOUDLET}/keepalive"
        assert site.call("192.0.2.7", "POST", path, {"sequence": sequence}, **bearer)[0] == 200


def test_an_apps_limit_holds_for_all_containers_together(site: Site) -> None:
    mine, other = site.app_of("acme", deploys_per_minute=4), site.app_of("acme")
    statuses = []
    for _ in range(3):
        site.serve()
        statuses += [site.deploy(mine, client=f"198.51.100.{number}") for number in range(2)]
    assert sorted(statuses) == [200] * 4 + [429] * 2
    assert site.deploy(other) == 200
    site.now += 60
    assert site.deploy(mine) == 200


def test_a_tenant_that_used_its_quota_up_stops_nobody_else(site: Site) -> None:
    greedy = [site.app_of("greedy", Quotas(deploys_per_day=3)) for _ in range(2)]
    modest = site.app_of("modest", Quotas(deploys_per_day=3))
    assert [site.deploy(greedy[number % 2]) for number in range(5)] == [200] * 3 + [429] * 2
    assert site.deploy(modest) == 200
    assert site.deploy() == 200, "the root's own has no quota"


def test_strangers_do_not_use_up_the_quota_of_an_app_that_wants_a_token(site: Site) -> None:
    mine = site.app_of("acme", Quotas(deploys_per_day=1), token_required=True)
    assert [site.deploy(mine, client=f"198.51.100.{number}") for number in range(3)] == [401] * 3
    _, token = site.root.tokens.make("acme", TokenRequest(Scope.DEPLOY))
    assert site.deploy(mine, Authorization=f"Bearer {token}") == 200


def test_guessing_tokens_ends_soon(site: Site) -> None:
    site.root.tenants.put("acme", TenantSettings(), by_operator=True)
    number = "0123456789abcdef"
    guesses = [
        site.call("198.51.100.1", "GET", "/api/v1/tenants", Authorization=f"Bearer sf_{number}_{guess:043}")[
            0
        ]
        for guess in range(12)
    ]
    assert guesses == [401] * 10 + [429] * 2
    _, token = site.root.tokens.make("", TokenRequest(Scope.OPERATOR))
    bearer = {"Authorization": f"Bearer {token}"}
    for client in ("198.51.100.1", "198.51.100.2"):
        assert site.call(client, "GET", "/api/v1/tenants", **bearer)[0] == 200


def test_limits_that_are_away_cost_no_deploy(site: Site) -> None:
    mine = site.app_of("acme", deploys_per_minute=2)
    site.stores.allowances.away = True  # type: ignore[attr-defined]
    assert [site.deploy(mine) for _ in range(3)] == [200, 200, 429]


def test_usage_that_is_away_costs_no_deploy_and_is_reported_again(site: Site) -> None:
    site.stores.usage.away = True  # type: ignore[attr-defined]
    assert site.deploy() == 200
    report = {
        "deployment": "d",
        "app": APP,
        "from": int(NOON),
        "to": int(NOON),
        "bytes_in": 0,
        "bytes_out": 0,
    }
    path, bearer = (
        f"/api/v1/cloudlets/{CLOUDLET}/usage",
        {"Authorization": f"Bearer {site.lease['lease_token']}"},
    )
    assert site.call("192.0.2.7", "POST", path, [report], **bearer)[0] == 503
    site.stores.usage.away = False  # type: ignore[attr-defined]
    assert site.call("192.0.2.7", "POST", path, [report], **bearer)[2] == {"accepted": 1, "refused": []}


def test_usage_is_told_by_the_cloudlet_itself_alone(site: Site) -> None:
    bearer = {"Authorization": f"Bearer {site.lease['lease_token']}"}
    for path, headers, status in (
        (CLOUDLET, {}, 401),
        (CLOUDLET, {"Authorization": "Bearer nonsense"}, 401),
        (str(uuid4()), bearer, 401),
        ("nonsense", bearer, 400),
    ):
        assert site.call("192.0.2.7", "POST", f"/api/v1/cloudlets/{path}/usage", [], **headers)[0] == status
    path = f"/api/v1/cloudlets/{CLOUDLET}/usage"
    for wrong in ({}, [1], [{}], [[]] * 65):
        assert site.call("192.0.2.7", "POST", path, wrong, **bearer)[0] == 400
    for _ in range(20):
        status, after, _ = site.call("192.0.2.7", "POST", path, [], **bearer)
    assert (status, after) == (429, "5")
