"""What the lab's NetworkPolicies let through, by the well-known cases of Kubernetes' documentation."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import Any

import pytest

from edge_agent.on_kubernetes.guards import behind_gateway, for_device, gateway_peers
from tests.lab.node import server
from tests.lab.policies import Fence, Pod, Way, fences, ruleset, selects

NAMESPACES = {"default": {"project": "default"}, "other": {"project": "myproject"}, "kube-system": {}}
HOUSE = "10.98.0.2"
AWAY = "198.51.100.7"


def pod(name: str, address: str, namespace: str = "default", **labels: str) -> Pod:
    ports = (("web", "tcp", 8080), ("dns", "udp", 53))
    return Pod(namespace, name, labels, (ip_address(address),), ports)


DB = pod("db", "10.96.0.2", role="db")
FRONT = pod("front", "10.96.0.3", role="frontend")
CLIENT = pod("client", "10.96.0.4", "other", role="client")
STRANGER = pod("stranger", "10.96.0.5", "other")
PODS = [DB, FRONT, CLIENT, STRANGER]


def policy(namespace: str = "default", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": namespace}, "spec": {"podSelector": {}, **spec}}


def lets(
    found: list[Fence], source: str | Pod, destination: str | Pod, port: int = 80, protocol: str = "tcp"
) -> bool:
    """Whether a connection is let through: out of its source, if that is fenced, and into its destination."""
    start, end = (str(one.addresses[0]) if isinstance(one, Pod) else one for one in (source, destination))
    by_address = {str(fence.pod.addresses[0]): fence for fence in found}
    leaving = by_address[start].egress if start in by_address else None
    arriving = by_address[end].ingress if end in by_address else None
    return start == end or (_among(leaving, end, port, protocol) and _among(arriving, start, port, protocol))


def _among(ways: frozenset[Way] | None, address: str, port: int, protocol: str) -> bool:
    return ways is None or any(
        ip_address(address) in way.network
        and not any(ip_address(address) in but for but in way.but)
        and (way.ports is None or any(of == protocol and a <= port <= b for of, a, b in way.ports))
        for way in ways
    )


def test_without_a_policy_nobody_is_fenced():
    assert fences([], NAMESPACES, PODS) == []


def test_a_policy_without_rules_closes_ingress_and_leaves_egress():
    found = fences([policy()], NAMESPACES, PODS)
    assert {fence.pod.name for fence in found} == {"db", "front"}, "those of its namespace"
    assert not lets(found, FRONT, DB)
    assert not lets(found, AWAY, DB)
    assert lets(found, DB, CLIENT)
    assert lets(found, DB, DB), "a pod can't shut itself out"


def test_default_deny_of_everything():
    found = fences([policy(policyTypes=["Ingress", "Egress"])], NAMESPACES, PODS)
    assert not lets(found, DB, AWAY)
    assert not lets(found, DB, HOUSE)
    assert not lets(found, CLIENT, DB)
    assert lets(found, CLIENT, STRANGER)


def test_an_empty_rule_allows_all():
    found = fences([policy(ingress=[{}], egress=[{}])], NAMESPACES, PODS)
    assert lets(found, AWAY, DB)
    assert lets(found, DB, "2001:db8::1")
    assert lets(found, FRONT, DB, 53, "udp")


def test_egress_is_closed_where_there_are_rules_for_it():
    found = fences([policy(egress=[{"to": [{"podSelector": {}}]}])], NAMESPACES, PODS)
    assert lets(found, DB, CLIENT) is False
    assert not lets(found, CLIENT, DB), "ingress is selected always, if types are not given"
    found = fences([policy(policyTypes=["Egress"], ingress=[])], NAMESPACES, PODS)
    assert lets(found, CLIENT, DB)
    assert not lets(found, DB, CLIENT)


def test_the_documentations_example():
    """Its "NetworkPolicy resource": three sources added up, at one port; one way out, at another."""
    example = policy(
        podSelector={"matchLabels": {"role": "db"}},
        policyTypes=["Ingress", "Egress"],
        ingress=[
            {
                "from": [
                    {"ipBlock": {"cidr": "172.17.0.0/16", "except": ["172.17.1.0/24"]}},
                    {"namespaceSelector": {"matchLabels": {"project": "myproject"}}},
                    {"podSelector": {"matchLabels": {"role": "frontend"}}},
                ],
                "ports": [{"protocol": "TCP", "port": 6379}],
            }
        ],
        egress=[{"to": [{"ipBlock": {"cidr": "10.0.0.0/24"}}], "ports": [{"protocol": "TCP", "port": 5978}]}],
    )
    found = fences([example], NAMESPACES, PODS)
    assert [fence.pod for fence in found] == [DB]
    for source in ("172.17.0.9", CLIENT, STRANGER, FRONT):
        assert lets(found, source, DB, 6379)
        assert not lets(found, source, DB, 6380)
        assert not lets(found, source, DB, 6379, "udp")
    assert not lets(found, "172.17.1.9", DB, 6379)
    assert lets(found, DB, "10.0.0.9", 5978)
    assert not lets(found, DB, "10.0.1.9", 5978)


def test_both_selectors_of_a_peer_have_to_hold_and_two_peers_add_up():
    there, client = {"matchLabels": {"project": "myproject"}}, {"matchLabels": {"role": "client"}}
    both = policy(ingress=[{"from": [{"namespaceSelector": there, "podSelector": client}]}])
    assert lets(fences([both], NAMESPACES, PODS), CLIENT, DB)
    assert not lets(fences([both], NAMESPACES, PODS), STRANGER, DB)
    either = policy(ingress=[{"from": [{"namespaceSelector": there}, {"podSelector": client}]}])
    assert lets(fences([either], NAMESPACES, PODS), STRANGER, DB)
    assert not lets(fences([either], NAMESPACES, PODS), FRONT, DB)


def test_policies_add_up():
    rules = [
        policy(ingress=[{"from": [{"ipBlock": {"cidr": f"{one}/32"}}]}]) for one in ("192.0.2.1", "192.0.2.2")
    ]
    found = fences([policy(), *rules], NAMESPACES, PODS)
    assert [lets(found, f"192.0.2.{number}", DB) for number in (1, 2, 3)] == [True, True, False]


def test_a_port_by_name_is_the_number_of_the_pod_that_is_reached():
    found = fences([policy(ingress=[{"ports": [{"port": "web"}]}])], NAMESPACES, PODS)
    assert lets(found, AWAY, DB, 8080)
    assert not lets(found, AWAY, DB, 80)
    found = fences([policy(ingress=[{"ports": [{"port": "dns"}]}])], NAMESPACES, PODS)
    assert not lets(found, AWAY, DB, 53), "the name has to be of the same protocol"
    out = policy(policyTypes=["Egress"], egress=[{"ports": [{"port": "web"}]}])
    assert lets(fences([out], NAMESPACES, PODS), DB, CLIENT, 8080)
    assert not lets(fences([out], NAMESPACES, PODS), DB, AWAY, 8080), "an address has no named ports"


def test_ranges_and_protocols_of_ports():
    rule = {"ports": [{"port": 32000, "endPort": 32010}, {"protocol": "UDP"}]}
    found = fences([policy(ingress=[rule])], NAMESPACES, PODS)
    assert [lets(found, AWAY, DB, port) for port in (31999, 32000, 32010, 32011)] == [
        False,
        True,
        True,
        False,
    ]
    assert lets(found, AWAY, DB, 9, "udp")


@pytest.mark.parametrize(
    ("operator", "values", "expected"),
    [
        ("In", ["db", "web"], [True, False, False]),
        ("NotIn", ["db"], [False, True, True]),
        ("Exists", None, [True, True, False]),
        ("DoesNotExist", None, [False, False, True]),
    ],
)
def test_expressions_of_selectors(operator, values, expected):
    selector = {"matchExpressions": [{"key": "role", "operator": operator, "values": values}]}
    assert [selects(selector, labels) for labels in ({"role": "db"}, {"role": "x"}, {})] == expected


def test_a_pod_is_known_by_an_address_of_its_own():
    spec = {"containers": [{"ports": [{"name": "web", "containerPort": 8080}, {"containerPort": 9}]}]}
    given = {
        "metadata": {"namespace": "default", "name": "one", "labels": {"a": "b"}},
        "spec": spec,
        "status": {"phase": "Running", "podIPs": [{"ip": "10.96.0.9"}]},
    }
    assert Pod.read(given) == Pod(
        "default", "one", {"a": "b"}, (ip_address("10.96.0.9"),), (("web", "tcp", 8080),)
    )
    assert Pod.read({**given, "status": {"phase": "Pending"}}) is None
    assert Pod.read({**given, "status": {**given["status"], "phase": "Succeeded"}}) is None
    assert Pod.read({**given, "spec": {**spec, "hostNetwork": True}}) is None


def test_the_rules_that_are_written():
    rule = {
        "to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "10.96.0.0/16"]}}],
        "ports": [{"port": 443}],
    }
    text = ruleset(fences([policy(policyTypes=["Egress"], egress=[rule])], NAMESPACES, [DB]), "t")
    assert "ip saddr 10.96.0.2 jump leaving0" in text
    assert (
        "  chain leaving0 {\n    ip daddr 10.96.0.2 return\n"
        "    meta nfproto ipv4 ip daddr != { 10.0.0.0/8 } meta l4proto tcp th dport 443-443 return\n"
        "    ct status dnat reject with icmpx type admin-prohibited\n"
    ) in text
    assert "jump arriving0" not in text, "ingress is not selected"


def test_what_guards_a_guest_behind_the_gateway():
    """It reaches its own namespace and public addresses; its own namespace and the gateway reach it."""
    spec = behind_gateway(gateway_peers(["192.0.2.7"], None))
    found = fences([policy(**spec)], NAMESPACES, PODS)
    assert lets(found, DB, FRONT)
    assert lets(found, "192.0.2.7", DB)
    assert lets(found, DB, AWAY)
    for private in (CLIENT, HOUSE, "10.97.0.1", "169.254.169.254", "192.168.1.1", "100.64.0.1"):
        assert not lets(found, DB, private)
    assert not lets(found, CLIENT, DB)
    assert not lets(found, AWAY, DB)


def test_what_guards_a_guest_that_nodes_lead_devices_to():
    """The one device comes in, at what the service leads to, and is not reached from inside."""
    service = {"kind": "Service", "spec": {"ports": [{"protocol": "TCP", "port": 80, "targetPort": "web"}]}}
    spec = for_device(IPv4Address("203.0.113.9"), [service], IPv4Network("203.0.113.0/24"))
    found = fences([policy(**spec)], NAMESPACES, PODS)
    assert lets(found, "203.0.113.9", DB, 8080)
    assert not lets(found, "203.0.113.9", DB, 80)
    assert not lets(found, "203.0.113.17", DB, 8080)
    assert not lets(found, DB, "203.0.113.9")
    assert lets(found, DB, AWAY)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://10.98.0.2:6443", "10.98.0.2"),
        ("https://127.0.0.1:6443", ""),
        ("https://cluster.example.org", ""),
    ],
)
def test_the_node_is_looked_for_by_its_address(url, expected):
    kubeconfig = (
        "current-context: c\ncontexts: [{name: c, context: {cluster: k}}]\n"
        f"clusters: [{{name: k, cluster: {{server: '{url}'}}}}]\n"
    )
    assert server(kubeconfig) == expected
