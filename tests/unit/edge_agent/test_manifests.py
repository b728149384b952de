"""What a chart may ask for, and with which words everything else is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from edge_agent.errors import RecipeUnusable
from edge_agent.recipes.manifests import PLACEHOLDER, check, load_documents
from edge_agent.wire import ServicePort
from tests.fakes.edge_agent_backends import backend, deployment, service, text_of

POD: dict[str, Any] = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "x"}}


def pod_of(manifest: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = manifest["spec"]["template"]["spec"]
    return spec


def changed(**pod: Any) -> dict[str, Any]:
    manifest = deployment()
    pod_of(manifest).update(pod)
    return manifest


def refused(*manifests: Any) -> str:
    with pytest.raises(RecipeUnusable) as caught:
        check(text_of(manifests), "helloworld", "0.1.0")
    return str(caught.value)


def test_a_good_chart() -> None:
    checked = backend()
    assert checked.workloads == 1
    assert checked.ports == {"helloworld": (ServicePort("TCP", 80),)}
    assert [manifest["kind"] for manifest in checked.manifests] == ["Service", "Deployment"]


def test_guests_get_no_way_to_the_kubernetes_api() -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "x"}}
    checked = backend(account, service(), changed(serviceAccountName="x"))
    pod = pod_of(checked.manifests[-1])
    assert "serviceAccountName" not in pod
    assert pod["automountServiceAccountToken"] is False
    assert [manifest["kind"] for manifest in checked.manifests] == ["Service", "Deployment"]


def test_tests_of_a_chart_are_left_out_and_hooks_refused() -> None:
    hook = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "t"}, "spec": {"hostNetwork": True}}
    hook["metadata"]["annotations"] = {"helm.sh/hook": "test"}
    assert backend(service(), deployment(), hook).workloads == 1
    hook["metadata"]["annotations"] = {"helm.sh/hook": "pre-install"}
    assert "hooks are not run" in refused(service(), deployment(), hook)


def test_the_placeholder_becomes_the_real_namespace() -> None:
    manifest = deployment(env=[{"name": "HOST", "value": f"db.{PLACEHOLDER}.svc"}])
    manifest["metadata"]["namespace"] = PLACEHOLDER
    placed = backend(service(), manifest).placed("sinfonia-x")
    assert pod_of(placed[1])["containers"][0]["env"][0]["value"] == "db.sinfonia-x.svc"
    assert "namespace" not in placed[1]["metadata"]


@pytest.mark.parametrize(
    "kind",
    (
        "ClusterRole ClusterRoleBinding Namespace Role DaemonSet CronJob Ingress NetworkPolicy Lease "
        "PersistentVolumeClaim CustomResourceDefinition MutatingWebhookConfiguration"
    ).split(),
)
def test_kinds_that_guests_may_not_have(kind: str) -> None:
    manifest = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}}
    assert refused(deployment(), manifest) == f"The chart asks for a {kind}, which guests may not have."


@pytest.mark.parametrize(
    ("pod", "words"),
    [
        ({"hostNetwork": True}, "hostNetwork"),
        ({"hostPID": True}, "hostPID"),
        ({"hostIPC": True}, "hostIPC"),
        ({"nodeName": "n1"}, "nodeName"),
        ({"priorityClassName": "system-node-critical"}, "priorityClassName"),
        ({"automountServiceAccountToken": True}, "Kubernetes API"),
        ({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, "hostPath"),
        ({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "x"}}]}, "persistentVolumeClaim"),
        ({"volumes": [{"name": "v", "projected": {}}]}, "projected"),
        ({"volumes": [{"name": "v", "csi": {}}]}, "csi"),
        ({"volumes": {"name": "v"}}, "must be a list"),
        ({"securityContext": {"sysctls": []}}, "sysctls"),
        ({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}, "seccomp"),
        ({"securityContext": []}, "must be an object"),
        ({"containers": []}, "no containers"),
        ({"containers": None}, "no containers"),
        ({"containers": ["x"]}, "must hold objects"),
        ({"containers": [{"name": "x"}]}, "without image"),
        (
            {"initContainers": [{"name": "i", "image": "x", "securityContext": {"privileged": True}}]},
            "privileged",
        ),
        ({"ephemeralContainers": [{"name": "e"}]}, "ephemeralContainers"),
        ({"runtimeClassName": "kata"}, "runtimeClassName"),
        ({"tolerations": [{"operator": "Exists"}]}, "tolerations"),
        ({"nodeSelector": {"node-role.kubernetes.io/control-plane": ""}}, "nodeSelector"),
        ({"affinity": {"nodeAffinity": {}}}, "affinity"),
        ({"priority": 1}, "priority"),
        ({"schedulerName": "mine"}, "schedulerName"),
        ({"somethingNew": {"deep": 1}}, "somethingNew"),
        ({"terminationGracePeriodSeconds": 10**9}, "terminationGracePeriodSeconds"),
        ({"terminationGracePeriodSeconds": "1"}, "terminationGracePeriodSeconds"),
        ({"dnsPolicy": "ClusterFirstWithHostNet"}, "dnsPolicy"),
    ],
)
def test_pods_that_guests_may_not_have(pod: dict[str, Any], words: str) -> None:
    assert words in refused(service(), changed(**pod))


@pytest.mark.parametrize(
    ("container", "words"),
    [
        ({"securityContext": {"privileged": True}}, "privileged"),
        ({"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}, "SYS_ADMIN"),
        ({"securityContext": {"capabilities": {"add": "ALL"}}}, "must be a list"),
        ({"securityContext": {"procMount": "Unmasked"}}, "procMount"),
        ({"ports": [{"containerPort": 80, "hostPort": 80}]}, "hostPort"),
        ({"ports": [{"containerPort": 80, "hostIP": "0.0.0.0"}]}, "hostIP"),
        ({"volumeDevices": [{"name": "d"}]}, "volumeDevices"),
        ({"somethingNew": 1}, "somethingNew"),
        ({"ports": [{"containerPort": 80, "somethingNew": 1}]}, "somethingNew"),
        ({"image": ""}, "without image"),
    ],
)
def test_containers_that_guests_may_not_have(container: dict[str, Any], words: str) -> None:
    assert words in refused(service(), deployment(**container))


def test_what_containers_may_ask_for() -> None:
    context = {"capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]}, "runAsUser": 1000}
    backend(service(), deployment(securityContext=context))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"type": "NodePort"}, "NodePort"),
        ({"type": "LoadBalancer"}, "LoadBalancer"),
        ({"type": "ExternalName"}, "ExternalName"),
        ({"externalIPs": ["192.0.2.1"]}, "external addresses"),
        ({"clusterIP": "10.97.0.10"}, "10.97.0.10"),
        ({"loadBalancerIP": "192.0.2.1"}, "loadBalancerIP"),
        ({"selector": {}}, "no selector"),
        ({"selector": {"app": "other"}}, "selects no pod"),
        ({"ports": [{"port": 0}]}, "1 to 65535"),
        ({"ports": [{"port": "80"}]}, "1 to 65535"),
        ({"ports": [{"port": 80, "protocol": "SCTP"}]}, "TCP or UDP"),
        ({"ports": "80"}, "must be a list"),
    ],
)
def test_services_that_guests_may_not_have(change: dict[str, Any], words: str) -> None:
    manifest = service()
    manifest["spec"].update(change)
    assert words in refused(manifest, deployment())


@pytest.mark.parametrize(
    "kind", ["kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token", "x"]
)
def test_secrets_that_guests_may_not_have(kind: str) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "type": kind}
    assert kind in refused(service(), deployment(), secret)
    backend(service(), deployment(), {**secret, "type": "kubernetes.io/tls"})


def test_only_labels_and_annotations_are_kept_of_metadata() -> None:
    more = {"finalizers": ["a/b"], "ownerReferences": [{"uid": "x"}], "generateName": "x"}
    manifest = deployment()
    manifest["metadata"].update(more, annotations={"a": "b"})
    manifest["spec"]["template"]["metadata"].update(copy.deepcopy(more))
    (checked,) = [one for one in backend(service(), manifest).manifests if one["kind"] == "Deployment"]
    assert checked["metadata"] == {"name": "helloworld", "annotations": {"a": "b"}}
    assert checked["spec"]["template"]["metadata"] == {"labels": {"app": "helloworld"}}


def test_what_ordinary_charts_say_is_taken() -> None:
    probe = {"httpGet": {"path": "/", "port": "http"}}
    manifest = deployment(livenessProbe=probe, lifecycle={}, resources={}, env=[], workingDir="/")
    pod_of(manifest).update(
        nodeSelector={},
        affinity={},
        tolerations=[],
        imagePullSecrets=[],
        dnsPolicy="ClusterFirst",
        hostname="a",
    )
    assert backend(service(), manifest).workloads == 1
    extra = deployment()
    extra["spec"]["paused"] = True
    assert "paused" in refused(service(), extra)
    assert "subresource" in refused(service(), deployment() | {"subresource": 1})


def test_limits() -> None:
    many = [service(f"s{number}", app="helloworld") for number in range(6)]
    assert "6 services" in refused(deployment(), *many)
    config = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{n}"}} for n in range(60)]
    assert "objects" in refused(deployment(), *config)
    replicas = deployment()
    replicas["spec"]["replicas"] = 1000
    assert "replicas" in refused(replicas)
    assert "twice" in refused(deployment(), deployment())
    assert "runs nothing" in refused(service())


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ("text", "without a kind"),
        ({"kind": 1}, "without a kind"),
        (POD | {"apiVersion": "v2"}, "apiVersion"),
        ({"kind": "Pod", "apiVersion": "v1"}, "names are"),
        (POD | {"metadata": []}, "must be an object"),
        (POD | {"metadata": {"name": "../x"}}, "names are"),
        (POD | {"metadata": {"name": "x", "namespace": "kube-system"}}, "kube-system"),
        (POD | {"metadata": {"name": "x", "labels": {"a": 1}}}, "must be text"),
        (POD | {"spec": []}, "must be an object"),
        (deployment() | {"spec": None}, "no containers"),
        (deployment() | {"kind": "StatefulSet", "spec": {"volumeClaimTemplates": [{}]}}, "persistent"),
    ],
)
def test_malformed_objects(manifest: Any, words: str) -> None:
    assert words in refused(manifest)


def test_a_template_cannot_leave_its_namespace() -> None:
    manifest = copy.deepcopy(deployment())
    manifest["spec"]["template"]["metadata"]["namespace"] = "kube-system"
    assert "kube-system" in refused(manifest)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "a: &x [1]\nb: *x",
        "a: 2026-01-01",
        "a: .nan",
        "a: !!python/object/apply:os.system [x]",
        "[" * 5000,
        "x" * ((1 << 20) + 1),
        "? {a: 1}\n: 2",
        "\x00",
    ],
)
def test_hostile_yaml(text: str) -> None:
    with pytest.raises(RecipeUnusable):
        load_documents(text, "The chart")
