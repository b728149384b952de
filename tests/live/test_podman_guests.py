"""Guests on a real Podman: whom they reach, what they may use, what is said of those that fail."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pytest

from edge_agent.on_podman.podman import PodmanRuntime
from edge_agent.recipes.limits import STANDARD
from tests.fakes.edge_agent_backends import backend, deployment, service
from tests.fakes.edge_agent_podman import (
    INTERNET,
    NEEDS,
    GuestSite,
    got,
    guest_site,
    named,
    planned,
    settled,
    started,
)
from tests.lab.machine import poll
from tests.lab.needs import needs

SHELL = ["/bin/busybox", "sh", "-c"]
MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def site() -> Iterator[GuestSite]:
    with guest_site() as site:
        yield site


@pytest.fixture
def runtime(site: GuestSite) -> Iterator[PodmanRuntime]:
    host = site.host
    with host.own_runtime() as runtime:
        yield runtime


def with_pod(manifest: dict[str, Any], **fields: Any) -> dict[str, Any]:
    manifest["spec"]["template"]["spec"].update(fields)
    return manifest


@needs(*NEEDS)
def test_a_guest_reaches_its_own_deployment_and_the_internet_alone(
    site: GuestSite, runtime: PodmanRuntime
) -> None:
    host = site.host
    ports = [{"name": "http", "port": 81, "targetPort": "http"}]
    own = backend(service("a"), deployment("a"), service("b", ports=ports), deployment("b"))
    first = started(runtime, own, "first")
    second = started(runtime, backend(), "second")
    assert settled(runtime, first).state == settled(runtime, second).state == "Ready"
    other = runtime.observe([second])["second"].endpoints
    assert other is not None
    stranger, port = other["helloworld", "TCP", 80]

    assert "Hello" in got(host, "first-web", f"{named(host, 'first-web', 'b')}:81")
    long = named(host, "first-1-web", f"a.{first.home}.svc.cluster.local")
    assert "Hello" in got(host, "first-1-web", f"{long}:80")
    assert "a page" in got(host, "first-web", f"{INTERNET}:8000")
    gateway = str(next(iter(IPv4Network(f"{stranger}/24", strict=False).hosts())))
    for forbidden in (
        "203.0.113.7:8000",
        "203.0.113.8:8000",
        "169.254.169.254:8000",
        f"{gateway}:8000",
        f"{stranger}:{port}",
        f"{named(host, 'first-web', 'b')}:80",
    ):
        assert got(host, "first-web", forbidden) == "", forbidden
    host.machine.run("nft", "flush", "ruleset")  # as another firewall does that starts anew
    runtime.observe([first])
    assert got(host, "first-web", "203.0.113.8:8000") == ""


@needs(*NEEDS)
def test_a_pod_reaches_itself_by_its_service_name(site: GuestSite) -> None:
    host, machine, agent = site.host, site.host.machine, uuid.uuid4()
    ports = [{"name": "http", "port": 80, "targetPort": "http"}, {"name": "own", "port": 8080}]
    with host.own_runtime(agent) as runtime:
        record = started(runtime, backend(service(ports=ports), deployment()))
        assert settled(runtime, record).state == "Ready"
        address = named(host, "guest-web", "helloworld")
        for port in (80, 8080):
            assert "Hello" in got(host, "guest-web", f"{address}:{port}"), port
        (veth,) = json.loads(machine.run(*"ip -j link show master podman1".split()).stdout)
        option = ("link", "set", veth["ifname"], "type", "bridge_slave", "hairpin", "off")
        machine.run("ip", *option)  # as an agent leaves it that was killed just before
        host.runtime(agent).records()
        assert "Hello" in got(host, "guest-web", f"{address}:80")


@needs(*NEEDS)
def test_volumes_are_bounded_and_handed_on_and_privileges_are_few(
    site: GuestSite, runtime: PodmanRuntime
) -> None:
    host = site.host
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"word": "psst"}}
    mounts = [{"name": "v", "mountPath": "/v"}, {"name": "s", "mountPath": "/s"}]
    resources = {"limits": {"memory": "32Mi", "cpu": "500m"}}
    web = deployment(
        volumeMounts=mounts, resources=resources, securityContext={"readOnlyRootFilesystem": True}
    )
    init = {"name": "i", "image": web["spec"]["template"]["spec"]["containers"][0]["image"]}
    init |= {"command": [*SHELL, "echo first > /v/word"], "volumeMounts": [dict(mounts[0])]}
    volumes = [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}, {"name": "s", "secret": {"secretName": "s"}}]
    record = started(
        runtime, backend(secret, service(), with_pod(web, initContainers=[init], volumes=volumes))
    )
    assert settled(runtime, record).state == "Ready"
    assert host.inside("guest-web", "/bin/busybox cat /v/word /s/word").split() == ["first", "psst"]
    full = host.inside("guest-web", "/bin/busybox dd if=/dev/zero of=/v/x bs=64k count=32")
    assert "No space left" in full
    assert "Read-only" in host.inside("guest-web", "echo x > /x; echo x > /s/word")
    status = host.inside("guest-web", "/bin/busybox cat /proc/self/status")
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    inspected = host.podman(
        *("container", "inspect", "guest-web", "--format"),
        "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}",
    )
    assert inspected.split() == [str(32 * MEBIBYTE), "500000000", "512"]


@needs(*NEEDS)
def test_guests_hear_nothing_of_the_operators_names(site: GuestSite, runtime: PodmanRuntime) -> None:
    host, machine = site.host, site.host.machine
    hosts, resolv = site.folder / "operators-hosts", site.folder / "operators-resolv"
    hosts.write_text("127.0.0.1 localhost\n192.168.1.20 safe.corp.example\n")
    resolv.write_text("nameserver 192.0.2.53\nsearch corp.example\n")
    for file, place in ((hosts, "/etc/hosts"), (resolv, "/etc/resolv.conf")):
        machine.run("mount", "--bind", str(file), place)
    try:
        web = with_pod(deployment(), hostAliases=[{"ip": "192.0.2.9", "hostnames": ["friend"]}])
        init = {"name": "i", "image": web["spec"]["template"]["spec"]["containers"][0]["image"]}
        init |= {"command": [*SHELL, "/bin/busybox grep -q corp /etc/hosts && exit 3; exit 0"]}
        record = started(runtime, backend(service(), with_pod(web, initContainers=[init])))
        assert settled(runtime, record).state == "Ready"
        known = host.inside("guest-web", "/bin/busybox cat /etc/hosts /etc/resolv.conf")
    finally:
        for place in ("/etc/hosts", "/etc/resolv.conf"):
            machine.run("umount", place)
    assert "corp.example" not in known
    assert "host.containers.internal" not in known
    for name in ("localhost", "helloworld", "friend"):
        assert named(host, "guest-web", name)
    assert "Read-only" in host.inside("guest-web", "echo x > /etc/hosts")


@needs(*NEEDS)
def test_a_guest_that_fills_the_disk_is_ended(site: GuestSite, runtime: PodmanRuntime) -> None:
    root = deployment(securityContext={"runAsUser": 0})
    small = replace(STANDARD, storage_bytes=4 * MEBIBYTE)
    record = started(runtime, backend(service(), root), limits=small)
    assert settled(runtime, record).state == "Ready"
    write = "/bin/busybox dd if=/dev/zero of=/file bs=1M count="
    assert "3+0 records out" in site.host.inside("guest-web", f"{write}3")
    assert poll(lambda: runtime._disk._written and runtime.observe([record]), 30, 0.1)
    assert runtime.observe([record])["guest"].state == "Ready"
    site.host.inside("guest-web", f"{write}6")
    assert poll(lambda: runtime.observe([record])["guest"].state == "Failed", 30, 0.1)
    assert "6 MiB onto the disk; its limit is 4 MiB" in runtime.observe([record])["guest"].reason


@needs(*NEEDS)
@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo the disk is on fire; exit 3", ["again and again", "the disk is on fire"]),
        ("/bin/busybox dd if=/dev/zero of=/dev/null bs=64M count=1", ["more memory than it may"]),
    ],
)
def test_a_failure_has_a_reason_that_a_person_understands(
    runtime: PodmanRuntime, script: str, words: list[str]
) -> None:
    limits = {"limits": {"memory": "16Mi"}}
    record = started(runtime, backend(service(), deployment(command=[*SHELL, script], resources=limits)))
    seen = settled(runtime, record)
    assert seen.state == "Failed"
    for word in words:
        assert word in seen.reason


@needs(*NEEDS)
def test_a_port_that_nobody_listens_on_is_named(runtime: PodmanRuntime) -> None:
    record = started(runtime, backend(service(), deployment(command=[*SHELL, "/bin/busybox sleep 60"])))
    assert poll(lambda: "port 8080" in runtime.observe([record])[record.name].reason, 20, 0.1)


@needs(*NEEDS)
def test_probes_are_asked(site: GuestSite, runtime: PodmanRuntime) -> None:
    host = site.host
    ready = {"exec": {"command": [*SHELL, "test -e /dev/shm/ready"]}}
    alive = {"exec": {"command": [*SHELL, "test ! -e /dev/shm/dead"]}, "failureThreshold": 1}
    up = {"httpGet": {"port": "http", "path": "/"}}
    serving = "/bin/busybox httpd -p 8080 -h /www; exec /bin/busybox sleep 600"
    record = started(
        runtime,
        backend(
            service(),
            deployment(command=[*SHELL, serving], readinessProbe=ready, livenessProbe=alive, startupProbe=up),
        ),
    )
    assert poll(lambda: "readiness" in runtime.observe([record])[record.name].reason, 20, 0.1)
    host.inside("guest-web", "> /dev/shm/ready")
    assert settled(runtime, record).state == "Ready"
    before = host.podman("container", "inspect", "guest-web", "--format", "{{.State.Pid}}")
    host.inside("guest-web", "> /dev/shm/dead")

    def restarted() -> bool:
        runtime.observe([record])
        return host.podman("container", "inspect", "guest-web", "--format", "{{.State.Pid}}") != before

    assert poll(restarted, 30, 0.2)


class Killed(BaseException):
    """What an agent is that was killed between two calls."""


@needs(*NEEDS)
def test_an_agent_killed_after_any_call_leaves_what_the_next_one_finishes(
    site: GuestSite,
) -> None:
    host = site.host
    agent = uuid.uuid4()
    web = with_pod(
        deployment(volumeMounts=[{"name": "v", "mountPath": "/v"}]), volumes=[{"name": "v", "emptyDir": {}}]
    )
    chosen = backend(service(), web)
    ended, last = False, 0
    while not ended:
        last += 1
        calls = 0

        def run(arguments: list[str], last: int = last, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            done = host.run(arguments, **options)
            if calls == last:
                raise Killed
            return done

        record = planned(chosen)
        try:
            dying = host.runtime(agent, run)
            dying.create(record)
            dying.apply(record, chosen.placed(record.home), STANDARD)
            ended = True
        except Killed:
            pass
        later = host.runtime(agent)
        assert later.records() == [record]
        if last % 2:
            later.apply(record, chosen.placed(record.home), STANDARD)
            assert settled(later, record).state == "Ready"
        later.delete(record)
        assert host.left() == [], last
    assert last > 8
