"""The real agent with Podman and WireGuard on a machine of its own: what devices see, what is left."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.edge_agent_host import HELLOWORLD, RECIPES, AgentHost, DeviceHost, until
from tests.lab import podman
from tests.lab.cluster import CHART
from tests.lab.machine import Machine, Network, poll
from tests.lab.needs import needs
from tests.lab.prometheus import PROGRAMS, Prometheus

live = needs(
    *(
        "root",
        "tun",
        "podman",
        "runc",
        "netavark",
        "catatonit",
        "iptables",
        "wg",
        "wireguard-go",
        "nft",
        "ip",
    ),
    *("curl", "ping", "helm", "busybox-static"),
)
BAD_IMAGE, FORBIDDEN, BROKEN, LOOPING = (uuid.UUID(int=number) for number in (1, 2, 3, 4))
UNKNOWN = uuid.UUID(int=99)


class Site:
    """One agent's host, one device's, and a way to get more devices."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self._count = 0
        self.lan = stack.enter_context(Network("lan", "198.51.100.0/24"))
        cloudlet = stack.enter_context(Machine("cloudlet"))
        self.lan.attach(cloudlet, "198.51.100.7")
        self.agent = AgentHost(cloudlet, "198.51.100.7", folder, recipes_with_faults(folder))
        self.device = self.another_device()

    def another_device(self) -> DeviceHost:
        self._count += 1
        machine = self._stack.enter_context(Machine(f"device{self._count}"))
        self.lan.attach(machine, f"198.51.100.{100 + self._count}")
        return DeviceHost(machine, self._folder)


def recipes_with_faults(folder: Path) -> Path:
    """helloworld and its chart, and recipes with something wrong."""
    recipes = folder / "recipes"
    shutil.copytree(RECIPES, recipes)
    shutil.copytree(RECIPES.parent / "charts" / "helloworld", recipes / "helloworld")
    for app, values in (
        (BAD_IMAGE, {"image": "localhost/none:1", "pullPolicy": "Never"}),
        (LOOPING, {"image": "x"}),
    ):
        text = {"chart": "helloworld", "version": "0.1.0", "values": values}
        (recipes / f"{app}.yaml").write_text(json.dumps(text))
    for app, name, template in (
        (
            FORBIDDEN,
            "forbidden",
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: x}\n",
        ),
        (BROKEN, "broken", "{{ .Values.missing.thing }}"),
    ):
        (recipes / name / "templates").mkdir(parents=True)
        (recipes / name / "Chart.yaml").write_text(f"apiVersion: v2\nname: {name}\nversion: 0.1.0\n")
        (recipes / name / "templates" / "all.yaml").write_text(template)
        (recipes / f"{app}.yaml").write_text(f"chart: {name}\nversion: 0.1.0\n")
    return recipes


@pytest.fixture
def site() -> Iterator[Site]:
    folder = Path(tempfile.mkdtemp(prefix="agent-"))
    kept = podman.cgroups()
    with ExitStack() as stack:
        site = Site(stack, folder)
        yield site
        log = site.agent.log.read_text() if site.agent.log.exists() else ""
        if "Traceback" in log:
            pytest.fail(log)
    podman.sweep_cgroups(kept)
    shutil.rmtree(folder, ignore_errors=True)


def page(device: DeviceHost, deployment: dict[str, Any]) -> str:
    return str(device.curl(f"http://{deployment['Services'][0]['address']}/")[1])


@live
def test_from_the_call_to_the_page_and_back(site: Site) -> None:
    site.agent.start("--json")
    times = {"begin": time.monotonic()}
    status, (answer,) = site.device.deploy(site.agent.url)
    times["answer"] = time.monotonic()
    assert (status, answer["Status"]) == (200, "Deploying")
    site.device.bind(answer)
    times["tunnel"] = time.monotonic()
    assert site.device.curl(answer["StatusURL"])[0] == 200
    times["status"] = time.monotonic()
    status, now = site.device.curl(answer["StatusURL"] + "?wait=20")
    assert (status, now["Status"]) == (200, "Ready"), now
    times["ready"] = time.monotonic()
    assert "Hello from cloudlet" in page(site.device, answer)
    times["page"] = time.monotonic()
    marks = list(times.items())
    took = {name: round(at - before, 2) for (name, at), (_, before) in zip(marks[1:], marks, strict=False)}
    assert times["page"] - times["begin"] < 30, took  # `agent_deploy` measures; here only nothing may hang
    zone = answer["TunnelConfig"]["dns"][1]
    assert site.device.resolve(answer, f"helloworld.{zone}") == [answer["Services"][0]["address"]]
    assert site.device.resolve(answer, f"helloworld.{zone}", "AAAA") == []
    assert site.device.resolve(answer, "example.com") == []
    assert site.device.deploy(site.agent.url, wait=5) == (200, [now])
    assert site.device.deploy(site.agent.url, method="GET") == (200, [now])
    assert site.device.curl(answer["StatusURL"], "-X", "DELETE")[0] == 202
    until(lambda: site.agent.left() == [])
    assert site.device.deploy(site.agent.url, method="GET")[0] == 404


@live
@needs("prometheus")
def test_prometheus_finds_what_the_dashboard_asks_for(site: Site) -> None:
    site.agent.start("--metrics", "127.0.0.1:9707")
    prometheus = Prometheus(
        site.agent.machine, site.agent.folder, "127.0.0.1:9707", CHART / "files" / "rules.yaml"
    )
    status, (answer,) = site.device.deploy(site.agent.url, wait=20)
    assert (status, answer["Status"]) == (200, "Ready"), "a waiting call is answered when it is ready"
    site.device.bind(answer)
    assert "Hello" in page(site.device, answer)
    site.device.resolve(answer, "example.com")
    text = site.agent.machine.run("curl", "-fsS", "127.0.0.1:9707/metrics").stdout
    linted = subprocess.run(
        [str(PROGRAMS / "promtool"), "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (linted.returncode, linted.stderr) == (0, "")

    panels = json.loads((CHART / "files" / "dashboard.json").read_text())["panels"]
    asked = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    asked = [text.replace("$__rate_interval", "30s").replace("$job", "agent") for text in asked]
    known = {name for text in asked for name in re.findall(r"sinfonia_agent_\w+", text)}
    told = {f"{name}{tail}" for name in prometheus.names() for tail in ("", "_bucket")}
    assert known <= told, known - told
    nothing = [text for text in asked if "call_failures" in text]
    assert len(nothing) == 1, "all calls went well"
    for text in set(asked) - set(nothing):
        until(lambda text=text: prometheus.query(text))
    assert prometheus.query(nothing[0]) == []
    until(lambda: {rule["health"] for rule in prometheus.rules()} == {"ok"})


@live
def test_devices_are_kept_apart(site: Site) -> None:
    site.agent.start()
    other = site.another_device()
    (mine,), (theirs,) = (
        site.device.deploy(site.agent.url, wait=20)[1],
        other.deploy(site.agent.url, wait=20)[1],
    )
    site.device.bind(mine)
    other.bind(theirs)
    assert "Hello" in page(site.device, mine)
    assert "Hello" in page(other, theirs)
    for network in theirs["TunnelConfig"]["allowedIPs"][1:]:
        site.device.machine.run("ip", "route", "replace", network, "dev", "wg0")
    site.device.machine.run(
        *("wg", "set", "wg0", "peer", mine["TunnelConfig"]["publicKey"], "allowed-ips", "100.64.0.0/10")
    )
    assert site.device.curl(f"http://{theirs['Services'][0]['address']}/", "-m", "2")[0] == 0
    assert site.device.curl("http://198.51.100.7:7070/api/v1/health")[0] == 200, (
        "by the LAN, not by the tunnel"
    )
    gateway = mine["TunnelConfig"]["dns"][0]
    assert site.device.curl(f"http://{gateway}:7070/api/v1/health", "-m", "2")[0] == 0
    assert site.device.resolve(mine, f"helloworld.{theirs['TunnelConfig']['dns'][1]}") == []
    assert (
        site.device.curl(f"http://{gateway}/api/v1/deployment")[1]["DeploymentName"] == mine["DeploymentName"]
    )


@live
def test_twenty_calls_at_once_make_one_backend(site: Site) -> None:
    site.agent.start()
    with ThreadPoolExecutor(20) as callers:
        calls = [callers.submit(site.device.deploy, site.agent.url, wait=20) for _ in range(20)]
        answers = [call.result(60) for call in calls]
    assert {status for status, _ in answers} == {200}
    assert len({json.dumps(answer) for _, answer in answers}) == 1
    assert len(site.agent.podman("pod", "ps", "--format", "{{.Name}}").split()) == 1


@live
def test_what_cannot_be_deployed_leaves_nothing(site: Site) -> None:
    site.agent.start()
    for app, status, words in (
        (FORBIDDEN, 422, "ClusterRole"),
        (BROKEN, 422, "can't render"),
        (UNKNOWN, 404, "no recipe"),
        (BAD_IMAGE, 502, "image"),
    ):
        got, problem = site.device.deploy(site.agent.url, wait=20, app=app)
        assert (got, words in problem["detail"]) == (status, True), problem
        peer = [site.device.key] if app == BAD_IMAGE else []
        until(lambda peer=peer: len(site.agent.left()) == len(peer))  # it hears of the failure for a minute
        assert site.agent.health()["deployments"] == 0
    assert site.device.deploy(site.agent.url, app=BAD_IMAGE, method="GET")[1][0]["Status"] == "Failed"
    assert site.device.deploy(site.agent.url, wait=20, app=BAD_IMAGE)[0] == 502


@live
@pytest.mark.parametrize("delay", [0.1, 0.4])
def test_a_kill_while_deploying_leaves_nothing_that_is_not_found(site: Site, delay: float) -> None:
    """Killed at some line of a deployment: the next start finishes it, and its release leaves nothing."""
    program = site.agent.start()
    _, (answer,) = site.device.deploy(site.agent.url)
    poll(lambda: False, delay)
    program.kill()
    site.agent.start()
    site.device.bind(answer)
    status, now = site.device.curl(answer["StatusURL"] + "?wait=20")
    assert (status, now["Status"]) == (200, "Ready"), (now, site.agent.log.read_text())
    assert now["DeploymentName"] == answer["DeploymentName"]
    assert "Hello" in page(site.device, now)
    assert len(site.agent.podman("pod", "ps", "--format", "{{.Name}}").split()) == 1
    site.device.curl(answer["StatusURL"], "-X", "DELETE")
    until(lambda: site.agent.left() == [])


@live
def test_a_crash_does_not_disturb_a_session(site: Site) -> None:
    program = site.agent.start()
    (answer,) = site.device.deploy(site.agent.url, wait=20)[1]
    site.device.bind(answer)
    assert "Hello" in page(site.device, answer)
    handshake = site.device.machine.run("wg", "show", "wg0", "latest-handshakes").stdout
    program.kill()
    assert "Hello" in page(site.device, answer), "the tunnel does not need the agent"
    site.agent.start()
    assert "Hello" in page(site.device, answer)
    assert site.device.curl(answer["StatusURL"])[1]["Status"] == "Ready"
    assert site.device.machine.run("wg", "show", "wg0", "latest-handshakes").stdout == handshake


@live
def test_the_end_leaves_nothing(site: Site) -> None:
    program = site.agent.start("--announce")
    (answer,) = site.device.deploy(site.agent.url, wait=20)[1]
    site.device.bind(answer)
    program.send_signal(signal.SIGTERM)
    assert program.wait(40) == 0
    assert site.agent.left() == []
    assert "sinfonia" not in site.agent.machine.run("nft", "list", "tables").stdout
    assert "sf-" not in site.agent.machine.run("ip", "link").stdout
    assert poll(lambda: site.agent.machine.processes() == [], 30), site.agent.machine.processes()


@live
def test_the_end_in_the_middle_of_a_start_leaves_nothing(site: Site) -> None:
    program = site.agent.start()
    site.device.deploy(site.agent.url)
    program.send_signal(signal.SIGINT)
    assert program.wait(40) == 0
    assert site.agent.left() == []


@live
def test_kept_backends_are_taken_over(site: Site) -> None:
    program = site.agent.start("--on-exit", "keep")
    (answer,) = site.device.deploy(site.agent.url, wait=20)[1]
    site.device.bind(answer)
    assert "Hello" in page(site.device, answer)
    assert program.stop() == 0
    assert "Hello" in page(site.device, answer)
    site.agent.start()
    assert site.device.deploy(site.agent.url)[1][0]["TunnelConfig"] == answer["TunnelConfig"]
    assert "Hello" in page(site.device, answer)


@live
def test_an_idle_backend_is_removed_and_a_used_one_is_not(site: Site) -> None:
    site.agent.start("--idle-seconds", "6", "--trial")
    other = site.another_device()
    (used,) = site.device.deploy(site.agent.url, wait=20)[1]
    site.device.bind(used)  # with a persistent keepalive of one second
    other.deploy(site.agent.url, wait=20)
    assert site.agent.health()["deployments"] == 2
    until(lambda: site.agent.health()["deployments"] == 1)  # and the used one is older
    assert "Hello" in page(site.device, used)
    assert site.device.deploy(site.agent.url, method="GET")[0] == 200


@live
def test_the_gateway_is_reached_over_ipv6_where_the_operator_says_so(site: Site) -> None:
    machine = site.agent.machine
    for host, address in ((machine, "fd00:5f::7"), (site.device.machine, "fd00:5f::8")):
        host.run("ip", "address", "add", f"{address}/64", "dev", "eth0", "nodad")
    options = ("--wireguard-endpoint6", "[fd00:5f::7]:51820", "--tunnel-mtu", "1380", "--device-rate", "5000")
    site.agent.start(*options)
    (answer,) = site.device.deploy(site.agent.url, wait=20)[1]
    ipv6 = answer["TunnelConfig"]["ipv6"]
    assert ipv6["endpoint"] == "[fd00:5f::7]:51820"
    answer["TunnelConfig"]["endpoint"] = ipv6["endpoint"]
    site.device.bind(answer)
    assert "Hello" in page(site.device, answer)
    assert "[fd00:5f::8]" in machine.run("wg", "show", "all", "endpoints").stdout
    (tunnel,) = [line for line in machine.run("ip", "-o", "link").stdout.splitlines() if " sf-" in line]
    assert " mtu 1380 " in tunnel
    assert "5000/second" in machine.run("nft", "list", "ruleset").stdout


@live
def test_what_the_operator_has_to_change_is_one_line(site: Site) -> None:
    site.agent.start()
    second = site.agent.machine.run(
        *("sinfonia-agent", "run", "--runtime", "podman", "--recipes", str(site.agent.recipes)),
        *("--state", str(site.agent.folder / "state"), "--announce", "--listen", "198.51.100.7:7071"),
        check=False,
        env={"PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    assert (second.returncode, second.stderr.count("\n")) == (2, 1), second.stderr
    assert "another agent is using it" in second.stderr


@live
def test_helloworld_is_what_the_tests_deploy() -> None:
    assert (RECIPES / f"{HELLOWORLD}.yaml").exists()
