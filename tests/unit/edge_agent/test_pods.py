"""Manifests as pods for Podman: names of their own, services worked out, limits shared, less than allowed."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from edge_agent.errors import DeployFailed, Unavailable
from edge_agent.on_podman.blueprints import Blueprint, draw, targets
from edge_agent.on_podman.names_files import NamesFiles, text
from edge_agent.on_podman.pods import read_serves, write_serves
from edge_agent.recipes.limits import STANDARD, Limits
from tests.fakes.edge_agent_backends import backend, deployment, service
from tests.unit.edge_agent.test_records import RECORD

SUBNET = IPv4Network("10.89.3.0/24")
HTTP = {"httpGet": {"port": "http", "path": "/up"}}


def blueprints(*manifests: dict[str, Any], limits: Limits = STANDARD) -> list[Blueprint]:
    chosen = backend(*manifests)
    record = replace(RECORD, name="hello-1", ports=chosen.ports)
    return draw(record, chosen.placed(record.home), limits, {"sinfonia/deployment": "hello-1"}, SUBNET)


def after(options: tuple[str, ...], name: str) -> list[str]:
    """The values of an option that may come several times."""
    return [options[index + 1] for index, word in enumerate(options) if word == name]


def with_pod(manifest: dict[str, Any], **fields: Any) -> dict[str, Any]:
    manifest["spec"]["template"]["spec"].update(fields)
    return manifest


def test_a_pod_has_the_deployments_name_and_no_host_ports() -> None:
    (plan,) = blueprints(service(), deployment())
    assert (plan.pod.name, plan.pod.index, str(plan.address)) == ("hello-1", 0, "10.89.3.10")
    assert plan.pod.labels["sinfonia/serves"] == "helloworld/TCP/80>8080"
    assert plan.pod.labels["sinfonia/containers"] == "hello-1-web"
    assert not {"--publish", "-p"} & set(plan.containers[0].options)


@pytest.mark.parametrize(
    ("port", "target"),
    [
        ({"port": 80}, 80),
        ({"port": 80, "targetPort": 8081}, 8081),
        ({"port": 80, "targetPort": "http"}, 8080),
    ],
)
def test_target_ports(port: dict[str, Any], target: int) -> None:
    (plan,) = blueprints(service(ports=[port]), deployment())
    assert plan.pod.serves == {("helloworld", "TCP", 80): target}


def test_less_than_is_allowed() -> None:
    (plan,) = blueprints(service(), deployment())
    options = plan.containers[0].options
    assert after(options, "--security-opt") == ["no-new-privileges"]
    assert after(options, "--cap-drop") == ["all"]
    assert not {"NET_RAW", "SYS_ADMIN", "MKNOD"} & set(after(options, "--cap-add"))
    assert (after(options, "--memory"), after(options, "--cpus")) == ([str(512 << 20)], ["1"])
    assert after(options, "--pids-limit") == ["512"]
    assert "--http-proxy=false" in options


def test_what_a_pod_drops_is_dropped() -> None:
    context = {"capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True, "runAsUser": 7}
    (plan,) = blueprints(service(), deployment(securityContext=context))
    options = plan.containers[0].options
    assert after(options, "--cap-add") == []
    assert after(options, "--user") == ["7"]
    assert "--read-only" in options


def test_containers_share_what_the_deployment_may_use() -> None:
    limited = {"limits": {"cpu": "250m", "memory": "64Mi"}}
    one = deployment("a", resources=limited)
    one["spec"]["template"]["spec"]["containers"] += [{"name": "b", "image": "localhost/b:1"}]
    limits = Limits(cpu_millis=500, memory_bytes=128 << 20, pods=2, storage_bytes=1 << 30)
    first, second = blueprints(service("a"), one, service("c"), deployment("c"), limits=limits)
    given = [
        (*after(each.options, "--cpus"), *after(each.options, "--memory"))
        for plan in (first, second)
        for each in plan.containers
    ]
    assert given == [("0.25", str(64 << 20)), ("0.125", str(32 << 20)), ("0.125", str(32 << 20))]
    with pytest.raises(DeployFailed, match="pods"):
        blueprints(service("a"), one, service("c"), deployment("c"), limits=replace(limits, pods=1))
    with pytest.raises(DeployFailed, match="too little"):
        blueprints(service("a"), one, limits=replace(limits, memory_bytes=65 << 20))
    with pytest.raises(DeployFailed, match="more than"):
        blueprints(service("a"), one, limits=replace(limits, memory_bytes=60 << 20))


def test_volumes_and_settings() -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "aGk="}}
    secret["stringData"] = {"b": "there"}
    manifest = deployment(
        volumeMounts=[{"name": "v", "mountPath": "/v"}, {"name": "w", "mountPath": "/w"}],
        env=[
            {"name": "A", "value": "$(b)!"},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
        envFrom=[{"secretRef": {"name": "s"}}],
        args=["$(A)", "$$(A)", "$(NONE)"],
    )
    volumes = [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}, {"name": "w", "secret": {"secretName": "s"}}]
    (plan,) = blueprints(service(), with_pod(manifest, volumes=volumes), secret)
    (container,) = plan.containers
    assert container.environment == "a=hi\nb=there\nA=there!\nIP=10.89.3.10\n"
    assert container.words == ("there!", "$(A)", "$(NONE)")
    assert "there" not in " ".join(container.options), "nobody reads secrets off a command line"
    empty, secrets = plan.volumes
    assert "nr_blocks=256," in empty.options[-1]
    assert (secrets.name, secrets.files) == ("hello-1-w", {"a": (b"hi", 0o644), "b": (b"there", 0o644)})
    assert after(container.options, "--volume") == [
        "hello-1-v:/v:nosuid,nodev",
        "hello-1-w:/w:ro,nosuid,nodev",
    ]


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (deployment(lifecycle={"preStop": {"exec": {"command": ["x"]}}}), "lifecycle"),
        (deployment(livenessProbe={"grpc": {"port": 1}}), "none of httpGet"),
        (deployment(livenessProbe={"httpGet": {"port": 1, "host": "169.254.169.254"}}), "another host"),
        (deployment(livenessProbe={"httpGet": {"port": 1, "scheme": "HTTPS"}}), "HTTPS"),
        (deployment(readinessProbe={"tcpSocket": {"port": "none"}}), "'none'"),
        (deployment(readinessProbe={"httpGet": {"port": 1, "path": "/ HTTP/1.1\r\nX: y"}}), "blanks"),
        (deployment(image="oci:/etc"), "no name of an image"),
        (deployment(image="dir:etc"), "no name of an image"),
        (deployment(image="--privileged"), "no name of an image"),
        (deployment(env=[{"name": "A", "value": "two\nlines"}]), "several lines"),
        (deployment(env=[{"name": "A=B", "value": "x"}]), "no name for an environment"),
        (deployment(envFrom=[{"secretRef": {"name": "gone"}}]), "Secret gone"),
        (deployment(volumeMounts=[{"name": "none", "mountPath": "/v"}]), "none of its pod's volumes"),
        (deployment(securityContext={"runAsNonRoot": True}), "runAsNonRoot"),
        (with_pod(deployment(), imagePullSecrets=[{"name": "s"}]), "podman login"),
        (with_pod(deployment(), hostname="a b"), "no name"),
        (with_pod(deployment(), volumes=[{"name": "v", "emptyDir": {"sizeLimit": "1Ti"}}]), "in memory"),
        (
            with_pod(deployment(), volumes=[{"name": "v", "downwardAPI": {}, "configMap": None}]),
            "downwardAPI",
        ),
    ],
)
def test_what_podman_cannot_do_is_refused(manifest: dict[str, Any], words: str) -> None:
    with pytest.raises(DeployFailed, match=words):
        draw(
            replace(RECORD, name="hello-1"),
            [service(), manifest],
            STANDARD,
            {},
            SUBNET,
        )


@pytest.mark.parametrize("path", ["/", "relative", "/a:b", "/a/../b", "/a,b"])
def test_a_place_that_is_none_for_a_volume(path: str) -> None:
    manifest = deployment(volumeMounts=[{"name": "v", "mountPath": path}])
    with pytest.raises(DeployFailed, match="no place"):
        blueprints(service(), with_pod(manifest, volumes=[{"name": "v", "emptyDir": {}}]))


def test_probes_are_kept_in_a_label() -> None:
    (plan,) = blueprints(
        service(), deployment(livenessProbe=HTTP, readinessProbe={"exec": {"command": ["x"]}})
    )
    text = plan.pod.labels["sinfonia/probes"]
    assert '"path": "/up"' in text
    assert '"port": 8080' in text
    assert '"command": ["x"]' in text


def test_replicas_are_pods_and_services_lead_to_them_by_name() -> None:
    one, two = deployment("a"), deployment("b")
    two["kind"] = "StatefulSet"
    two["spec"] |= {"replicas": 2, "serviceName": "b"}
    bare = service("b")
    bare["spec"]["clusterIP"] = "None"
    plans = blueprints(service("a"), one, bare, two)
    assert [plan.pod.name for plan in plans] == ["hello-1", "hello-1-1", "hello-1-2"]
    assert [plan.pod.hostname for plan in plans] == ["hello-1", "b-0", "b-1"]
    hosts = plans[0].hosts
    assert ("a", IPv4Address("198.18.0.1")) in hosts
    assert [str(address) for name, address in hosts if name == "b"] == ["10.89.3.11", "10.89.3.12"]
    assert ("b-1.b.sinfonia-hello-1.svc.cluster.local", IPv4Address("10.89.3.12")) in hosts
    record = replace(RECORD, ports=backend(service("a"), one, bare, two).ports)
    leads = targets(record, [(plan.address, plan.pod.serves) for plan in plans])
    pods = [str(pod) for pod, _ in leads[IPv4Address("198.18.0.2"), "TCP", 80]]
    assert pods == ["10.89.3.11", "10.89.3.12"]


def test_serves_are_read_as_they_are_written() -> None:
    serves = {("a", "TCP", 80): 8080, ("b", "UDP", 53): 53}
    assert read_serves(write_serves(serves)) == serves
    assert read_serves("") == {}


def test_a_pods_names_are_its_deployments_alone() -> None:
    (plan,) = blueprints(service(), with_pod(deployment(), hostname="web"))
    lines = [line.split("\t") for line in text(plan).splitlines()]
    assert lines[:3] == [["127.0.0.1", "localhost"], ["::1", "localhost"], ["10.89.3.10", "web"]]
    assert {name.split(".")[0] for _, name in lines[3:]} == {"helloworld"}


def test_files_with_names_stay_as_long_as_their_deployments(tmp_path: Path) -> None:
    (plan,) = blueprints(service(), deployment())
    files = NamesFiles(tmp_path / "names")
    files.keep([])
    kept, lost = files.write("hello-1", plan), files.write("hello-2", plan)
    files.keep(["hello-1"])
    assert (kept.read_text(), kept.stat().st_mode & 0o777) == (text(plan), 0o644)
    assert not lost.exists()
    files.remove("hello-1")
    files.remove("hello-1")
    assert list((tmp_path / "names").iterdir()) == []
    (tmp_path / "names").rmdir()
    (tmp_path / "names").write_text("in the way")
    with pytest.raises(Unavailable, match="can't be written"):
        files.write("hello-1", plan)
