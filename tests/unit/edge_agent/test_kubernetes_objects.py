"""What the agent makes in Kubernetes, and how it reads what Kubernetes says; no cluster needed."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, ip_network
from typing import Any

import pytest

from edge_agent.deployments.records import Record
from edge_agent.on_kubernetes import events, namespaces
from edge_agent.on_kubernetes.guards import behind_gateway, gateway_peers, guards, limited
from edge_agent.on_kubernetes.placement import Placement
from edge_agent.on_kubernetes.pod_status import (
    PATIENCE_SECONDS,
    Trouble,
    judge,
    last_warning,
    missing_workloads,
    refused,
    trouble,
)
from edge_agent.recipes.limits import STANDARD, Limits
from tests.fakes.edge_agent_backends import backend, deployment, service
from tests.fakes.edge_agent_parts import AGENT, CREATED
from tests.unit.edge_agent.test_records import RECORD

LABEL = {"sinfonia/workload": "Deployment.helloworld"}
SERVICES = [service()]
ENDPOINTS = [
    {
        "metadata": {"name": "helloworld"},
        "subsets": [
            {
                "addresses": [{"ip": "10.1.0.9"}, {"ip": "10.1.0.7"}, {"ip": "fd00::1"}],
                "notReadyAddresses": [{"ip": "10.1.0.1"}],
                "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            }
        ],
    }
]


def record() -> Record:
    chosen = backend()
    return Record("hello-1", RECORD.app, RECORD.key, RECORD.block, "c", "1", CREATED, chosen.ports, 1)


def pod(ready: str = "True", labels: dict[str, str] = LABEL, **status: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": ready, "message": "containers with unready status: [web]"}]
    return {"metadata": {"name": "p", "labels": labels}, "status": {"conditions": conditions, **status}}


def waiting(reason: str, message: str = "why") -> dict[str, Any]:
    return {"name": "web", "state": {"waiting": {"reason": reason, "message": message}}}


def test_a_namespace_is_the_record() -> None:
    made = namespaces.namespace(RECORD, AGENT)
    metadata = made["metadata"]
    assert metadata["name"] == "sinfonia-helloworld-0123456789"
    assert Record.read({**metadata["labels"], **metadata["annotations"]}) == RECORD
    assert metadata["labels"]["app.kubernetes.io/managed-by"] == "sinfonia"
    assert metadata["labels"]["pod-security.kubernetes.io/enforce"] == "baseline"


def test_guards_stand_in_every_namespace() -> None:
    peers = gateway_peers(["192.0.2.7", "2001:db8::7"], "sinfonia-system")
    found = {guard["kind"]: guard for guard in guards(behind_gateway(peers), STANDARD)}
    assert set(found) == {"ServiceAccount", "ResourceQuota", "LimitRange", "NetworkPolicy"}
    assert found["ServiceAccount"]["automountServiceAccountToken"] is False
    policy = found["NetworkPolicy"]["spec"]
    assert policy["podSelector"] == {}
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    inside, names, outside = policy["egress"]
    assert inside == {"to": [{"podSelector": {}}]}
    assert [(port["protocol"], port["port"]) for port in names["ports"]] == [("UDP", 53), ("TCP", 53)]
    assert {"10.0.0.0/8", "169.254.0.0/16"} < set(outside["to"][0]["ipBlock"]["except"])
    assert outside["to"][1]["ipBlock"]["cidr"] == "::/0"
    assert {"fc00::/7", "fe80::/10"} < set(outside["to"][1]["ipBlock"]["except"])
    assert policy["ingress"][0]["from"] == [
        {"podSelector": {}},
        {"ipBlock": {"cidr": "192.0.2.7/32"}},
        {"ipBlock": {"cidr": "2001:db8::7/128"}},
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "sinfonia-system"}}},
    ]
    for policy_block in (one["ipBlock"] for one in outside["to"]):
        whole = ip_network(policy_block["cidr"])
        assert all(ip_network(part).subnet_of(whole) for part in policy_block["except"])  # type: ignore[arg-type]


def test_the_quota_is_what_the_deployment_may_use() -> None:
    found = {guard["kind"]: guard["spec"] for guard in guards(behind_gateway([]), SMALL) if "spec" in guard}
    hard = found["ResourceQuota"]["hard"]
    assert (hard["pods"], hard["limits.cpu"], hard["requests.cpu"]) == ("2", "500m", "500m")
    assert hard["limits.memory"] == str(256 << 20)
    assert hard["limits.ephemeral-storage"] == str(1 << 30)
    assert hard["services.nodeports"] == hard["persistentvolumeclaims"] == "0"
    (defaults,) = found["LimitRange"]["limits"]
    assert defaults["default"]["cpu"] == "500m"


SMALL = Limits(cpu_millis=500, memory_bytes=256 << 20, pods=2, storage_bytes=1 << 30)


def resources(*manifests: dict[str, Any], limits: Limits = SMALL) -> list[dict[str, Any]]:
    return [
        container["resources"]
        for manifest in limited(manifests, limits)
        if manifest["kind"] == "Deployment"
        for container in manifest["spec"]["template"]["spec"]["containers"]
    ]


def test_containers_without_limits_share_what_is_left() -> None:
    two = deployment("two", resources={"limits": {"cpu": "100m"}})
    first, second = resources(deployment("one"), two)
    assert (first["limits"]["cpu"], second["limits"]["cpu"]) == ("400m", "100m")
    assert first["limits"]["memory"] == second["limits"]["memory"] == str(128 << 20)
    assert first["requests"]["cpu"] == "10m"
    assert "cpu" not in second["requests"], "Kubernetes makes it the limit"


def test_a_container_is_limited_to_no_less_than_it_requests() -> None:
    (found,) = resources(deployment(resources={"requests": {"memory": "900Mi"}}), limits=STANDARD)
    assert found["limits"]["memory"] == str(900 << 20)
    assert found["requests"]["memory"] == "900Mi"


def test_what_is_limited_is_what_was_given() -> None:
    chart = [service(), deployment()]
    before = json.dumps(chart)
    pod = {"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}}
    whole = limited([*chart, pod], STANDARD)
    assert json.dumps(chart) == before
    assert whole[0] is chart[0]
    assert whole[2]["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "1000m"


def test_the_lease_says_who_holds_it() -> None:
    spec = namespaces.lease(RECORD, AGENT, 300, CREATED)["spec"]
    assert spec["holderIdentity"] == str(AGENT)
    assert spec["renewTime"] == "2026-11-24T12:00:00.000000Z"


def test_pods_can_be_found_again() -> None:
    labelled = namespaces.labelled(deployment(), {"sinfonia/agent": "x"})
    expected = {"app": "helloworld", "sinfonia/agent": "x", **LABEL}
    assert labelled["spec"]["template"]["metadata"]["labels"] == expected
    assert labelled["spec"]["selector"] == {"matchLabels": {"app": "helloworld"}}
    assert namespaces.labelled(service(), {"a": "b"})["metadata"]["labels"] == {"a": "b"}


def test_guests_run_where_the_operator_says() -> None:
    placement = Placement({"example.org/guests": "yes"}, "gvisor", "guests")
    spec = placement.place(deployment())["spec"]["template"]["spec"]
    assert spec["nodeSelector"] == {"example.org/guests": "yes"}
    assert spec["tolerations"] == [{"key": "example.org/guests", "operator": "Exists"}]
    assert (spec["runtimeClassName"], spec["priorityClassName"]) == ("gvisor", "guests")
    pod_of_its_own = {"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": []}}
    assert placement.place(pod_of_its_own)["spec"]["runtimeClassName"] == "gvisor"
    assert Placement().place(deployment()) == deployment()
    assert placement.place(service()) == service()


def test_ready_with_a_ready_address() -> None:
    seen = judge(record(), SERVICES, ENDPOINTS, [pod()])
    assert seen.state == "Ready"
    assert seen.endpoints == {("helloworld", "TCP", 80): (IPv4Address("10.1.0.7"), 8080)}


@pytest.mark.parametrize(
    ("endpoints", "pods"),
    [
        ([], [pod()]),
        ([{"metadata": {"name": "helloworld"}}], [pod()]),
        (ENDPOINTS, []),
        (ENDPOINTS, [pod("False")]),
        (ENDPOINTS, [{"metadata": {"name": "p", "labels": LABEL, "deletionTimestamp": "x"}, "status": {}}]),
    ],
)
def test_not_ready_yet(endpoints: Any, pods: Any) -> None:
    assert judge(record(), SERVICES, endpoints, pods).state == "Deploying"


def test_what_it_waits_for_is_told() -> None:
    assert "unready status" in judge(record(), SERVICES, [], [pod("False")]).reason


@pytest.mark.parametrize(
    ("reason", "message", "patience"),
    [
        ("ErrImageNeverPull", "", 0),
        ("InvalidImageName", "", 0),
        ("ErrImagePull", "rpc error: docker.io/x: not found", 0),
        ("ImagePullBackOff", "pull access denied", 0),
        ("ErrImagePull", "dial tcp: i/o timeout", PATIENCE_SECONDS),
        ("ImagePullBackOff", "Back-off pulling image", PATIENCE_SECONDS),
        ("CreateContainerConfigError", "failed to sync configmap cache: timed out", PATIENCE_SECONDS),
        ("CreateContainerConfigError", 'configmap "c" not found', 0),
        ("CreateContainerConfigError", "couldn't find key word in ConfigMap", 0),
        ("RunContainerError", 'exec: "x": executable file not found in $PATH', 0),
    ],
)
def test_why_a_container_waits(reason: str, message: str, patience: float) -> None:
    found = trouble([pod("False", containerStatuses=[waiting(reason, message)])])
    assert found == Trouble(f"The container web: {reason}: {message}", patience)


def test_what_cannot_pass_comes_first() -> None:
    slow = pod("False", containerStatuses=[waiting("ErrImagePull", "timeout")])
    found = trouble([slow, pod("False", initContainerStatuses=[waiting("InvalidImageName")])])
    assert found is not None
    assert found.text == "The init container web: InvalidImageName: why"


def ended(restarts: int, reason: str = "Error", *, ready: bool = False) -> dict[str, Any]:
    last = {"terminated": {"exitCode": 1, "reason": reason}}
    return {"name": "web", "restartCount": restarts, "ready": ready, "lastState": last}


def test_a_container_that_ends_again_and_again() -> None:
    found = trouble([pod("False", containerStatuses=[ended(3)])])
    assert found == Trouble(
        "The container web ends again and again, last with status 1 (Error).", 0, "p", "web"
    )
    assert trouble([pod("False", containerStatuses=[ended(1)])]) is None
    assert trouble([pod("True", containerStatuses=[ended(9, ready=True)])]) is None


def test_a_container_without_memory() -> None:
    found = trouble([pod("False", containerStatuses=[ended(2, "OOMKilled")])])
    assert found is not None
    assert "memory" in found.text


def test_an_evicted_pod_fails_only_where_nobody_makes_another() -> None:
    gone = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory."}
    assert trouble([pod("False", **gone)]) is None
    found = trouble([pod("False", {"sinfonia/workload": "Pod.p"}, **gone)])
    assert found == Trouble("The pod failed: Evicted The node was low on memory.")


def test_a_pod_that_ended_says_how() -> None:
    status = {"name": "web", "state": {"terminated": {"exitCode": 3, "reason": "Error"}}}
    bare = pod("False", {"sinfonia/workload": "Pod.p"}, phase="Failed", containerStatuses=[status])
    assert trouble([bare]) == Trouble("The container web ended with status 3 (Error).", 0, "p", "web")


def test_pods_that_end_are_no_trouble() -> None:
    ending = pod("False", containerStatuses=[ended(9)])
    ending["metadata"]["deletionTimestamp"] = "x"
    assert trouble([ending]) is None


def test_addresses_that_tunnels_do_not_lead_to() -> None:
    subset = {**ENDPOINTS[0]["subsets"][0], "addresses": [{"ip": "fd00::1"}]}  # type: ignore[index]
    seen = judge(record(), SERVICES, [{**ENDPOINTS[0], "subsets": [subset]}], [pod()])
    assert (seen.state, "IPv6" in seen.reason) == ("Deploying", True)


def test_the_newest_warning_counts() -> None:
    def event(when: str | None, text: str, **fields: Any) -> dict[str, Any]:
        return {"type": "Warning", "reason": "Unhealthy", "message": text, "lastTimestamp": when, **fields}

    told = [
        event("2026-11-24T12:00:01Z", "old"),
        event("2026-11-24T12:00:09Z", "Readiness probe failed"),
        event("2026-11-24T12:00:11Z", "ours", source={"component": "sinfonia-agent"}),
        event("2026-11-24T12:00:12Z", "fine", type="Normal"),
        event(None, "undated"),
    ]
    assert last_warning(told, "sinfonia-agent") == ("Unhealthy", "Readiness probe failed")
    assert last_warning([], "x") is None


def test_events_are_within_what_kubernetes_takes() -> None:
    made = events.event(RECORD, "Failed", "ü" * 2000, CREATED)
    assert len(made["message"].encode()) <= 1024
    assert (made["type"], made["involvedObject"]["name"]) == ("Warning", RECORD.home)
    assert events.event(RECORD, "Ready", "", CREATED)["type"] == "Normal"
    assert events.last_word("Ready", "Its ports answer.", CREATED) == {
        "sinfonia/state": "Ready at 2026-11-24T12:00:00Z: Its ports answer."
    }


def test_pods_that_may_not_be_made() -> None:
    condition = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    assert refused([{"status": {"conditions": [condition]}}]) == Trouble("exceeded quota")
    early = {**condition, "message": "pods is forbidden: error looking up service account: not found"}
    assert refused([{"status": {"conditions": [early]}}]) == Trouble(early["message"], PATIENCE_SECONDS)
    assert refused([{"status": {}}]) is None
    assert missing_workloads(record(), [])
    assert not missing_workloads(record(), [pod()])
