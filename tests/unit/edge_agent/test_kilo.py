"""Kilo as the gateway: which Peers the agent makes, changes and leaves alone, where devices enter, and what
is known of their use.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any
from urllib.parse import parse_qs

import pytest

from edge_agent.arguments import make_parser
from edge_agent.deployments.leases import Activity
from edge_agent.errors import SettingsError, Unavailable
from edge_agent.on_kubernetes.guards import for_device
from edge_agent.on_kubernetes.kilo import LOOK_SECONDS, KiloGateway
from edge_agent.on_kubernetes.kilo_objects import cluster_address
from edge_agent.option_values import Address
from edge_agent.sessions import make_session
from edge_agent.settings import Settings
from edge_agent.tunnels.kilo_settings import KiloSettings
from edge_agent.tunnels.peer_metrics import HANDSHAKE, RECEIVED, SENT, PeerMetrics
from tests.fakes.edge_agent_backends import HELLOWORLD, deployment, service
from tests.fakes.edge_agent_kilo import NODE_KEY, FakeKilo, node
from tests.fakes.edge_agent_parts import AGENT, Clock, Parts
from tests.lab.web import serving

ONE, TWO, THREE = (bytes([number]) * 32 for number in (1, 2, 3))
WHERE = KiloSettings("edge", "tunnels", Address("10.1.0.9", 7080), Address("10.1.0.9", 7053))


class Device:
    """A peer as the gateway sees it."""

    def __init__(self, key: bytes, address: str) -> None:
        self.key = key
        self.device = IPv4Address(address)
        self.forwards: Mapping[Any, Any] = {}


FIRST, SECOND = Device(ONE, "100.71.0.9"), Device(TWO, "100.71.0.17")


class World:
    """A gateway over a fake server."""

    def __init__(self, told: Any = None, settings: KiloSettings = WHERE) -> None:
        self.server = FakeKilo()
        self.clock = Clock()
        self.told = told
        self.settings = settings
        self.gateway = self.made()

    def made(self, agent: Any = AGENT) -> KiloGateway:
        """A later run of the agent, or another agent."""
        return KiloGateway(agent, self.server, self.settings, self.told, self.clock)


def test_each_device_is_a_peer_and_nothing_else_is() -> None:
    world = World()
    world.gateway.sync([FIRST, SECOND])
    assert world.server.allowed() == {ONE: {"100.71.0.9/32"}, TWO: {"100.71.0.17/32"}}
    name, peer = next(iter(world.server.peers.items()))
    assert name.startswith("sinfonia-5f1c9a1e-")
    assert peer["metadata"]["labels"] == {
        "app.kubernetes.io/managed-by": "sinfonia",
        "sinfonia/agent": str(AGENT),
    }
    assert "persistentKeepalive" not in peer["spec"], "its answers would be signs of life"
    world.gateway.sync([SECOND])
    assert set(world.server.allowed()) == {TWO}
    world.gateway.sync([])
    assert world.server.peers == {}


def test_one_key_may_have_two_addresses() -> None:
    world = World()
    world.gateway.sync([FIRST, Device(ONE, "100.71.0.25")])
    assert world.server.allowed() == {ONE: {"100.71.0.9/32", "100.71.0.25/32"}}
    world.gateway.sync([Device(ONE, "100.71.0.25")])
    assert world.server.allowed() == {ONE: {"100.71.0.25/32"}}


def test_what_stays_is_not_touched() -> None:
    world = World()
    world.gateway.sync([FIRST])
    world.server.calls.clear()
    lists = world.server.lists
    world.gateway.sync([FIRST])
    assert (world.server.calls, world.server.lists) == ([], lists), "it is known to be so"
    later = world.made()
    later.sync([FIRST, SECOND])
    assert [call.split()[0] for call in world.server.calls] == ["POST"]
    assert len(world.server.peers) == 2


def test_an_address_is_given_up_before_another_gets_it() -> None:
    world = World()
    world.gateway.sync([FIRST])
    world.server.calls.clear()
    world.gateway.sync([Device(TWO, "100.71.0.9")])
    assert [call.split()[0] for call in world.server.calls] == ["DELETE", "POST"]
    world.gateway.sync([Device(TWO, "100.71.0.9"), Device(TWO, "100.71.0.17")])
    world.server.calls.clear()
    world.gateway.sync([Device(ONE, "100.71.0.9"), Device(TWO, "100.71.0.17")])
    assert [call.split()[0] for call in world.server.calls] == ["PATCH", "POST"]


def test_peers_of_others_stay_as_they_are() -> None:
    world = World()
    world.server.add("laptop", THREE, "10.5.0.1/32", "0.0.0.0/0")
    world.server.add("odd", b"x", "nonsense", "fd00::/8")
    other = world.made(HELLOWORLD)
    other.sync([SECOND])
    before = dict(world.server.peers)
    world.gateway.sync([FIRST])
    assert len(world.server.peers) == 4
    world.gateway.sync([])
    assert world.server.peers == before
    world.gateway.down()
    assert world.server.peers == before


@pytest.mark.parametrize(
    ("key", "block"),
    [(TWO, "10.5.0.1/32"), (THREE, "100.71.0.17/32"), (THREE, "100.71.0.0/16")],
)
def test_a_device_that_is_somebody_elses_gets_no_tunnel(key: bytes, block: str) -> None:
    world = World()
    world.gateway.sync([])
    world.server.add("laptop", key, block)
    before = dict(world.server.peers)
    with pytest.raises(Unavailable, match="laptop, which is not of this agent"):
        world.gateway.sync([SECOND])
    assert world.server.peers == before
    world.gateway.sync([SECOND, Device(ONE, "100.81.0.9")])  # it is told once, and hinders nobody else
    assert len(world.server.peers) == 2
    del world.server.peers["laptop"]
    world.clock.seconds += LOOK_SECONDS
    world.gateway.activity()
    assert world.server.allowed()[TWO] == {"100.71.0.17/32"}, "it is made once it can be"


def test_somebody_elses_object_of_the_same_name_is_not_taken() -> None:
    world = World()
    world.gateway.sync([FIRST])
    (name,) = world.server.peers
    world.gateway.sync([])
    world.server.add(name, THREE, "10.5.0.1/32")
    with pytest.raises(Unavailable, match="not of this agent"):
        world.gateway.sync([FIRST])
    assert list(world.server.allowed()) == [THREE]


def test_a_start_is_not_held_up_by_what_somebody_made_meanwhile() -> None:
    world = World()
    world.gateway.sync([FIRST, SECOND])
    world.server.add("laptop", ONE, "10.5.0.1/32")
    later = world.made()
    later.sync([FIRST, SECOND])
    assert len(world.server.peers) == 3, "our own Peers stand"
    world.server.add("tablet", THREE, "100.71.0.33/32")
    world.made().sync([FIRST, SECOND, Device(b"\4" * 32, "100.71.0.33")])


def test_nothing_is_changed_on_a_list_that_failed() -> None:
    world = World()
    world.gateway.sync([FIRST])
    for trouble in ({"GET": 403}, {"GET": 404}):
        world.server.refuses = trouble
        with pytest.raises(Unavailable):
            world.gateway.sync([SECOND])
    world.server.refuses, world.server.away = {}, True
    with pytest.raises(Unavailable):
        world.gateway.sync([SECOND])
    world.server.away = False
    assert set(world.server.allowed()) == {ONE}
    world.gateway.sync([SECOND])
    assert set(world.server.allowed()) == {TWO}


def test_a_cluster_without_kilo_is_called_so() -> None:
    world = World()
    world.server.refuses = {"GET": 404}
    with pytest.raises(Unavailable, match="no Kilo"):
        world.gateway.sync([])


def test_what_could_not_be_set_is_set_the_next_time() -> None:
    world = World()
    world.server.refuses = {"POST": 403}
    with pytest.raises(Unavailable, match="can't be set"):
        world.gateway.sync([FIRST])
    world.server.refuses = {}
    world.gateway.sync([FIRST])
    assert set(world.server.allowed()) == {ONE}


def test_what_somebody_changed_is_set_right() -> None:
    world = World()
    world.gateway.up()
    world.gateway.sync([FIRST, SECOND])
    name, peer = next(iter(world.server.peers.items()))
    peer["spec"]["allowedIPs"] = ["0.0.0.0/0"]
    other = next(one for one in world.server.peers if one != name)
    del world.server.peers[other]
    world.gateway.activity()
    world.clock.seconds += LOOK_SECONDS
    world.gateway.activity()
    assert world.server.allowed() == {ONE: {"100.71.0.9/32"}, TWO: {"100.71.0.17/32"}}
    world.server.away = True
    world.clock.seconds += LOOK_SECONDS
    assert world.gateway.activity() == {}


def test_an_agent_that_another_one_replaced_changes_nothing() -> None:
    def replaced() -> None:
        raise Unavailable("another agent works now")

    world = World()
    world.gateway.sync([FIRST])
    stale = KiloGateway(AGENT, world.server, WHERE, None, world.clock, replaced)
    with pytest.raises(Unavailable, match="another agent"):
        stale.sync([])
    stale.down()
    assert set(world.server.allowed()) == {ONE}


def test_down_takes_all_and_a_late_sync_brings_nothing_back() -> None:
    world = World()
    world.gateway.sync([FIRST])
    world.gateway.down()
    assert world.server.peers == {}
    with pytest.raises(Unavailable):
        world.gateway.sync([FIRST])
    world.gateway.up()
    world.gateway.sync([FIRST])
    world.server.away = True
    world.gateway.down()  # as far as that is possible


def test_devices_enter_where_the_annotations_say() -> None:
    world = World()
    with pytest.raises(Unavailable):
        world.gateway.entrance()
    world.gateway.up()
    entrance = world.gateway.entrance()
    assert (entrance.public_key, entrance.endpoint, str(entrance.address)) == (
        NODE_KEY,
        "192.0.2.7:51820",
        "10.96.0.80",
    )
    world.server.nodes = [node("a"), node("b", ONE, "192.0.2.8:1", leader="")]
    world.clock.seconds += LOOK_SECONDS
    world.gateway.activity()
    assert world.gateway.entrance().public_key == ONE, "another node leads now"
    world.server.nodes[1]["metadata"]["annotations"]["kilo.squat.ai/force-endpoint"] = "192.0.2.9:2"
    world.gateway.up()
    assert world.gateway.entrance().endpoint == "192.0.2.9:2"


@pytest.mark.parametrize(
    "nodes",
    [
        [],
        [{"metadata": {"name": "plain"}}],
        [{"metadata": None}],
        [node("one", b"short")],
        [node("one", endpoint="node.example:51820")],
        [node("one", endpoint="[2001:db8::7]:51820")],
        [node("one", endpoint="192.0.2.7")],
        [node("one", endpoint="192.0.2.7:0")],
        [node("one", endpoint="192.0.2.7:99999")],
    ],
)
def test_nodes_at_which_nobody_can_enter(nodes: list[dict[str, Any]]) -> None:
    world = World()
    world.server.nodes = nodes
    with pytest.raises(Unavailable, match="no node with Kilo"):
        world.gateway.up()


def test_an_operator_names_the_node_and_the_endpoint() -> None:
    told = KiloSettings("edge", "tunnels", WHERE.status, WHERE.names, "b", "203.0.113.9:7")
    world = World(settings=told)
    world.server.nodes = [node("a", leader=""), node("b", ONE, "node.example:51820")]
    world.gateway.up()
    assert (world.gateway.entrance().public_key, world.gateway.entrance().endpoint) == (ONE, "203.0.113.9:7")
    world.server.nodes = [node("a")]
    with pytest.raises(Unavailable, match="no node b"):
        world.gateway.up()


@pytest.mark.parametrize("spec", [{}, {"clusterIP": "None"}, {"clusterIP": "fd00::1"}, None])
def test_a_service_without_an_address_leads_nowhere(spec: Any) -> None:
    world = World()
    world.server.services[0]["spec"] = spec
    with pytest.raises(Unavailable, match="edge/tunnels"):
        world.gateway.up()
    world.server.services = []
    with pytest.raises(Unavailable, match="edge/tunnels"):
        world.gateway.up()


def test_a_service_of_both_kinds_has_an_ipv4_address() -> None:
    spec = {"clusterIP": "fd00::1", "clusterIPs": ["fd00::1", "10.96.0.7"]}
    assert cluster_address({"spec": spec}) == IPv4Address("10.96.0.7")


def test_a_device_gets_only_into_its_own_ports() -> None:
    ports = [{"port": 53, "protocol": "UDP", "targetPort": 5353}, {"port": 80, "protocol": "TCP"}]
    manifests = [service(), service("other", app="helloworld", ports=ports), deployment()]
    manifests[0]["spec"]["ports"][0]["protocol"] = "TCP"
    policy = for_device(FIRST.device, manifests, IPv4Network("100.71.0.0/16"))
    inside, device = policy["ingress"]
    assert inside == {"from": [{"podSelector": {}}]}
    assert device == {
        "from": [{"ipBlock": {"cidr": "100.71.0.9/32"}}],
        "ports": [
            {"protocol": "TCP", "port": "http"},
            {"protocol": "UDP", "port": 5353},
            {"protocol": "TCP", "port": 80},
        ],
    }
    (block,) = [one for one in policy["egress"][2]["to"] if one["ipBlock"]["cidr"] == "0.0.0.0/0"]
    assert "100.64.0.0/10" in block["ipBlock"]["except"]
    public = for_device(FIRST.device, [], IPv4Network("203.0.113.0/24"))
    assert public["ingress"] == [inside], "no ports would be all ports"
    assert "203.0.113.0/24" in public["egress"][2]["to"][0]["ipBlock"]["except"]


OPTIONS = (
    *("run", "--runtime", "kubernetes", "--recipes", "r", "--root", "http://root.example"),
    *("--gateway", "kilo", "--kilo-service", "edge/tunnels", "--tunnel-network", "100.71.0.0/16"),
)


def settings(*options: str, least: tuple[str, ...] = OPTIONS, own: str | None = "10.1.0.9") -> Settings:
    return Settings.from_arguments(make_parser().parse_args([*least, *options]), lambda: own)


def test_the_options() -> None:
    assert settings("--max-age", "3600").gateway.kilo == WHERE
    given = settings(
        *(
            "--prometheus",
            "http://p.example",
            "--kilo-node",
            "edge-1",
            "--wireguard-endpoint",
            "203.0.113.9:7",
        ),
        *("--kilo-status", "10.1.0.7:81", "--kilo-names", "10.1.0.7"),
    ).gateway.kilo
    status, names = Address("10.1.0.7", 81), Address("10.1.0.7", 7053)
    assert given == KiloSettings("edge", "tunnels", status, names, "edge-1", "203.0.113.9:7")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--prometheus URL, where a WireGuard exporter's metrics are, or --max-age"),
        (["--max-age", "60", "--runtime", "podman"], "is for --runtime kubernetes"),
        (["--max-age", "60", "--kilo-service", "tunnels"], "NAMESPACE/NAME"),
        (["--max-age", "60", "--kilo-service", ""], "--kilo-service NAMESPACE/NAME is needed"),
        (["--max-age", "60", "--tunnel-network", ""], "--tunnel-network CIDR is needed"),
        (["--max-age", "60", "--kilo-node", "No Node"], "--kilo-node"),
        (["--max-age", "60", "--kilo-status", "0.0.0.0"], "one address of this machine"),
        (["--max-age", "60", "--kilo-names", "x"], "--kilo-names"),
        (["--max-age", "60", "--wireguard-endpoint6", "[2001:db8::7]"], "--wireguard-endpoint6"),
        (["--max-age", "60", "--device-rate", "500"], "--device-rate"),
        (["--max-age", "60", "--tunnel-mtu", "1300"], "--tunnel-mtu"),
        (["--gateway", "own"], "--kilo-service: this option is for --gateway kilo"),
    ],
)
def test_options_that_make_no_sense(options: list[str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        settings(*options)


def test_without_a_route_an_address_has_to_be_said() -> None:
    with pytest.raises(SettingsError, match="--kilo-status IP is needed"):
        settings("--max-age", "60", "--wireguard-endpoint", "203.0.113.9", own=None)


def vector(*samples: tuple[dict[str, str], str]) -> dict[str, Any]:
    result = [{"metric": labels, "value": [1, value]} for labels, value in samples]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


def of(key: bytes, value: str) -> tuple[dict[str, str], str]:
    return {"public_key": base64.b64encode(key).decode()}, value


GOOD = {
    HANDSHAKE: vector(of(ONE, "1796000000"), of(TWO, "0"), ({"public_key": "?"}, "1"), ({}, "1")),
    RECEIVED: vector(of(ONE, "148"), of(TWO, "0"), of(THREE, "1")),
    SENT: vector(of(ONE, "92"), of(TWO, "0")),
}


class Metrics:
    """A Prometheus server that says what a test wants."""

    def __init__(self) -> None:
        self.answers = dict(GOOD)
        self.asked = 0

    def __call__(self, environ: Any, start: Any) -> list[bytes]:
        self.asked += 1
        (query,) = parse_qs(environ["QUERY_STRING"])["query"]
        start("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(self.answers[query]).encode()]


def test_peers_are_known_by_their_metrics() -> None:
    with serving(Metrics()) as url:
        found = PeerMetrics(url, make_session(time.monotonic), Clock()).activity()
    assert found == {ONE: Activity(1796000000, 148), TWO: Activity(0, 0)}, "of others there is no whole word"
    assert found[ONE].sent_bytes == 92


@pytest.mark.parametrize("query", [HANDSHAKE, RECEIVED, SENT])
@pytest.mark.parametrize("answer", [vector(), vector(of(ONE, "NaN")), {"status": "error"}, []])
def test_metrics_that_fail_are_no_idleness(query: str, answer: Any) -> None:
    metrics, clock = Metrics(), Clock()
    metrics.answers[query] = answer
    with serving(metrics) as url:
        source = PeerMetrics(url, make_session(time.monotonic), clock)
        with pytest.raises(Unavailable, match="Prometheus"):
            source.activity()
        asked = metrics.asked
        metrics.answers = dict(GOOD)
        with pytest.raises(Unavailable, match="Prometheus"):
            source.activity()
        assert metrics.asked == asked, "it is left alone for a while"
        clock.seconds += 31
        assert set(source.activity()) == {ONE, TWO}


def test_a_prometheus_that_is_away() -> None:
    with serving(Metrics()) as url:
        pass
    with pytest.raises(Unavailable, match="Prometheus"):
        PeerMetrics(url, make_session(time.monotonic), Clock()).activity()


def test_nothing_is_asked_while_there_is_nobody_to_ask_about() -> None:
    def away() -> Any:
        raise Unavailable("no Prometheus")

    world = World(away)
    world.gateway.sync([])
    assert world.gateway.activity() == {}
    world.gateway.sync([FIRST])
    with pytest.raises(Unavailable):
        world.gateway.activity()


def parts_with(told: Any, **options: Any) -> tuple[Parts, World]:
    """An agent's inner parts over Kilo."""
    world = World(told)
    parts = Parts(gateway=world.gateway, addressing=True, clock=world.clock, **options)
    parts.deployments.deploy(HELLOWORLD, ONE, 0)
    parts.deployments.deploy(HELLOWORLD, TWO, 0)
    parts.settle()
    return parts, world


def use(parts: Parts, seconds: float) -> None:
    for _ in range(int(seconds / 6)):
        parts.clock.seconds += 6
        parts.settle(1)


def test_a_device_that_nobody_tells_of_keeps_its_backend() -> None:
    parts, world = parts_with(lambda: {ONE: Activity(0, 148)}, idle_seconds=60)
    use(parts, 120)
    assert set(world.server.allowed()) == {TWO}, "the one that is told of does nothing"
    assert [live.key for live in parts.lives.all()] == [TWO]


def test_without_metrics_backends_end_by_age_alone() -> None:
    parts, world = parts_with(None, idle_seconds=60, max_age_seconds=600)
    use(parts, 300)
    assert set(world.server.allowed()) == {ONE, TWO}
    use(parts, 400)
    assert (world.server.peers, parts.runtime.records()) == ({}, [])


def test_metrics_that_fail_end_nothing() -> None:
    def away() -> Any:
        raise Unavailable("no Prometheus")

    parts, world = parts_with(away, idle_seconds=60)
    use(parts, 300)
    assert set(world.server.allowed()) == {ONE, TWO}
