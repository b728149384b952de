"""The agent's HTTP APIs over WSGI: paths in every shape, bad input, answers that hold the contract."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import pytest

from edge_agent.deployments.requirements import Hardware, Offer
from edge_agent.errors import RecipeUnusable, Unavailable
from edge_agent.serving.api import make_api
from edge_agent.serving.callers import Callers
from edge_agent.serving.probes import Probes
from edge_agent.serving.tunnel_api import make_tunnel_api
from tests.fakes.edge_agent_backends import HELLOWORLD, Catalogue, backend, deployment, service
from tests.fakes.edge_agent_parts import AGENT, Parts
from tests.fakes.edge_agent_roots import ROOT, SigningRoot, anybody, trust
from tests.unit.edge_agent.test_wire import holds

KEY = bytes.fromhex("fb" * 31 + "f0")  # its base64 is full of slashes and pluses
URLSAFE = base64.urlsafe_b64encode(KEY).decode().rstrip("=")
STANDARD = base64.b64encode(KEY).decode()
DEPLOY = f"/api/v1/deploy/{HELLOWORLD}"


class Answer:
    def __init__(self, status: str, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status = int(status.split()[0])
        self.headers = dict(headers)
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def call(
    app: Any, method: str, path: str, body: bytes = b"", device: str = "192.0.2.1", **headers: str
) -> Answer:
    """One request as a WSGI server hands it over: the path decoded to latin-1."""
    target, _, query = path.partition("?")
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": unquote_to_bytes(target).decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_NAME": "agent",
        "SERVER_PORT": "7070",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": device,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    environ |= {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    got: list[Any] = []
    body_parts = app(environ, lambda status, headers, *_: got.extend((status, headers)))
    whole = b"".join(body_parts)
    if hasattr(body_parts, "close"):
        body_parts.close()
    return Answer(*got, whole)


def problem(answer: Answer, status: int, kind: str) -> str:
    assert answer.status == status, answer.body
    assert answer.headers["Content-Type"] == "application/problem+json"
    holds("Problem", answer.json)
    assert answer.json["type"] == f"urn:sinfonia:problem:{kind}"
    return str(answer.json.get("detail", ""))


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest.fixture
def api(parts: Parts) -> Any:
    return make_api(parts.deployments, anybody())


@pytest.mark.parametrize(
    "path",
    [
        f"{DEPLOY}/{URLSAFE}",
        f"{DEPLOY}/{URLSAFE}=",
        f"{DEPLOY}/{STANDARD}",
        f"{DEPLOY}/{STANDARD.rstrip('=')}",
        f"{DEPLOY}/{quote(STANDARD, safe='')}",
        f"{DEPLOY}/{KEY.hex()}",
        f"/{DEPLOY}/{STANDARD}",
        f"//{DEPLOY}/{URLSAFE}/",
    ],
)
def test_the_key_is_taken_however_it_comes(api: Any, path: str) -> None:
    answer = call(api, "POST", path + "?wait=0")
    assert answer.status == 200, answer.body
    assert answer.json[0]["ApplicationKey"] == STANDARD


@pytest.mark.parametrize("first", [b"\xff\xff", b"\xff\xf0"])
def test_a_key_may_begin_with_slashes(api: Any, first: bytes) -> None:
    key = base64.b64encode(first + bytes(30)).decode()
    assert key.startswith("/")
    answer = call(api, "POST", f"{DEPLOY}/{key}?wait=0")
    assert answer.status == 200, answer.body
    assert answer.json[0]["ApplicationKey"] == key


def test_the_answer_holds_the_contract(api: Any, parts: Parts) -> None:
    answer = call(api, "POST", f"{DEPLOY}/{URLSAFE}?wait=0&results=2&unknown=1")
    assert answer.headers["Content-Type"] == "application/json"
    assert len(answer.json) == 1
    holds("Deployment", answer.json[0])
    parts.settle()
    again = call(api, "GET", f"{DEPLOY}/{STANDARD}")
    assert (again.status, again.json[0]["Status"]) == (200, "Ready")
    holds("Deployment", again.json[0])


def test_looking_deploys_nothing(api: Any, parts: Parts) -> None:
    problem(call(api, "GET", f"{DEPLOY}/{URLSAFE}"), 404, "not-found")
    assert parts.runtime.records() == []


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (f"/api/v1/deploy/nonsense/{URLSAFE}", "app_uuid"),
        (f"{DEPLOY}/short", "application_key"),
        (f"{DEPLOY}/{'A' * 500}", "application_key"),
        (f"{DEPLOY}/%FF%FE%00", "application_key"),
        (f"{DEPLOY}/{URLSAFE}/more", "application_key"),
        (f"{DEPLOY}/{URLSAFE}?results=0", "results"),
        (f"{DEPLOY}/{URLSAFE}?results=x", "results"),
        (f"{DEPLOY}/{URLSAFE}?wait=-1", "wait"),
        (f"{DEPLOY}/{URLSAFE}?wait=nan", "wait"),
    ],
)
def test_bad_paths_and_queries(api: Any, parts: Parts, path: str, field: str) -> None:
    assert problem(call(api, "POST", path), 400, "invalid-request").startswith(f"{field}: ")
    assert parts.runtime.records() == []


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"location": {"latitude": NaN, "longitude": 0}}',
        b'{"location": {"latitude": 91}}',
    ],
)
def test_bad_bodies(api: Any, parts: Parts, body: bytes) -> None:
    problem(call(api, "POST", f"{DEPLOY}/{URLSAFE}", body), 400, "invalid-request")
    assert parts.runtime.records() == []


@pytest.mark.parametrize(
    ("name", "value"), [("x_location", "91,0"), ("x_location", "x"), ("x_clientip", "x")]
)
def test_bad_headers(api: Any, name: str, value: str) -> None:
    problem(call(api, "POST", f"{DEPLOY}/{URLSAFE}?wait=0", **{name: value}), 400, "invalid-request")


def test_a_body_of_a_megabyte(api: Any, parts: Parts) -> None:
    problem(call(api, "POST", f"{DEPLOY}/{URLSAFE}", b" " * (1 << 20)), 413, "too-large")
    assert parts.runtime.records() == []


def test_unknown_paths_and_methods(api: Any) -> None:
    problem(call(api, "GET", "/"), 404, "not-found")
    problem(call(api, "GET", "/api/v1/deploy/"), 404, "not-found")
    problem(call(api, "GET", f"/api/v1/deploy/{HELLOWORLD}"), 404, "not-found")
    problem(call(api, "PUT", f"{DEPLOY}/{URLSAFE}"), 405, "method-not-allowed")
    problem(call(api, "BREW", "/api/v1/health"), 405, "method-not-allowed")


def test_what_can_go_wrong_in_a_deployment_has_its_status(parts: Parts) -> None:
    app = f"/api/v1/deploy/{'1' * 8}-1111-1111-1111-{'1' * 12}/{URLSAFE}"
    problem(call(make_api(parts.deployments, anybody()), "POST", app), 404, "not-found")
    unusable = Parts(catalogue=Catalogue({HELLOWORLD: RecipeUnusable("The chart asks for a ClusterRole.")}))
    detail = problem(
        call(make_api(unusable.deployments, anybody()), "POST", f"{DEPLOY}/{URLSAFE}"), 422, "recipe-unusable"
    )
    assert "ClusterRole" in detail
    unusable.runtime.away = True
    parts.runtime.away = True
    answer = call(make_api(parts.deployments, anybody()), "POST", f"{DEPLOY}/{URLSAFE}")
    problem(answer, 503, "unavailable")
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_failed_backend_is_a_bad_gateway() -> None:
    parts = Parts(catalogue=Catalogue({HELLOWORLD: backend(service(), deployment(image="localhost/no:1"))}))
    api = make_api(parts.deployments, anybody())
    call(api, "POST", f"{DEPLOY}/{URLSAFE}?wait=0")
    parts.settle()
    assert call(api, "GET", f"{DEPLOY}/{URLSAFE}").json[0]["Status"] == "Failed"


def test_our_own_faults_tell_no_secrets(parts: Parts) -> None:
    class Broken:
        def prepare(self, *_: object) -> Any:
            raise ZeroDivisionError("secret")

    broken = Parts(catalogue=Broken())
    answer = call(make_api(broken.deployments, anybody()), "POST", f"{DEPLOY}/{URLSAFE}")
    assert "secret" not in problem(answer, 500, "internal")


def test_health_says_whether_it_serves(parts: Parts, api: Any) -> None:
    answer = call(api, "GET", "/api/v1/health")
    holds("Health", answer.json)
    assert answer.json["deployments"] == 0
    parts.deployments.open = False
    problem(call(api, "GET", "/api/v1/health"), 503, "unavailable")


def test_a_device_follows_and_releases_its_own_deployment(api: Any, parts: Parts) -> None:
    tunnel = make_tunnel_api(parts.deployments, parts.clock)
    answer = call(api, "POST", f"{DEPLOY}/{URLSAFE}?wait=0").json[0]
    device = answer["TunnelConfig"]["address"][0].removesuffix("/32")
    mine = call(tunnel, "GET", "/api/v1/deployment?wait=0", device=device)
    assert mine.json == answer
    stranger = str(IPv4Address(device) + 8)
    problem(call(tunnel, "GET", "/api/v1/deployment", device=stranger), 404, "not-found")
    problem(call(tunnel, "DELETE", "/api/v1/deployment", device=stranger), 404, "not-found")
    assert call(tunnel, "DELETE", "/api/v1/deployment", device=device).status == 202
    problem(call(tunnel, "GET", "/api/v1/deployment", device=device), 404, "not-found")
    parts.settle()
    assert parts.runtime.records() == []


def test_whoever_is_no_device_is_told_of_once(parts: Parts, caplog: pytest.LogCaptureFixture) -> None:
    tunnel = make_tunnel_api(parts.deployments, parts.clock)
    for address in ("100.71.3.1", "192.0.2.9", "192.0.2.9", "fd00::9"):
        problem(call(tunnel, "GET", "/api/v1/deployment", device=address), 404, "not-found")
    (said,) = [one for one in caplog.records if "masquerade" in one.message]
    assert said.address == "192.0.2.9"  # type: ignore[attr-defined]


def test_the_tunnel_serves_nothing_else(parts: Parts) -> None:
    tunnel = make_tunnel_api(parts.deployments, parts.clock)
    problem(call(tunnel, "POST", f"{DEPLOY}/{URLSAFE}"), 404, "not-found")
    problem(call(tunnel, "GET", "/api/v1/deployment?wait=x"), 400, "invalid-request")
    problem(call(tunnel, "POST", "/api/v1/deployment"), 405, "method-not-allowed")


def test_a_device_measures_its_way_within_its_allowance(api: Any, parts: Parts) -> None:
    tunnel = make_tunnel_api(parts.deployments, parts.clock)
    made = call(api, "POST", f"{DEPLOY}/{URLSAFE}?wait=0").json[0]
    device = made["TunnelConfig"]["address"][0].removesuffix("/32")
    stranger = str(IPv4Address(device) + 8)
    for method, path in (("GET", ""), ("GET", "/download"), ("POST", "/upload")):
        problem(call(tunnel, method, f"/api/v1/probe{path}", device=stranger), 404, "not-found")
    assert call(tunnel, "GET", "/api/v1/probe", device=device).status == 204
    loaded = call(tunnel, "GET", "/api/v1/probe/download?bytes=100000", device=device)
    assert (len(loaded.body), loaded.headers["Content-Length"]) == (100_000, "100000")
    sent = call(tunnel, "POST", "/api/v1/probe/upload", b"x" * 200_000, device=device)
    assert sent.json == {"bytes": 200_000}
    for nonsense in ("0", "-1", "x", "16000001", "1e3", ""):
        path = f"/api/v1/probe/download?bytes={nonsense}"
        problem(call(tunnel, "GET", path, device=device), 400, "invalid-request")
    problem(call(tunnel, "POST", "/api/v1/probe/upload", b"x" * 16_000_001, device=device), 413, "too-large")
    for _ in range(3):
        assert call(tunnel, "GET", "/api/v1/probe/download?bytes=16000000", device=device).status == 200
    enough = call(tunnel, "GET", "/api/v1/probe/download?bytes=16000000", device=device)
    problem(enough, 503, "unavailable")
    parts.clock.seconds += int(enough.headers["Retry-After"])
    assert call(tunnel, "GET", "/api/v1/probe/download?bytes=16000000", device=device).status == 200


def test_a_device_measures_once_at_a_time() -> None:
    probes, device = Probes(lambda: 0.0), IPv4Address("100.71.0.9")
    end = probes.begin(device, 10)
    with pytest.raises(Unavailable, match="already"):
        probes.begin(device, 10)
    probes.begin(device + 8, 10)
    end()
    with probes.measuring(device, 10):
        pass


class Rooted:
    """An agent with two roots, whose calls to it are signed."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.parts = Parts()
        self.root, self.other = SigningRoot(), SigningRoot("https://other.example")
        trusts = trust(folder, self.root, self.other, clock=self.parts.clock)
        self.api = make_api(self.parts.deployments, Callers(AGENT, trusts, self.parts.clock, **options))

    def call(self, method: str, root: SigningRoot | None = None, query: str = "", **claims: Any) -> Answer:
        target = f"/{HELLOWORLD}/{URLSAFE}{query}"
        signed = {"x_sinfonia_signature": root.sign(method, target, **claims)} if root else {}
        return call(self.api, method, f"/api/v1/deploy{target}", **signed)


@pytest.fixture
def rooted(tmp_path: Path) -> Rooted:
    return Rooted(tmp_path)


def test_a_deployment_belongs_to_the_root_that_signed_the_call(rooted: Rooted) -> None:
    assert rooted.call("POST", rooted.root, "?wait=0", ip="192.0.2.50").status == 200
    (record,) = rooted.parts.runtime.records()
    assert record.root == ROOT
    assert rooted.call("POST", rooted.other, "?wait=0").json == rooted.call("GET", rooted.root).json
    assert len(rooted.parts.runtime.records()) == 1


def test_only_its_root_releases_a_deployment(rooted: Rooted) -> None:
    rooted.call("POST", rooted.root, "?wait=0")
    problem(rooted.call("DELETE"), 401, "unauthorized")
    problem(rooted.call("DELETE", rooted.other), 403, "forbidden")
    assert len(rooted.parts.runtime.records()) == 1
    answer = rooted.call("DELETE", rooted.root)
    assert (answer.status, answer.body) == (204, b"")
    rooted.parts.settle()
    assert rooted.parts.runtime.records() == []
    assert rooted.call("DELETE", rooted.root).status == 204, "saying it twice is fine"


def test_no_root_releases_what_a_device_asked_for_itself(rooted: Rooted) -> None:
    rooted.call("POST", query="?wait=0")
    problem(rooted.call("DELETE", rooted.root), 403, "forbidden")


def test_a_wrong_signature_is_worse_than_none(rooted: Rooted) -> None:
    for method in ("POST", "GET", "DELETE"):
        problem(rooted.call(method, rooted.root, aud="another"), 401, "unauthorized")
        problem(call(rooted.api, method, f"{DEPLOY}/{URLSAFE}", x_sinfonia_signature=""), 401, "unauthorized")
    assert rooted.parts.runtime.records() == []
    assert rooted.call("POST", query="?wait=0").status == 200


def test_a_cloudlet_of_roots_alone_takes_no_unsigned_call(tmp_path: Path) -> None:
    rooted = Rooted(tmp_path, only_roots=True)
    for method in ("POST", "GET", "DELETE"):
        problem(rooted.call(method), 401, "unauthorized")
    assert rooted.call("POST", rooted.root, "?wait=0").status == 200
    assert call(rooted.api, "GET", "/api/v1/health").status == 200


def test_while_it_drains_what_runs_goes_on_and_nothing_new_begins(api: Any, parts: Parts) -> None:
    before = call(api, "POST", f"{DEPLOY}/{URLSAFE}?wait=0").json
    parts.deployments.draining = True
    assert call(api, "POST", f"{DEPLOY}/{URLSAFE}?wait=0").json == [{**before[0], "Draining": True}]
    other = f"{DEPLOY}/{'ab' * 32}?wait=0"
    assert "draining" in problem(call(api, "POST", other), 503, "unavailable")
    assert len(parts.runtime.records()) == 1
    parts.deployments.draining = False
    assert call(api, "POST", other).status == 200


def test_a_cloudlet_that_lacks_what_a_device_requires_declines(api: Any, parts: Parts) -> None:
    demanded = b'{"requirements": {"gpu": true, "cores": 2}}'
    path = f"{DEPLOY}/{URLSAFE}?wait=0"
    assert "gpu, cores" in problem(call(api, "POST", path, demanded), 503, "unavailable")
    assert parts.runtime.records() == []
    parts.deployments.site = replace(parts.site, offer=Offer(Hardware(2, None, "NVIDIA L4")))
    assert call(api, "POST", path, demanded).status == 200


def test_apps_that_were_ready_here_count_as_cached(api: Any, parts: Parts) -> None:
    demanded = b'{"requirements": {"cached": true}}'
    path = f"{DEPLOY}/{URLSAFE}?wait=0"
    assert "cached" in problem(call(api, "POST", path, demanded), 503, "unavailable")
    call(api, "POST", path)
    assert parts.lives.ready_apps() == ()
    parts.settle()
    assert parts.lives.ready_apps() == (HELLOWORLD,)
    assert call(api, "POST", f"{DEPLOY}/{'ab' * 32}?wait=0", demanded).status == 200


def test_the_log_tells_trace_root_and_device(rooted: Rooted, caplog: pytest.LogCaptureFixture) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    target = f"/{HELLOWORLD}/{URLSAFE}?wait=0"
    headers = {
        "x_sinfonia_signature": rooted.root.sign("POST", target, ip="192.0.2.50"),
        "traceparent": f"00-{trace}-00f067aa0ba902b7-01",
    }
    with caplog.at_level("INFO"):
        call(rooted.api, "POST", f"/api/v1/deploy{target}", **headers)
        call(rooted.api, "POST", f"{DEPLOY}/{URLSAFE}?wait=0", traceparent="x\ny", x_clientip="192.0.2.9")
    asked = [vars(record) for record in caplog.records if record.msg == "asked to deploy"]
    assert (asked[0]["trace_id"], asked[0]["root"], asked[0]["client"]) == (trace, ROOT, "192.0.2.50")
    assert not {"trace_id", "root", "client"} & asked[1].keys()
