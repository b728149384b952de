"""What the agent asks of a Kubernetes API server, and what it makes of each answer; no cluster needed."""

from __future__ import annotations

import io
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any

import pytest
import urllib3

from edge_agent.errors import Conflict, DeployFailed, SettingsError, Unavailable
from edge_agent.on_kubernetes.api import Api, Refused
from edge_agent.on_kubernetes.cluster import KubernetesRuntime, connect
from edge_agent.on_kubernetes.guards import behind_gateway
from edge_agent.recipes.limits import STANDARD
from tests.fakes.edge_agent_backends import backend
from tests.fakes.edge_agent_parts import AGENT, CREATED
from tests.unit.edge_agent.test_records import RECORD


class Connection:
    """The official client's connection, answering with `status` and `body`, or raising."""

    def __init__(
        self,
        status: int = 200,
        body: Any = None,
        error: Exception | None = None,
        headers: dict[str, str] | None = None,
        then: Connection | None = None,
    ) -> None:
        self.status = status
        self.body = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        self.error = error
        self.headers = headers or {}
        self.then = then
        self.asked: list[tuple[str, str]] = []

    def param_serialize(
        self, method: str, path: str, **options: Any
    ) -> tuple[str, str, dict[str, str], None, list[str]]:
        return method, path, options["header_params"], None, []

    def call_api(self, method: str, path: str, *_: Any, **__: Any) -> Any:
        self.asked.append((method, path))
        if self.then is not None and len(self.asked) > 1:
            return self.then.call_api(method, path)
        if self.error:
            raise self.error
        return SimpleNamespace(status=self.status, headers=self.headers, response=io.BytesIO(self.body))


def api(connection: Connection, sleep: Callable[[float], object] = lambda _: None) -> Api:
    clock = iter(range(10_000))
    return Api(connection, clock=lambda: float(next(clock)) / 100, sleep=sleep)


def kubernetes(connection: Connection) -> KubernetesRuntime:
    clock = iter(range(10_000))
    return KubernetesRuntime(
        AGENT,
        api(connection),
        [],
        300,
        clock=lambda: float(next(clock)),
        sleep=lambda _: None,
        now=lambda: CREATED,
    )


@pytest.mark.parametrize(
    "connection",
    [
        Connection(error=urllib3.exceptions.MaxRetryError(None, "/")),  # type: ignore[arg-type]
        Connection(error=ConnectionResetError()),
        Connection(500, {"message": "etcd"}),
        Connection(429, {}),
        Connection(401, {}),
        Connection(403, {"message": "forbidden"}),
        Connection(200, b"<html>"),
        Connection(200, b"[]"),
    ],
)
def test_a_kubernetes_that_cannot_be_read_is_unavailable(connection: Connection) -> None:
    runtime = kubernetes(connection)
    with pytest.raises(Unavailable):
        runtime.records()
    with pytest.raises(Unavailable):
        runtime.observe([RECORD])


def test_kubernetes_refusals() -> None:
    with pytest.raises(Conflict):
        kubernetes(Connection(409, {"message": "exists"})).create(RECORD)
    with pytest.raises(Unavailable, match="quota"):
        kubernetes(Connection(403, {"message": "quota"})).create(RECORD)
    with pytest.raises(DeployFailed, match="unknown field"):
        kubernetes(Connection(422, {"message": "unknown field"})).apply(RECORD, [], STANDARD)
    with pytest.raises(Unavailable, match="renewed"):
        kubernetes(Connection(404, {"message": "gone"})).touch(RECORD)
    kubernetes(Connection(404, {})).delete(RECORD)
    with pytest.raises(DeployFailed, match="not found"):
        kubernetes(Connection(404, {"message": 'namespaces "x" not found'})).apply(RECORD, [], STANDARD)
    quota = {"message": 'pods "x" is forbidden: exceeded quota: sinfonia'}
    with pytest.raises(DeployFailed, match="exceeded quota"):
        kubernetes(Connection(403, quota)).apply(RECORD, [], STANDARD)
    mine = {"metadata": {"labels": RECORD.labels(AGENT), "uid": "u"}}
    with pytest.raises(Unavailable, match="still being removed"):
        kubernetes(Connection(200, mine)).delete(RECORD)


def test_what_an_earlier_run_left_is_fenced_anew_once() -> None:
    """That run may have sent from other addresses, which its policy lets in."""
    connection = Connection()
    runtime = kubernetes(connection)
    runtime.touch(RECORD)
    runtime.touch(RECORD)
    kinds = [path.split("/")[-2] for method, path in connection.asked if method == "PATCH"]
    assert kinds == ["networkpolicies", "leases", "leases"]


def test_guests_are_kept_from_the_cloudlets_machines_also_where_these_are_public() -> None:
    """They are looked at now and then; what runs is fenced anew when they change."""
    nodes = [
        {"status": {"addresses": [{"type": "ExternalIP", "address": "198.51.100.9"}]}},
        {"status": {"addresses": [{"type": "Hostname", "address": "node"}, {"type": "InternalIP"}, "x"]}},
        {"status": []},
    ]
    server = Server({"items": nodes})
    clock = [0.0]
    runtime = KubernetesRuntime(
        AGENT,
        api(server),
        [],
        300,
        clock=lambda: clock[0],
        sleep=lambda _: None,
        now=lambda: CREATED,
        addresses=["203.0.113.7", "10.0.0.7"],
    )
    runtime.touch(RECORD)
    assert _kept_from(server.sent[0]) == {"203.0.113.7/32", "198.51.100.9/32"}
    nodes[0]["status"]["addresses"][0]["address"] = "2001:db8::9"
    runtime.touch(RECORD)
    assert len(server.sent) == 3, "two leases, one policy"
    clock[0] = 301.0
    runtime.touch(RECORD)
    assert _kept_from(server.sent[3]) == {"203.0.113.7/32", "2001:db8::9/128"}


class Server(Connection):
    """Keeps what it is sent."""

    def __init__(self, body: Any) -> None:
        super().__init__(200)
        self.answer = body
        self.sent: list[Any] = []

    def call_api(self, method: str, *_: Any, body: Any = None, **__: Any) -> Any:
        if method == "PATCH":
            self.sent.append(body)
        data = json.dumps(self.answer if method == "GET" else {}).encode()
        return SimpleNamespace(status=200, headers={}, response=io.BytesIO(data))


def _kept_from(policy: Any) -> set[str]:
    """What the policy excepts besides what it always does."""
    always = {one for peer in behind_gateway([])["egress"][2]["to"] for one in peer["ipBlock"]["except"]}
    return {one for peer in policy["spec"]["egress"][2]["to"] for one in peer["ipBlock"]["except"]} - always


def test_what_kilo_leads_devices_to_keeps_its_policy() -> None:
    connection = Connection()
    kubernetes(connection).touch(replace(RECORD, addresses={"web": IPv4Address("10.97.0.9")}))
    assert [path.split("/")[-2] for _, path in connection.asked] == ["leases"]


def test_another_agents_namespace_is_left_alone() -> None:
    connection = Connection(200, {"metadata": {"labels": RECORD.labels(uuid.uuid4()), "uid": "u"}})
    kubernetes(connection).delete(RECORD)
    assert [method for method, _ in connection.asked] == ["GET"]


def test_namespaces_that_are_no_records() -> None:
    whole = {"name": RECORD.home, "labels": RECORD.labels(AGENT), "annotations": RECORD.notes()}
    items = [
        {"metadata": whole},
        {"metadata": {**whole, "deletionTimestamp": "2026-11-24T12:00:00Z"}},
        {"metadata": {**whole, "name": "somewhere-else"}},
        {"metadata": {"name": "x"}},
    ]
    assert kubernetes(Connection(200, {"items": items})).records() == [RECORD]


class Cluster(Connection):
    """A server that takes everything, and gives each Service that is sent the next address, or none."""

    def __init__(self, *given: str | None) -> None:
        super().__init__()
        self.given = list(given)
        self.sent: dict[str, Any] = {}

    def call_api(self, _: str, path: str, *__: Any, body: Any = None, **___: Any) -> Any:
        self.sent[path] = body
        answer = {"status": {"hard": {"pods": "1"}}}
        if "/services/" in path:
            answer = {"spec": {"clusterIP": self.given.pop(0)}}
        return SimpleNamespace(status=200, headers={}, response=io.BytesIO(json.dumps(answer).encode()))


YOUNG = replace(RECORD, ports=backend().ports, addresses={})


def test_services_get_their_addresses_before_the_guest_comes() -> None:
    server = Cluster("10.96.0.7")
    given = kubernetes(server).address(YOUNG, backend().placed(YOUNG.home))
    assert given == replace(YOUNG, addresses={"helloworld": IPv4Address("10.96.0.7")})
    namespace = f"/api/v1/namespaces/{YOUNG.home}"
    assert list(server.sent) == [f"{namespace}/services/helloworld", namespace]
    assert server.sent[namespace] == {
        "metadata": {"annotations": {"sinfonia/addresses": "helloworld=10.96.0.7"}}
    }


@pytest.mark.parametrize("address", ["None", "fd00::1", None])
def test_services_without_an_address_are_refused(address: str | None) -> None:
    with pytest.raises(DeployFailed, match="IPv4 address"):
        kubernetes(Cluster(address)).address(YOUNG, backend().placed(YOUNG.home))
    with pytest.raises(Unavailable, match="for now"):
        kubernetes(Connection(403, {"message": "no"})).address(YOUNG, backend().placed(YOUNG.home))


def test_a_service_is_sent_with_the_address_that_was_promised() -> None:
    server = Cluster("10.96.0.7")
    record = replace(YOUNG, addresses={"helloworld": IPv4Address("10.96.0.7")})
    kubernetes(server).apply(record, backend().placed(record.home), STANDARD)
    (sent,) = [body for path, body in server.sent.items() if "/services/" in path]
    assert sent["spec"]["clusterIP"] == "10.96.0.7"
    (policy,) = [body for path, body in server.sent.items() if "/networkpolicies/" in path]
    blocks = [one.get("ipBlock") for rule in policy["spec"]["ingress"] for one in rule["from"]]
    assert blocks == [None, {"cidr": f"{record.device}/32"}]


def test_a_kubeconfig_that_is_not_there() -> None:
    with pytest.raises(SettingsError, match="--kubeconfig"):
        connect(AGENT, "/nowhere", [], 300, clock=time.monotonic, sleep=print, now=lambda: CREATED)


@pytest.mark.parametrize(
    "connection",
    [
        Connection(403, {"message": 'namespaces "x" is forbidden: User "agent" cannot patch resource'}),
        Connection(403, b"<html>go away</html>"),
        Connection(403, {"message": 'error looking up service account x/default: "default" not found'}),
        Connection(404, b"404 page not found"),
        Connection(409, {"message": "the object has been modified; please apply your changes"}),
        Connection(410, {"message": "too old"}),
        Connection(429, {"message": "slow down"}),
        Connection(500, {"message": "etcd"}),
        Connection(200, b"garbage"),
    ],
)
def test_what_is_not_about_a_deployment_does_not_fail_it(connection: Connection) -> None:
    with pytest.raises(Unavailable):
        kubernetes(connection).apply(RECORD, [], STANDARD)


def test_a_short_retry_after_is_waited_for() -> None:
    slept: list[float] = []
    connection = Connection(429, {}, headers={"Retry-After": "1"}, then=Connection(200, {"a": 1}))
    assert api(connection, slept.append).call("GET", "/x") == {"a": 1}
    assert slept == [1]


def test_a_long_retry_after_is_kept_to() -> None:
    connection = Connection(429, {"message": "slow down"}, headers={"Retry-After": "60"})
    server = api(connection)
    with pytest.raises(Unavailable, match="slow down") as refused:
        server.call("GET", "/x")
    assert refused.value.retry_after_seconds == 60
    with pytest.raises(Unavailable, match="not to be called"):
        server.call("GET", "/x")
    assert len(connection.asked) == 1


@pytest.mark.parametrize("value", ["", "-1", "soon", "9" * 400, "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_an_odd_retry_after_is_no_trouble(value: str) -> None:
    with pytest.raises(Unavailable) as refused:
        api(Connection(503, {}, headers={"Retry-After": value})).call("GET", "/x")
    assert 0 < refused.value.retry_after_seconds <= 120


def test_lists_come_in_pages() -> None:
    first = {"items": [{"n": 1}, "no object"], "metadata": {"continue": "token"}}
    last = {"items": [{"n": 2}], "metadata": {"resourceVersion": "7"}}
    assert api(Connection(200, first, then=Connection(200, last))).listing("/x") == (
        [{"n": 1}, {"n": 2}],
        "7",
    )


def test_a_list_that_grew_too_old_is_begun_again() -> None:
    whole = Connection(200, {"items": [{"n": 1}], "metadata": {}})
    assert api(Connection(410, {"message": "expired"}, then=whole)).items("/x") == [{"n": 1}]
    with pytest.raises(Refused):
        api(Connection(410, {"message": "expired"})).items("/x")


def test_a_list_without_end_is_left() -> None:
    with pytest.raises(Unavailable, match="more than"):
        api(Connection(200, {"items": [], "metadata": {"continue": "again"}})).items("/x")


@pytest.mark.parametrize("body", [{"items": 7}, {"items": [], "metadata": "x"}])
def test_a_list_that_is_none(body: Any) -> None:
    with pytest.raises(Unavailable):
        api(Connection(200, body)).items("/x")


def test_an_answer_without_end_is_left() -> None:
    class Endless(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return b" " * (size or 0)

    class Slow(Connection):
        def call_api(self, *_: Any, **__: Any) -> Any:
            return SimpleNamespace(status=200, headers={}, response=Endless())

    with pytest.raises(Unavailable, match="too large, or too slow"):
        api(Slow()).call("GET", "/x")


def test_a_namespace_that_does_not_end_is_not_waited_for_again() -> None:
    held = {"metadata": {"labels": RECORD.labels(AGENT), "deletionTimestamp": "x"}}
    held["status"] = {"conditions": [{"status": "True", "message": "Some content has finalizers: a.b/c"}]}
    connection = Connection(200, held)
    with pytest.raises(Unavailable, match="still being removed: Some content has finalizers"):
        kubernetes(connection).delete(RECORD)
    assert {method for method, _ in connection.asked} == {"GET"}
    assert len(connection.asked) < 5


def test_telling_never_fails() -> None:
    for connection in (Connection(403, {}), Connection(500, {}), Connection(error=ConnectionResetError())):
        kubernetes(connection).tell(RECORD, "Ready", "x" * 5000)
