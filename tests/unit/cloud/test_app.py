"""The whole application over real sockets: waitress, the adapter, the routes; the table in memory."""

import base64
import http.client
import json
import logging
import random
import socket
import threading
import uuid
from urllib.parse import quote, urlsplit

import pytest
from app import app
from chalicelib import errors
from chalicelib.errors import RootError
from chalicelib.logs import JsonFormatter
from chalicelib.problems import problem_of
from chalicelib.root import build_root
from chalicelib.settings import Settings
from hypothesis import given, settings
from hypothesis import strategies as st
from wsgi import WsgiAdapter

from tests.fakes.cloud_agent import running_agent
from tests.fakes.cloud_stores import fake_stores
from tests.fakes.cloud_table import FakeTable
from tests.lab.web import serving

APP = "00000000-0000-0000-0000-000000000000"
HIDDEN = "11111111-1111-1111-1111-111111111111"
BROKEN = "22222222-2222-2222-2222-222222222222"
CLOUDLET = "5f1c9a1e-7f35-4a39-9d52-3f1f8f0e6a11"
SECRET = b"\xfb\xff\xfe" * 10 + b"\xff\xff"  # its standard base64 is full of + and /
KEY = base64.b64encode(SECRET).decode()


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.kind = response.headers.get("Content-Type")
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)

    def problem(self) -> tuple[int, str]:
        """Status and short type of a problem document, which it must be."""
        assert self.kind == "application/problem+json"
        assert self.json["status"] == self.status
        assert self.json["title"]
        assert "Traceback" not in self.body.decode()
        return self.status, self.json["type"].removeprefix("urn:sinfonia:problem:")


class Site:
    def __init__(self, recipes) -> None:
        for name, restricted in ((APP, "false"), (HIDDEN, "true")):
            (recipes / f"{name}.yaml").write_text(f"chart: c\nversion: '1'\nrestricted: {restricted}\n")
        (recipes / f"{BROKEN}.yaml").write_text("chart: [")
        self.recipes = recipes
        self.table = FakeTable()
        self.serve()
        self.port = 0

    def serve(self, **options) -> None:
        """Answer with a root of these settings, over the same table."""
        chosen = {
            "lease_secret": b"0123456789abcdef",
            "recipes": str(self.recipes),
            "allow_private_endpoints": True,
            "open": True,
            "calls_per_address": 1e6,
            **options,
        }
        app.serve(build_root(Settings(**chosen), fake_stores(self.table), chance=random.Random(0)))

    def call(self, method: str, path: str, body=None, **headers) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        try:
            raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, raw, {name.replace("_", "-"): v for name, v in headers.items()})
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def register(self, uuid_=CLOUDLET, endpoint="http://192.0.2.7:7070/api/v1/deploy", **fields) -> Answer:
        return self.call(
            "PUT", f"/api/v1/cloudlets/{uuid_}", {"endpoint": endpoint, "incarnation": 1, **fields}
        )


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("recipes"))
    with serving(WsgiAdapter(app)) as url:
        site.port = urlsplit(url).port
        yield site


@pytest.fixture
def site(running):
    running.table = FakeTable()
    running.serve()
    return running


@pytest.fixture
def agent(site):
    with running_agent() as one:
        assert site.register(endpoint=one.url, name="near").status == 200
        yield one


def test_deploy(site, agent):
    answer = site.call(
        "POST", f"/api/v1/deploy/{APP}/{KEY}?wait=0", {"location": {"latitude": 1, "longitude": 2}}
    )
    assert (answer.status, answer.kind) == (200, "application/json")
    assert answer.json[0]["ApplicationKey"] == KEY
    assert answer.json[0]["Cloudlet"] == {"UUID": CLOUDLET, "Name": "near"}
    _, path, headers = agent.requests[0]
    assert path.endswith(f"/{base64.urlsafe_b64encode(SECRET).decode().rstrip('=')}?wait=0")
    assert headers["X-Location"] == "1.0,2.0"
    assert headers["X-ClientIP"] == "127.0.0.1"


def test_deploy_as_the_published_client_asks(site, agent):
    answer = site.call("POST", f"/api/v1/deploy/{APP}/{base64.urlsafe_b64encode(SECRET).decode()[:43]}")
    assert answer.status == 200
    assert agent.requests[0][1].endswith("?wait=5")


@pytest.mark.parametrize("prefix", ["", "/", "//"])
@pytest.mark.parametrize(
    "spelling",
    [
        KEY,
        KEY + "/",
        KEY.rstrip("="),
        quote(KEY, safe=""),
        quote(KEY),
        quote(quote(KEY, safe=""), safe=""),
        SECRET.hex(),
        base64.urlsafe_b64encode(SECRET).decode(),
        quote(base64.urlsafe_b64encode(SECRET).decode()),
    ],
)
def test_keys_in_every_spelling(site, agent, spelling, prefix):
    answer = site.call("POST", f"{prefix}/api/v1/deploy/{APP}/{spelling}?results=1")
    assert answer.status == 200
    assert answer.json[0]["ApplicationKey"] == KEY


def test_a_key_that_begins_with_slashes(site, agent):
    key = base64.b64encode(b"\xff" * 32).decode()
    assert site.call("POST", f"/api/v1/deploy/{APP}/{key}").json[0]["ApplicationKey"] == key


@pytest.mark.parametrize(
    "key", ["", "/", "short", "A" * 44, "A" * 42 + "B", "%zz", "g" * 64, "%00" * 43, "é"]
)
def test_wrong_keys(site, key):
    answer = site.call("POST", f"/api/v1/deploy/{APP}/{quote(key, safe='%/')}")
    assert answer.problem() == (400, "invalid-request")
    assert "application_key" in answer.json["detail"]


BAD_REQUESTS = [
    ("POST", f"/api/v1/deploy/nonsense/{KEY}", None, {}),
    ("POST", f"/api/v1/deploy/{APP[:-1]}/{KEY}", None, {}),
    ("POST", f"/api/v1/deploy/{APP}/{KEY}?results=0", None, {}),
    ("POST", f"/api/v1/deploy/{APP}/{KEY}?results=many", None, {}),
    ("POST", f"/api/v1/deploy/{APP}/{KEY}?wait=nan", None, {}),
    ("POST", f"/api/v1/deploy/{APP}/{KEY}?wait=-1", None, {}),
    ("POST", f"/api/v1/deploy/{APP}/{KEY}", None, {"X_Location": "91,0"}),
    ("POST", f"/api/v1/deploy/{APP}/{KEY}", None, {"X_Location": "inf,0"}),
    ("POST", f"/api/v1/deploy/{APP}/{KEY}", None, {"X_Location": "here"}),
    ("POST", f"/api/v1/deploy/{APP}/{KEY}", b"{", {}),
    ("POST", f"/api/v1/deploy/{APP}/{KEY}", b"\xff\xfe", {}),
    ("POST", f"/api/v1/deploy/{APP}/{KEY}", b"[]", {}),
    ("POST", f"/api/v1/deploy/{APP}/{KEY}", b"null", {}),
    ("POST", f"/api/v1/deploy/{APP}/{KEY}", b"[" * 60_000, {}),
    ("POST", f"/api/v1/deploy/{APP}/{KEY}", b'{"location": {"latitude": NaN, "longitude": 0}}', {}),
    ("POST", f"/api/v1/deploy/{APP}/{KEY}", b'{"location": {"latitude": 1e999, "longitude": 0}}', {}),
    ("POST", f"/api/v1/deploy/{APP}/{KEY}", {"location": {"latitude": 91, "longitude": 0}}, {}),
    ("POST", f"/api/v1/deploy/{APP}/{KEY}", {"location": {"latitude": True, "longitude": 0}}, {}),
    ("GET", f"/api/v1/deploy/nonsense/{KEY}", None, {}),
    ("GET", f"/api/v1/deploy/{APP}/x", None, {}),
    ("GET", "/api/v1/candidates/nonsense", None, {}),
    ("GET", f"/api/v1/candidates/{APP}?results=-1", None, {}),
    ("GET", "/api/v1/recipe/nonsense/", None, {}),
    ("GET", "/api/v1/cloudlets/?limit=0", None, {}),
    ("GET", "/api/v1/cloudlets/?limit=x", None, {}),
    ("GET", "/api/v1/cloudlets/?after=x", None, {}),
    ("GET", "/api/v1/cloudlets/?after=%C3%A9", None, {}),
    ("GET", "/api/v1/cloudlets/?after=W10=", None, {}),
    ("POST", "/api/v1/cloudlets/", None, {}),
    ("POST", "/api/v1/cloudlets/", b"not json", {}),
    ("POST", "/api/v1/cloudlets/", {}, {}),
    ("POST", "/api/v1/cloudlets/", {"uuid": "x", "endpoint": "http://h/", "resources": {}}, {}),
    (
        "POST",
        "/api/v1/cloudlets/",
        {"uuid": CLOUDLET, "endpoint": "http://h/", "resources": {"cpu_ratio": 2}},
        {},
    ),
    ("PUT", "/api/v1/cloudlets/nonsense", {"endpoint": "http://h/", "incarnation": 1}, {}),
    ("PUT", f"/api/v1/cloudlets/{CLOUDLET}", {"endpoint": "http://h/"}, {}),
    ("PUT", f"/api/v1/cloudlets/{CLOUDLET}", {"endpoint": "h", "incarnation": 1}, {}),
    ("PUT", f"/api/v1/cloudlets/{CLOUDLET}", b'{"endpoint": "http://h/", "incarnation": Infinity}', {}),
    ("PUT", f"/api/v1/cloudlets/{CLOUDLET}", b'{"endpoint": "http://h/\\ud800", "incarnation": 1}', {}),
    ("POST", f"/api/v1/cloudlets/{CLOUDLET}/keepalive", {"sequence": 0}, {}),
    ("POST", f"/api/v1/cloudlets/{CLOUDLET}/keepalive", b"", {}),
    ("DELETE", "/api/v1/cloudlets/nonsense", None, {}),
]


@pytest.mark.parametrize(("method", "path", "body", "headers"), BAD_REQUESTS)
def test_bad_input_is_a_400_and_changes_nothing(site, method, path, body, headers):
    answer = site.call(method, path, body, **headers)
    assert answer.problem() == (400, "invalid-request")
    assert answer.json["detail"]
    assert "put_item" not in site.table.operations


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"/api/v1/deploy/{APP}/{KEY}"),
        ("POST", "/api/v1/cloudlets/"),
        ("PUT", f"/api/v1/cloudlets/{CLOUDLET}"),
        ("POST", f"/api/v1/cloudlets/{CLOUDLET}/keepalive"),
    ],
)
@pytest.mark.parametrize("size", [65_537, 1_048_576])
def test_large_bodies(site, method, path, size):
    assert site.call(method, path, b" " * size).problem() == (413, "too-large")


def test_a_body_of_the_largest_size_is_read(site):
    assert site.call("POST", "/api/v1/cloudlets/", b" " * 65_536).problem() == (400, "invalid-request")


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        (f"/api/v1/recipe/{uuid.UUID(int=9)}/", 404, "not-found"),
        (f"/api/v1/recipe/{HIDDEN}/", 403, "forbidden"),
        (f"/api/v1/recipe/{BROKEN}/", 422, "recipe-unusable"),
        (f"/api/v1/candidates/{uuid.UUID(int=9)}", 404, "not-found"),
        (f"/api/v1/candidates/{APP}", 503, "no-cloudlet"),
        ("/", 404, "not-found"),
        ("/api/v1", 404, "not-found"),
        ("/api/v2/health", 404, "not-found"),
        ("/api/v1/deploy", 404, "not-found"),
        (f"/api/v1/deploy/{APP}", 404, "not-found"),
        ("/%2e%2e/%2e%2e/etc/passwd", 404, "not-found"),
        ("/api/v1/deploy//x", 404, "not-found"),
    ],
)
def test_what_is_not_there(site, path, status, kind):
    answer = site.call("GET", path)
    assert answer.problem() == (status, kind)
    assert ("Retry-After" in answer.headers) is (status == 503)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", f"/api/v1/deploy/{APP}/{KEY}", "DELETE, GET, POST"),
        ("POST", f"/api/v1/cloudlets/{CLOUDLET}", "DELETE, GET, PUT"),
        ("DELETE", "/api/v1/cloudlets/", "GET, POST"),
        ("OPTIONS", "/api/v1/health", "GET"),
    ],
)
def test_wrong_methods(site, method, path, allowed):
    answer = site.call(method, path)
    assert answer.problem() == (405, "method-not-allowed")
    assert answer.headers["Allow"] == allowed


def test_a_deploy_where_every_cloudlet_fails(site):
    site.register(endpoint="http://127.0.0.1:1/d", name="gone")
    answer = site.call("POST", f"/api/v1/deploy/{APP}/{KEY}?wait=0")
    assert answer.problem() == (502, "deploy-failed")
    assert "gone" in answer.json["detail"]


def test_the_life_of_a_cloudlet(site):
    lease = site.register(name="a", location={"latitude": 1, "longitude": 2}).json
    assert (lease["interval_seconds"], lease["lease_seconds"]) == (15, 50)
    path, bearer = f"/api/v1/cloudlets/{CLOUDLET}", f"Bearer {lease['lease_token']}"
    said = {"sequence": 1, "resources": {"cpu_ratio": 0.5}}
    answer = site.call("POST", f"{path}/keepalive", said, Authorization=bearer)
    assert (answer.status, answer.json) == (200, {"interval_seconds": 15, "lease_seconds": 50})
    assert site.call("POST", f"{path}/keepalive", said, Authorization=bearer).problem() == (409, "stale")
    (row,) = site.call("GET", "/api/v1/cloudlets/").json
    assert row["uuid"] == CLOUDLET
    assert row["resources"] == {"cpu_ratio": 0.5}
    assert row["locations"] == [[1, 2]]
    lower = site.call("PUT", path, {"endpoint": "http://h/", "incarnation": 0})
    assert lower.problem() == (409, "stale")
    assert lower.json["incarnation"] == 1
    assert site.call("DELETE", path).problem() == (401, "unauthorized")
    assert site.call("DELETE", path, Authorization="Basic x").problem() == (401, "unauthorized")
    gone = site.call("DELETE", path, Authorization=bearer)
    assert (gone.status, gone.body) == (204, b"")
    assert site.call("DELETE", path, Authorization=bearer).status == 204
    said["sequence"] = 2
    assert site.call("POST", f"{path}/keepalive", said, Authorization=bearer).problem() == (410, "gone")
    assert site.call("GET", "/api/v1/cloudlets/").json == []


def test_the_published_keepalive(site):
    said = {
        "uuid": CLOUDLET,
        "endpoint": "http://192.0.2.9:30051/api/v1/deploy",
        "resources": {"net_rx_rate": 1e4},
    }
    for path in ("/api/v1/cloudlets/", "/api/v1/cloudlets", "//api/v1/cloudlets/"):
        answer = site.call("POST", path, said, Content_Type="text/plain")
        assert (answer.status, answer.body) == (204, b"")
    assert len(site.call("GET", "/api/v1/cloudlets/").json) == 1
    site.serve(open=False)
    assert site.call("POST", "/api/v1/cloudlets/", said).problem() == (403, "forbidden")


def test_pages_are_linked(site):
    for number in range(5):
        site.register(uuid.UUID(int=number), location={"latitude": number, "longitude": 0})
    seen, path = [], "/api/v1/cloudlets/?limit=2"
    while path:
        answer = site.call("GET", path)
        seen += [row["uuid"] for row in answer.json]
        link = answer.headers.get("Link")
        path = link and "/api/v1/cloudlets/" + link.partition("<")[2].partition(">")[0]
    assert sorted(seen) == [str(uuid.UUID(int=number)) for number in range(5)]


def test_a_cloudlet_that_is_the_root_itself_does_not_make_it_call_itself_for_ever(site):
    site.register(endpoint=f"http://127.0.0.1:{site.port}/api/v1/deploy", name="mirror")
    answer = site.call("POST", f"/api/v1/deploy/{APP}/{KEY}?wait=0")
    assert answer.problem() == (502, "deploy-failed")
    assert "mirror answered 400" in answer.json["detail"]


def test_candidates(site):
    site.register(
        name="near",
        location={"latitude": 10, "longitude": 10},
        local_networks=["127.0.0.0/8"],
        resources={"cpu_ratio": 0.5},
    )
    (candidate,) = site.call("GET", f"/api/v1/candidates/{APP}", X_Location="10,11").json
    assert candidate == {
        "UUID": CLOUDLET,
        "Name": "near",
        "Endpoint": "http://192.0.2.7:7070/api/v1/deploy",
        "Location": [10, 10],
        "DistanceKm": 109.5,
        "LocalNetwork": True,
        "Resources": {"cpu_ratio": 0.5},
    }


def test_the_client_address_is_believed_from_trusted_proxies_only(site):
    site.register(rejected_clients=["203.0.113.0/24"])
    path = f"/api/v1/candidates/{APP}"
    assert site.call("GET", path, X_ClientIP="203.0.113.5").status == 200
    assert site.call("GET", path, X_ClientIP="nonsense").status == 200
    proxies = Settings.from_environ(
        {"SINFONIA_LEASE_SECRET": "0" * 16, "SINFONIA_TRUSTED_PROXIES": "127.0.0.0/8"}
    ).trusted_proxies
    site.serve(trusted_proxies=proxies)
    assert site.call("GET", path, X_ClientIP="203.0.113.5").problem() == (503, "no-cloudlet")
    assert site.call("GET", path, X_ClientIP="::ffff:203.0.113.5").problem() == (503, "no-cloudlet")
    assert site.call("GET", path, X_ClientIP="198.51.100.1").status == 200
    assert site.call("GET", path, X_ClientIP="nonsense").problem() == (400, "invalid-request")


def test_the_contract_recipe_and_health(site):
    contract = site.call("GET", "/api/v1/openapi.yaml")
    assert contract.kind == "application/yaml"
    assert contract.body.startswith(b"openapi: 3.1.0")
    recipe = site.call("GET", f"/api/v1/recipe/{APP}/")
    assert recipe.json == {"chart": "c", "version": "1", "values": {}, "restricted": False}
    assert site.call("GET", "/api/v1/health").json == {"status": "ok"}


def test_without_the_table_everything_that_needs_it_is_unavailable(site):
    site.table.away = True
    for method, path, body in (
        ("GET", "/api/v1/health", None),
        ("GET", "/api/v1/cloudlets/", None),
        ("POST", f"/api/v1/deploy/{APP}/{KEY}", None),
        ("PUT", f"/api/v1/cloudlets/{CLOUDLET}", {"endpoint": "http://h/", "incarnation": 1}),
    ):
        answer = site.call(method, path, body)
        assert answer.problem() == (503, "unavailable")
        assert answer.headers["Retry-After"]


def test_the_unexpected_is_a_500_without_its_traceback(site, caplog):
    def breaks(*_arguments):
        raise ZeroDivisionError("secret")

    site.table.page = breaks
    answer = site.call("GET", "/api/v1/cloudlets/")
    assert answer.problem() == (500, "internal")
    assert b"secret" not in answer.body
    assert "ZeroDivisionError" in caplog.text


def test_threads_do_not_mix_requests(site):
    wrong: list[str] = []

    def run(number: int) -> None:
        for step in range(20):
            name = str(uuid.UUID(int=number * 1000 + step))
            if site.register(name, name=name).status != 200:
                wrong.append(name)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    rows = site.call("GET", "/api/v1/cloudlets/?limit=1000").json
    assert not wrong
    assert len(rows) == 160
    assert all(row["uuid"] == row["name"] for row in rows)


def test_no_key_or_token_is_logged(site, agent, caplog):
    caplog.set_level(logging.DEBUG)
    caplog.handler.setFormatter(JsonFormatter())
    token = site.register(uuid.UUID(int=5)).json["lease_token"]
    site.call("DELETE", f"/api/v1/cloudlets/{uuid.UUID(int=5)}", Authorization=f"Bearer {token}")
    site.call("POST", f"/api/v1/deploy/{APP}/{KEY}")
    lines = [json.loads(line) for line in caplog.text.splitlines()]
    assert {line.get("route") for line in lines} >= {"POST /api/v1/deploy/{app_uuid}/{application_key+}"}
    for secret in (
        token,
        token.split(".")[1],
        KEY,
        base64.urlsafe_b64encode(SECRET).decode()[:43],
        SECRET.hex(),
    ):
        assert secret not in caplog.text


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    st.sampled_from(["deploy", "candidates", "cloudlets", "recipe", ""]),
    st.lists(
        st.sampled_from([APP, CLOUDLET, KEY, "keepalive", "%00", "%C3%28", "..", "", "é", "?", "#"]),
        max_size=4,
    ),
    st.binary(max_size=40) | st.sampled_from([b"{}", b"null", b"0", b'"x"', b'{"sequence": 1}']),
)
def test_whatever_comes_no_500(running, method, first, rest, body):
    path = "/api/v1/" + quote("/".join([first, *rest]), safe="/%?")
    answer = running.call(method, path, body)
    assert answer.status < 500 or answer.status == 503
    if answer.status >= 400:
        answer.problem()


@pytest.mark.parametrize(
    "line",
    [
        b"GET http://example.org/api/v1/health HTTP/1.1",
        b"GET //api/v1/health?x HTTP/1.1",
        b"GET /api/v1/health/ HTTP/1.0",
    ],
)
def test_odd_request_lines(site, line):
    with socket.create_connection(("127.0.0.1", site.port), 5) as connection:
        connection.sendall(line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert Answer(response).json == {"status": "ok"}


def every(kind: type[Exception]) -> list[type[Exception]]:
    return [kind, *(each for sub in kind.__subclasses__() for each in every(sub))]


@pytest.mark.parametrize("kind", every(RootError)[1:])
def test_every_error_has_a_problem_type_of_the_contract(kind, site):
    contract = site.call("GET", "/api/v1/openapi.yaml").body.decode()
    document = json.loads(problem_of(kind("why")).body)
    assert document["type"] in contract
    assert document["detail"] == "why"
    assert kind.__name__ in vars(errors)


def test_every_route_is_in_the_contract(site):
    contract = site.call("GET", "/api/v1/openapi.yaml").body.decode()
    for route in app.routes:
        path = urlsplit(route).path.replace("+", "")
        assert f"\n  {path}:" in contract or f"\n  {path}/:" in contract
