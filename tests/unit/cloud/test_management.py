"""The management API as it is called: the whole application, its accounts in memory, every answer held to the
contract."""

from __future__ import annotations

import base64
import io
import json
import random
import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from app import app
from chalicelib.accounts.tokens import Scope, TokenRequest
from chalicelib.fleet.cloudlets import row_key
from chalicelib.fleet.geo import Location
from chalicelib.fleet.leases import LeaseClaim
from chalicelib.root import build_root
from chalicelib.settings import Settings
from wsgi import WsgiAdapter

from tests.contract.document import DOCUMENT, operations, problems, resolve
from tests.fakes.cloud_stores import fake_stores

NOW = 1_795_000_000
MAZE = "6f1c9a1e-7f35-4a39-9d52-3f1f8f0e6a22"
CLOUDLET = "5f1c9a1e-7f35-8a39-9d52-3f1f8f0e6a11"
KEY = base64.urlsafe_b64encode(bytes(range(32))).decode()
RECIPE = {"chart": "https://charts.example.com/maze", "version": "1.0", "values": {"level": 3}}
BASE = "/api/v1/tenants"


class Answer:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> tuple[int, str]:
        return self.status, self.json["type"].removeprefix("urn:sinfonia:problem:")


class Site:
    """A root; `operator`, `acme` and `other` are tokens."""

    def __init__(self, folder, **settings) -> None:
        self.now = float(NOW)
        self.stores = fake_stores()
        (folder / f"{UUID(int=0)}.yaml").write_text("chart: c\nversion: '1'\nrestricted: false\n")
        (folder / f"{UUID(int=1)}.yaml").write_text("chart: c\nversion: '1'\n")
        self.root = build_root(
            Settings(lease_secret=b"0123456789abcdef", recipes=str(folder), **settings),
            self.stores,
            clock=lambda: self.now,
            monotonic=lambda: self.now,
            chance=random.Random(0),
        )
        app.serve(self.root)
        self._adapter = WsgiAdapter(app)
        self.operator = self.root.tokens.make("", TokenRequest(Scope.OPERATOR))[1]
        self.acme, self.other = (self.made(name) for name in ("acme", "other"))

    def made(self, name: str, **settings: Any) -> str:
        assert self.call("PUT", f"{BASE}/{name}", settings, self.operator).status == 200
        return self.token(name, "tenant")

    def token(self, tenant: str, scope: str) -> str:
        answer = self.call("POST", f"{BASE}/{tenant}/tokens", {"scope": scope}, self.operator)
        return str(answer.json["token"])

    def call(
        self, method: str, path: str, body: Any = None, token: str | None = None, **headers: str
    ) -> Answer:
        """One request, whose answer must be as the contract has it."""
        raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        path, _, query = path.partition("?")
        shown = {} if token is None else {"HTTP_AUTHORIZATION": f"Bearer {token}"}
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_LENGTH": str(len(raw)),
            "REMOTE_ADDR": headers.pop("address", "192.0.2.1"),
            "wsgi.input": io.BytesIO(raw),
            **shown,
            **{f"HTTP_{name.upper()}": value for name, value in headers.items()},
        }
        told: list[Any] = []
        answer = b"".join(self._adapter(environ, lambda status, pairs: told.extend((status, pairs))))
        made = Answer(int(told[0][:3]), dict(told[1]), answer)
        assert as_documented(method, path, made) == []
        return made

    def with_app(self, tenant: str = "acme", uuid: str = MAZE, **settings: Any) -> None:
        assert self.call("PUT", f"{BASE}/{tenant}/apps/{uuid}", settings, self.operator).status == 200
        added = self.call("POST", f"{BASE}/{tenant}/apps/{uuid}/recipes", RECIPE, self.operator)
        assert added.status == 200


def as_documented(method: str, path: str, answer: Answer) -> list[str]:
    """What of an answer is not as the contract has it."""
    documented = next(
        (
            operation
            for pattern, verb, operation in operations()
            if verb == method.lower() and re.fullmatch(_form(pattern), path.rstrip("/"))
        ),
        None,
    )
    if documented is None:
        return [f"{method} {path} is not documented"]
    response = documented["responses"].get(str(answer.status))
    if response is None:
        return [f"{method} {path} says nothing of {answer.status}: {answer.body!r}"]
    if answer.status == 204:
        return []
    (media,) = resolve(response)["content"].values()
    schema = media["schema"]
    values = answer.json if schema.get("type") == "array" else [answer.json]
    name = schema.get("items", schema)["$ref"].rpartition("/")[2]
    return [found for value in values for found in problems(name, value)]


def _form(pattern: str) -> str:
    return re.sub(r"\\{\w+\\}", "[^/]+", re.escape(pattern.rstrip("/")))


@pytest.fixture
def site(tmp_path) -> Iterator[Site]:
    return Site(tmp_path)


def test_from_a_tenant_to_a_deployable_app(site):
    answer = site.call("PUT", f"{BASE}/new", {"name": "New", "quotas": {"apps": 2}}, site.operator)
    assert (answer.json["id"], answer.json["quotas"]["apps"], answer.headers["ETag"]) == ("new", 2, '"1"')
    made = site.call("POST", f"{BASE}/new/tokens", {"scope": "tenant", "name": "ci"}, site.operator)
    assert made.headers["Cache-Control"] == "no-store"
    token = made.json["token"]
    path = f"{BASE}/new/apps/{MAZE}"
    wishes = {"name": "maze", "matchers": ["network", "random"], "requirements": {"gpu": True}}
    assert site.call("PUT", path, wishes, token).status == 200
    assert site.call("POST", f"{path}/recipes", RECIPE, token).json == {"number": 1}
    assert site.call("POST", f"{path}/recipes?use=false", RECIPE, token).json == {"number": 2}
    assert [each["deployed"] for each in site.call("GET", f"{path}/recipes", None, token).json] == [
        True,
        False,
    ]
    assert site.call("GET", f"{path}/recipes/1", None, token).json == {**RECIPE, "restricted": True}
    shown = site.call("GET", path, None, token)
    assert shown.json == {
        **wishes,
        "uuid": MAZE,
        "recipe": 1,
        "uses_shared": True,
        "token_required": False,
        "created": "2026-11-18T11:06:40Z",
    }
    assert site.call("GET", f"{BASE}/new/apps", None, token).json == [shown.json]
    found = site.root.apps.find(UUID(MAZE))
    assert (found.tenant, found.recipe.version, found.matchers) == ("new", "1.0", ("network", "random"))
    assert site.call("DELETE", f"{path}/recipes/2", None, token).status == 204
    assert site.call("DELETE", f"{path}/recipes/1", None, token).problem == (409, "conflict")
    assert site.call("DELETE", path, None, token).status == 204
    assert site.call("GET", path, None, token).problem == (404, "not-found")
    assert site.call("DELETE", f"{BASE}/new", None, site.operator).status == 204
    site.now += 11
    assert site.call("GET", f"{BASE}/new", None, token).problem == (401, "unauthorized")


def test_tokens_are_listed_and_revoked(site):
    deploying = site.token("acme", "deploy")
    listed = site.call("GET", f"{BASE}/acme/tokens", None, site.acme).json
    assert sorted(each["scope"] for each in listed) == ["deploy", "tenant"]
    assert not any("token" in each for each in listed)
    (number,) = (each["id"] for each in listed if each["scope"] == "deploy")
    assert site.call("GET", f"{BASE}/acme", None, deploying).problem == (403, "forbidden")
    assert site.call("DELETE", f"{BASE}/acme/tokens/{number}", None, site.acme).status == 204
    assert site.call("GET", f"{BASE}/acme", None, deploying).problem == (401, "unauthorized")
    assert site.call("DELETE", f"{BASE}/acme/tokens/{number}", None, site.acme).problem[0] == 404


def test_admission_lists(site):
    made = site.call("POST", f"{BASE}/acme/invitations", {"name": "shop"}, site.acme).json
    assert site.root.admissions.spend("acme", made["code"], UUID(CLOUDLET))
    (listed,) = site.call("GET", f"{BASE}/acme/invitations", None, site.acme).json
    assert (listed["cloudlet"], listed["name"], "code" in listed) == (CLOUDLET, "shop", False)
    assert site.call("DELETE", f"{BASE}/acme/invitations/{made['id']}", None, site.acme).status == 204
    path = f"{BASE}/acme/cloudlets/{CLOUDLET}"
    assert site.call("PUT", path, {"name": "p-1"}, site.acme).json["uuid"] == CLOUDLET
    assert [each["name"] for each in site.call("GET", f"{BASE}/acme/cloudlets", None, site.acme).json] == [
        "p-1"
    ]
    assert site.call("DELETE", path, None, site.acme).status == 204
    assert site.call("DELETE", path, None, site.acme).problem == (404, "not-found")


def test_the_root_is_managed_by_operators_alone(site):
    assert site.call("GET", f"{BASE}/root", None, site.operator).json["admission"] == "open"
    changed = site.call("PUT", f"{BASE}/root", {"admission": "invitation"}, site.operator)
    assert changed.json["admission"] == "invitation"
    second = site.token("root", "operator")
    assert site.call("GET", BASE, None, second).status == 200
    assert site.call("PUT", f"{BASE}/root/cloudlets/{CLOUDLET}", {}, second).status == 200
    assert site.root.admissions.listed("", UUID(CLOUDLET))
    for token in (site.acme, site.token("root", "deploy")):
        assert site.call("GET", f"{BASE}/root", None, token).status in {403, 404}
    assert site.call("DELETE", f"{BASE}/root", None, site.operator).problem == (403, "forbidden")


def managed() -> list[tuple[str, str]]:
    return [
        (method.upper(), path)
        for path, method, operation in operations()
        if "management" in operation["tags"] and "{tenant}" in path
    ]


def concrete(path: str, tenant: str) -> str:
    number = "0f3a9c1d2e4b5f60"
    return path.format(
        tenant=tenant, app_uuid=MAZE, cloudlet_uuid=CLOUDLET, number=1, token_id=number, invitation_id=number
    )


BODIES = {"tokens": {"scope": "deploy"}, "recipes": RECIPE}


def body_for(path: str) -> Any:
    return BODIES.get(path.rpartition("/")[2], {})


@pytest.mark.parametrize(("method", "path"), managed())
def test_another_tenant_sees_and_changes_nothing(site, method, path):
    """Whatever `other` calls, there is no tenant `acme`, no more than a tenant `nobody`."""
    site.with_app()
    site.call("PUT", concrete(f"{BASE}/{{tenant}}/cloudlets/{{cloudlet_uuid}}", "acme"), {}, site.acme)
    before = site.stores.accounts.everything()
    query = "?from=2026-11-01&to=2026-11-02" if path.endswith("usage") else ""
    said = [
        site.call(method, concrete(path, name) + query, body_for(path), site.other)
        for name in ("acme", "nobody", "root")
    ]
    if path == "/api/v1/tenants/{tenant}" and method == "DELETE":
        assert {answer.problem for answer in said} == {(403, "forbidden")}, "for operators only"
    else:
        assert {answer.problem for answer in said} == {(404, "not-found")}
    assert len({answer.body for answer in said}) == 1
    assert site.stores.accounts.everything() == before


@pytest.mark.parametrize(("method", "path"), [*managed(), ("GET", BASE)])
def test_without_a_token_nothing_happens(site, method, path):
    site.with_app()
    before = site.stores.accounts.everything()
    for token in (None, "x", "sf_", site.acme[:-1], site.operator + "A"):
        answer = site.call(method, concrete(path, "acme"), body_for(path), token, address="198.51.100.1")
        assert answer.problem == (401, "unauthorized")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert site.stores.accounts.everything() == before


@pytest.mark.parametrize(("method", "path"), managed())
@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b'{"name": ["x"]}', b"\xff", b"[" * 60_000, b"1e999"])
def test_nonsense_is_refused(site, method, path, body):
    site.with_app()
    before = site.stores.accounts.everything()
    answer = site.call(method, concrete(path, "acme"), body, site.operator)
    if method in {"PUT", "POST"}:
        assert answer.status in {400, 404}
        assert site.stores.accounts.everything() == before
    assert answer.status < 500


@pytest.mark.parametrize(
    "recipe",
    [
        {},
        {"chart": "c"},
        {"chart": "", "version": "1"},
        {"chart": "c", "version": 1},
        {"chart": "c", "version": "1", "values": []},
        {"chart": "c", "version": "1", "values": None},
        {"chart": "c", "version": "1", "values": {"a": ["\ud800"]}},
        {"chart": "\ud800", "version": "1"},
        {"chart": "c", "version": "1", "restricted": "no"},
    ],
)
def test_recipes_that_can_not_be_used(site, recipe):
    site.with_app()
    answer = site.call("POST", f"{BASE}/acme/apps/{MAZE}/recipes", recipe, site.acme)
    assert answer.problem == (400, "invalid-request")
    assert len(site.call("GET", f"{BASE}/acme/apps/{MAZE}/recipes", None, site.acme).json) == 1


def test_a_recipe_of_more_than_64_kib_is_refused(site):
    site.with_app()
    large = {**RECIPE, "values": {"x": "y" * 70_000}}
    assert site.call("POST", f"{BASE}/acme/apps/{MAZE}/recipes", large, site.acme).problem == (
        413,
        "too-large",
    )
    values = {"x": "é" * 30_000}
    fitting = json.dumps({**RECIPE, "values": values}, ensure_ascii=False).encode()
    assert site.call("POST", f"{BASE}/acme/apps/{MAZE}/recipes", fitting, site.acme).json == {"number": 2}


def test_lost_updates(site):
    site.with_app()
    path = f"{BASE}/acme/apps/{MAZE}"
    version = site.call("GET", path, None, site.acme).headers["ETag"]
    assert site.call("PUT", path, {"name": "a"}, site.acme, if_match=version).status == 200
    assert site.call("PUT", path, {"name": "b"}, site.acme, if_match=version).problem == (409, "stale")
    assert site.call("PUT", path, {"name": "b"}, site.acme, if_match="3").problem[0] == 400
    assert site.call("GET", path, None, site.acme).json["name"] == "a"
    other = f"{BASE}/fresh"
    assert site.call("PUT", other, {}, site.operator, if_match='"0"').status == 200
    assert site.call("PUT", other, {}, site.operator, if_match='"0"').problem == (409, "stale")


def test_quotas_are_answered_403(site):
    site.made("small", quotas={"apps": 1, "tokens": 1, "invitations": 0, "cloudlets": 0})
    app_path = f"{BASE}/small/apps"
    assert site.call("PUT", f"{app_path}/{MAZE}", {}, site.operator).status == 200
    for method, path, body in (
        ("PUT", f"{app_path}/{CLOUDLET}", {}),
        ("POST", f"{BASE}/small/tokens", {"scope": "deploy"}),
        ("POST", f"{BASE}/small/invitations", {}),
        ("PUT", f"{BASE}/small/cloudlets/{CLOUDLET}", {}),
    ):
        assert site.call(method, path, body, site.operator).problem == (403, "quota-exceeded")
    assert site.call("PUT", f"{app_path}/{MAZE}", {"name": "same"}, site.operator).status == 200


def test_pages_have_links(site):
    for number in range(5):
        site.call("PUT", f"{BASE}/t{number}", {}, site.operator)
    seen, query = [], "limit=3"
    while query:
        answer = site.call("GET", f"{BASE}?{query}", None, site.operator)
        seen += [each["id"] for each in answer.json]
        found = re.fullmatch(r'<\?(.*)>; rel="next"', answer.headers.get("Link", ""))
        query = found[1] if found else ""
    assert seen == ["acme", "other", "t0", "t1", "t2", "t3", "t4"]
    for wrong in ("limit=0", "limit=x", "after=%2e%2e%2f", "after=" + "a" * 65):
        assert site.call("GET", f"{BASE}?{wrong}", None, site.operator).problem[0] == 400


def test_usage_is_exported(site):
    site.with_app()
    site.root.ledger.began("acme", UUID(MAZE), UUID(CLOUDLET), bytes(32), "maze-1")
    path = f"{BASE}/acme/usage"
    (entry,) = site.call("GET", f"{path}?from=2026-11-18&to=2026-11-18", None, site.acme).json
    assert (entry["event"], entry["app"], entry["from"]) == ("began", MAZE, NOW)
    for wrong in (
        "",
        "?from=2026-11-18",
        "?from=x&to=y",
        "?from=2026-11-18&to=2026-11-17",
        "?from=2026-11-18&to=2026-11-18&after=x",
    ):
        assert site.call("GET", path + wrong, None, site.acme).problem == (400, "invalid-request")


def test_many_wrong_tokens_are_answered_429(site):
    answers = [
        site.call("GET", BASE, None, f"sf_0123456789abcdef_{number:043}", address="203.0.113.9").status
        for number in range(200)
    ]
    assert answers[0] == 401
    assert answers[-1] == 429
    assert site.call("GET", BASE, None, site.operator, address="203.0.113.10").status == 200


def test_the_table_being_away_is_503(site):
    site.stores.accounts.away = True
    assert site.call("GET", f"{BASE}/acme", None, site.acme).problem == (503, "unavailable")


def test_an_app_that_wants_a_token(site):
    site.with_app(token_required=True)
    deploy, candidates = f"/api/v1/deploy/{MAZE}/{KEY}", f"/api/v1/candidates/{MAZE}"
    token = site.token("acme", "deploy")
    for method, path in (("POST", deploy), ("GET", deploy), ("GET", candidates), ("DELETE", deploy)):
        assert site.call(method, path).problem == (401, "unauthorized")
        assert site.call(method, path, None, token + "A").problem == (401, "unauthorized")
        assert site.call(method, path, None, site.other).problem == (403, "forbidden")
        for allowed in (token, site.acme, site.operator):
            assert site.call(method, path, None, allowed).status in {204, 404, 503}


def test_strangers_do_not_use_up_a_tenants_deploys(site):
    site.made("limited", quotas={"deploys_per_minute": 2})
    site.with_app("limited", token_required=True)
    path = f"/api/v1/deploy/{MAZE}/{KEY}"
    for _ in range(5):
        assert site.call("POST", path).status == 401
    token = site.token("limited", "deploy")
    said = [site.call("POST", path, None, token).status for _ in range(3)]
    assert said == [503, 503, 429]


def test_who_may_read_a_restricted_recipe(site):
    site.with_app()
    path = f"/api/v1/recipe/{MAZE}"
    assert site.call("GET", path).problem == (403, "forbidden")
    for token in (site.acme, site.operator, site.token("acme", "deploy")):
        assert site.call("GET", path, None, token).json == {**RECIPE, "restricted": True}
    assert site.call("GET", path, None, site.other).problem == (403, "forbidden")
    for wrong in ("x", "sf_x", "a.b"):
        assert site.call("GET", path, None, wrong).problem == (401, "unauthorized")
    assert site.call("GET", f"/api/v1/recipe/{UUID(int=0)}").status == 200
    assert site.call("GET", f"/api/v1/recipe/{UUID(int=1)}").problem == (403, "forbidden")
    assert site.call("GET", f"/api/v1/recipe/{UUID(int=1)}", None, site.acme).problem == (403, "forbidden")


@pytest.mark.parametrize(
    ("realm", "uses_shared", "status"),
    [("", True, 200), ("", False, 403), ("acme", False, 200), ("other", True, 403)],
)
def test_which_cloudlets_may_read_a_restricted_recipe(site, realm, uses_shared, status):
    site.with_app(uses_shared=uses_shared)
    uuid = UUID(CLOUDLET)
    key = row_key(uuid, Location(40.0, -80.0), realm)
    lease = site.root.leases.issue(LeaseClaim(uuid, key, 1, 15.0, 0))
    path = f"/api/v1/recipe/{MAZE}"
    assert site.call("GET", path, None, lease).status == status
    assert site.call("GET", path, None, lease[:-2]).problem == (401, "unauthorized")
    site.now += 25 * 3600
    assert site.call("GET", path, None, lease).problem == (410, "gone")


def test_every_management_call_wants_a_token_by_the_contract():
    for path, method, operation in operations():
        if "management" in operation["tags"]:
            assert operation["security"] == [{"accountToken": []}], f"{method} {path}"
    assert "accountToken" in DOCUMENT["components"]["securitySchemes"]
