"""What `sinfonia-agent check` finds, and how it says so."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from edge_agent.checking import cluster, findings, machine, network
from edge_agent.checking.findings import Finding
from edge_agent.errors import RecipeUnusable, Unavailable
from edge_agent.machine import has_ipv6
from edge_agent.on_kubernetes.placement import Placement
from edge_agent.on_kubernetes.rights import Right
from edge_agent.sessions import make_session
from edge_agent.wire import Resources
from tests.lab.web import serving

GOOD, WARNING, BAD, UNKNOWN = (
    Finding("a part", "it", level, "text") for level in ("good", "warning", "bad", "unknown")
)


class Tools:
    """Programs that say what a test wants, by the first words of the command."""

    def __init__(self, **said: tuple[int, str]) -> None:
        self.said = said
        self.asked: list[list[str]] = []

    def __call__(self, arguments: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        self.asked.append(arguments)
        if arguments[0] not in self.said:
            raise FileNotFoundError(2, "No such file or directory")
        code, text = self.said[arguments[0]]
        return subprocess.CompletedProcess(
            arguments, code, b"" if code else text.encode(), text.encode() if code else b""
        )


class Server:
    """An API server: answers by path, access reviews by `may`."""

    def __init__(self, answers: dict[str, Any] | None = None, may: Any = lambda _: True) -> None:
        self.answers = answers or {}
        self.may = may
        self.reviews: list[dict[str, Any]] = []

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:  # noqa: ARG002
        if path.endswith("selfsubjectaccessreviews"):
            wanted = body["spec"]["resourceAttributes"]
            self.reviews.append(wanted)
            return {"status": {"allowed": self.may(wanted)}}
        if path not in self.answers:
            raise Unavailable("403")
        return self.answers[path]


def levels(found: Any) -> list[str]:
    return [one.level for one in found]


def test_the_worst_finding_makes_the_status():
    assert findings.status([]) == 0
    assert findings.status([GOOD, UNKNOWN]) == 0
    assert findings.status([GOOD, WARNING]) == 1
    assert findings.status([WARNING, BAD, GOOD]) == 2


def test_a_check_that_fails_is_a_finding_and_hides_no_other():
    def broken() -> Any:
        yield GOOD
        raise Unavailable("it is away")

    found = list(findings.run([("cluster: server", broken), ("machine: other", lambda: [WARNING])]))
    assert found[0] == GOOD
    assert found[1] == Finding("cluster", "server", "bad", "can't be checked: it is away")
    assert found[2] == WARNING


def test_the_table_has_parts_marks_and_advice():
    bad = Finding("machine", "UDP port 51820", "bad", "in use", "end what uses it " * 12)
    text = findings.as_table([Finding("machine", "ip", "good", "6.1"), bad, WARNING], colour=False)
    lines = text.splitlines()
    assert lines[0] == "machine"
    assert lines[1].split() == ["✓", "ip", "6.1"]
    assert "✗ UDP port 51820" in lines[2]
    assert lines[3].strip().startswith("→ end what")
    assert "a part" in lines
    assert lines[-1] == "1 thing has to be changed before the agent can work."
    assert "\x1b" not in text
    assert max(map(len, lines)) <= 100
    assert "\x1b[31m✗" in findings.as_table([bad], colour=True)
    assert findings.as_table([GOOD], colour=False).endswith("All is well.")


def test_programs_can_read_it():
    said = json.loads(findings.as_json([GOOD, BAD]))
    assert said["status"] == 2
    assert said["findings"][1] == {
        "part": "a part",
        "subject": "it",
        "level": "bad",
        "text": "text",
        "advice": "",
    }


def test_programs_are_there_with_their_versions_or_named():
    programs = machine.Programs(
        Tools(ip=(0, "ip utility, iproute2-6.1.0, libbpf 1.1.0"), nft=(1, "broken\nmore"))
    )
    found = {one.subject: one for one in programs.installed(["ip", "wg", "nft"])}
    assert (found["ip"].level, found["ip"].text) == ("good", "6.1.0")
    assert "wireguard-tools" in found["wg"].advice
    assert (found["nft"].level, found["nft"].text) == ("bad", "broken")


@pytest.mark.parametrize(
    ("said", "level"),
    [
        ((0, "v3.17.2+gcc0bbbd"), "good"),
        ((0, "v4.3.0"), "good"),
        ((0, "v2.9.1"), "warning"),
        ((1, "what?"), "bad"),
    ],
)
def test_helm_is_of_a_version_that_was_tried(said, level):
    assert levels(machine.Programs(Tools(helm=said)).helm("helm")) == [level]


def test_a_program_that_hangs_is_told():
    def hang(arguments: list[str], **_: Any) -> Any:
        raise subprocess.TimeoutExpired(arguments, 15)

    (found,) = machine.Programs(hang).podman([])
    assert (found.level, found.text) == ("bad", "did not end within 15 s")


def test_the_kernels_wireguard_is_tried_and_taken_away_again():
    tools = Tools(ip=(0, ""))
    assert levels(machine.Programs(tools).wireguard()) == ["good"]
    assert tools.asked[-1][:3] == ["ip", "link", "del"]


def test_a_port_is_free_or_taken_by_the_agent_or_by_somebody():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        assert levels(machine.port("TCP", "127.0.0.1", number, "--listen", running=True)) == ["good"]
        (found,) = machine.port("TCP", "127.0.0.1", number, "--listen", running=False)
        assert found.level == "bad"
        assert "--listen" in found.advice
    for host in ("127.0.0.1", *(["::1", "::"] if has_ipv6() else [])):
        assert levels(machine.port("TCP", host, number, "--listen", running=False)) == ["good"]
    (found,) = machine.port("TCP", "fe80::7%nowhere", number, "--listen", running=False)
    assert found.level == "bad"


def test_forwarding_is_on_or_can_be_switched(tmp_path: Path):
    switch = tmp_path / "ip_forward"
    switch.write_text("1\n")
    assert levels(machine.forwarding(switch)) == ["good"]
    switch.write_text("0\n")
    (found,) = machine.forwarding(switch)
    assert "switches it on" in found.text


def test_keys_that_others_can_read_are_told(tmp_path: Path):
    assert "warning" not in levels(machine.state(tmp_path / "not" / "made"))
    (tmp_path / "identity.json").touch(mode=0o644)
    (tmp_path / "identity.json").chmod(0o644)
    assert "chmod 600" in list(machine.state(tmp_path))[-1].advice


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("v1.19.3", ["bad", "warning", "warning"]),
        ("v1.20.2-k3s1", ["good", "warning", "warning"]),
        ("v1.28.0", ["good", "good", "warning"]),
        ("v1.37.1", ["good", "good"]),
        ("nonsense", ["bad", "warning", "warning"]),
    ],
)
def test_the_servers_version_is_judged(version, expected):
    assert levels(cluster.server(Server({"/version": {"gitVersion": version}}))) == expected


def test_each_right_is_asked_for_where_it_is_needed():
    table = (
        Right("pods", "", ("list", "create"), ""),
        Right("pods/log", "", ("get",), ""),
        Right("leases", "coordination.k8s.io", ("get",), "", "own namespace"),
    )
    server = Server()
    assert levels(cluster.rights(server, "sinfonia", table)) == ["good"]
    assert [one["verb"] for one in server.reviews] == ["list", "create", "get", "get"]
    assert server.reviews[2]["subresource"] == "log"
    assert server.reviews[3]["namespace"] == "sinfonia"
    server = Server(may=lambda wanted: wanted["verb"] != "create")
    (found,) = cluster.rights(server, None, table)
    assert found.level == "bad"
    assert found.text == "missing: create pods"


def test_rights_that_nobody_needs_are_told():
    assert list(cluster.more_than_needed(Server(may=lambda _: False))) == []
    (found,) = cluster.more_than_needed(Server())
    assert "list secrets" in found.text


def test_what_may_not_be_seen_is_unknown():
    server = Server()
    for check in (cluster.network_policy, cluster.names):
        assert levels(check(server)) == ["unknown"]
    assert levels(cluster.nodes(server, Placement())) == ["unknown"]


def test_nodes_that_take_no_guests_are_told():
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    cordoned = {**ready, "spec": {"unschedulable": True}}
    some, none = (Server({"/api/v1/nodes": {"items": items}}) for items in ([ready, cordoned], [cordoned]))
    assert levels(cluster.nodes(some, Placement())) == ["good"]
    assert levels(cluster.nodes(none, Placement())) == ["bad"]
    assert levels(cluster.nodes(some, Placement({"guests": "yes"}))) == ["bad"]


@pytest.mark.parametrize(
    ("status", "given", "level", "words"),
    [
        (200, {"cpu_ratio": 0.1, "mem_ratio": 0.2}, "good", "says cpu_ratio, mem_ratio"),
        (200, {"cpu_ratio": 0.1}, "warning", "says cpu_ratio"),
        (200, {}, "warning", "says nothing"),
        (404, {"cpu_ratio": 0.1}, "bad", "answers 404"),
    ],
)
def test_what_prometheus_measures_is_told(status, given, level, words):
    def application(_, start_response):
        start_response(f"{status} it", [])
        return [b"{}"]

    session = make_session(time.monotonic)
    with serving(application) as url:
        (found,) = network.prometheus(url, session, lambda: Resources.of(given))
    assert (found.level, found.text) == (level, words)
    assert ("--prometheus-query mem_ratio" in found.advice) == (
        given == {"cpu_ratio": 0.1} and level == "warning"
    )


def test_a_prometheus_that_is_away_is_told():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    nothing = Resources.of({})
    assert levels(network.prometheus(url, make_session(time.monotonic), lambda: nothing)) == ["bad"]


@pytest.mark.parametrize(
    ("name", "level"), [("cilium", "good"), ("kube-flannel-ds", "warning"), ("x", "warning")]
)
def test_networks_are_known_by_name(name, level):
    sets = {"items": [{"metadata": {"name": name}}]}
    server = Server({"/apis/apps/v1/namespaces/kube-system/daemonsets": sets})
    assert levels(cluster.network_policy(server)) == [level]


def test_recipes_are_tried_each_by_itself(tmp_path: Path):
    good, bad = UUID(int=1), UUID(int=2)
    for app in (good, bad):
        (tmp_path / f"{app}.yaml").touch()
    (tmp_path / "notes.yaml").touch()

    def prepare(app: UUID) -> None:
        if app == bad:
            raise RecipeUnusable("host paths are not allowed")

    found = list(network.recipes(str(tmp_path), prepare))
    assert levels(found) == ["bad", "good"]
    assert found[0].subject == str(bad)
    assert found[1].text.startswith("1 of 2")
    assert levels(network.recipes(str(tmp_path / "none"), prepare)) == ["bad"]
    assert levels(network.recipes(None, prepare)) == ["good"]
    assert levels(network.recipes("https://recipes.example/", prepare)) == ["unknown"]
