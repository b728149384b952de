"""The agent's Helm chart: what it renders, what it refuses, and that its roles are the agent's own table."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any
from uuid import UUID

import kubernetes_validate
import pytest
import yaml

from edge_agent.arguments import make_parser, parse
from edge_agent.deployments.terms import Share
from edge_agent.on_kubernetes.rights import KILO_RIGHTS, RIGHTS
from edge_agent.option_values import Address
from edge_agent.roots.root_terms import read_root
from edge_agent.settings import Settings
from edge_agent.tunnels.kilo_settings import KiloSettings
from infra import rights
from tests.lab import cluster
from tests.lab.needs import needs

CHART = cluster.CHART
HELM4 = str(cluster.PROJECT / ".cache" / "helm4" / "helm")
METRICS = cluster.PROJECT / "edge_agent" / "serving" / "metrics.py"
KILO = (
    "--set",
    "gateway.kind=kilo",
    "--set",
    "gateway.kilo.network=100.71.0.0/16",
    "--set",
    "gateway.endpoint=",
    "--set",
    "config.max-age=3600",
)
VAP = ("--api-versions", "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy")


def rendered(*options: str) -> dict[str, dict[str, Any]]:
    """Objects by kind and name."""
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in cluster.render("edge", *options)}


def pod(*options: str) -> dict[str, Any]:
    spec: dict[str, Any] = rendered(*options)["Deployment/cloudlet"]["spec"]["template"]["spec"]
    return spec


def config(*options: str) -> dict[str, Any]:
    text = rendered(*options)["ConfigMap/cloudlet"]["data"]["agent.yaml"]
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def refused(*options: str) -> str:
    command = [cluster.helm(), "template", "cloudlet", str(CHART), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0, "it was rendered"
    return done.stderr


@needs("helm")
def test_its_roles_are_the_agents_table():
    made = rendered()
    roles = {"everywhere": made["ClusterRole/edge-cloudlet"], "own namespace": made["Role/cloudlet"]}
    for scope, role in roles.items():
        assert role["rules"] == rights.rules(one for one in RIGHTS if one.scope == scope)
    assert (CHART / "files" / "rights.yaml").read_text() == rights.text(), "python -m infra.rights writes it"
    for binding in ("ClusterRoleBinding/edge-cloudlet", "RoleBinding/cloudlet"):
        assert made[binding]["subjects"] == [
            {"kind": "ServiceAccount", "name": "cloudlet", "namespace": "edge"}
        ]
    assert not [rule for role in roles.values() for rule in role["rules"] if "*" in str(rule)]


@needs("helm")
def test_the_pod_has_no_root_and_two_capabilities():
    spec = pod()
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["capabilities"] == {
        "drop": ["ALL"],
        "add": ["NET_ADMIN", "NET_BIND_SERVICE"],
    }
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert "privileged" not in json.dumps(spec)
    assert "hostNetwork" not in spec
    assert "hostPort" not in json.dumps(spec)
    paths = [volume["hostPath"]["path"] for volume in spec["volumes"] if "hostPath" in volume]
    assert paths == ["/dev/net/tun"]
    assert {"livenessProbe", "readinessProbe", "startupProbe"} <= container.keys()
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


@needs("helm")
def test_only_one_agent_runs_at_a_time():
    deployment = rendered()["Deployment/cloudlet"]["spec"]
    assert deployment["replicas"] == 1
    assert deployment["strategy"] == {"type": "Recreate"}
    assert rendered()["PodDisruptionBudget/cloudlet"]["apiVersion"] == "policy/v1"
    assert (
        rendered("--kube-version", "1.20.2")["PodDisruptionBudget/cloudlet"]["apiVersion"] == "policy/v1beta1"
    )


@needs("helm")
def test_forwarding_is_inherited_asked_for_or_set():
    assert "initContainers" not in pod()
    assert pod("--set", "gateway.forwarding=sysctl")["securityContext"]["sysctls"]
    (first,) = pod("--set", "gateway.forwarding=init")["initContainers"]
    assert first["securityContext"]["privileged"] is True
    assert pod("--set", "gateway.tun=")["volumes"][-1]["name"] != "tun"


@needs("helm")
def test_devices_are_sent_to_where_the_service_listens():
    assert config()["wireguard-endpoint"] == "192.0.2.7:31820"
    assert config("--set", "gateway.expose=hostPort")["wireguard-endpoint"] == "192.0.2.7:51820"
    assert config("--set", "gateway.endpoint=192.0.2.7:7000")["wireguard-endpoint"] == "192.0.2.7:7000"
    service = rendered()["Service/cloudlet-gateway"]["spec"]
    assert service["ports"][0]["nodePort"] == 31820
    assert service["ports"][0]["protocol"] == "UDP"
    assert "Service/cloudlet-gateway" not in rendered("--set", "gateway.expose=none")
    balanced = rendered("--set", "gateway.expose=loadBalancer")["Service/cloudlet-gateway"]["spec"]
    assert balanced["type"] == "LoadBalancer"


@needs("helm")
def test_the_operators_settings_are_options_of_the_agent(capsys):
    found = config("--set", "config.name=shop-7", "--set", "config.recipes-from-roots=true")
    assert found["name"] == "shop-7"
    assert found["runtime"] == "kubernetes"
    with pytest.raises(SystemExit):
        make_parser().parse_args(["run", "--help"])
    known = set(re.findall(r"--([a-z][a-z0-9-]+)", capsys.readouterr().out))
    assert found.keys() <= known, found.keys() - known
    schema = json.loads((CHART / "values.schema.json").read_text())
    for name in schema["properties"]["config"]["propertyNames"]["not"]["enum"]:
        assert name in known, name


@needs("helm")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "gateway.endpoint"),
        (("--set", "gateway.endpoint=node.example"), "endpoint"),
        (("--set", "gateway.endpoint=192.0.2.7", "--set", "gateway.expose=magic"), "expose"),
        (("--set", "gateway.endpoint=192.0.2.7", "--set", "config.state=/x"), "config"),
        (("--set", "gateway.endpoint=192.0.2.7", "--set", "typo=1"), "typo"),
        (("--set", "gateway.kind=kilo", "--set", "config.max-age=60"), "gateway.kilo.network"),
        ((*KILO, "--set", "config.max-age=null"), "prometheus, or max-age"),
        (("--set", "gateway.kind=magic", "--set", "gateway.endpoint=192.0.2.7"), "kind"),
        ((*KILO, "--set", "gateway.kilo.network=100.71.0.0"), "network"),
        (("--set", "gateway.endpoint=192.0.2.7", "--set", "image.digest=sha256:12"), "digest"),
    ],
)
def test_wrong_values_are_refused_by_name(options, words):
    assert words in refused(*options)


@needs("helm")
def test_secrets_and_recipes_are_mounted_where_they_are_given():
    options = ("--set", "invitationSecret=letter", "--set", "recipes.configMap=mine")
    assert config(*options)["invitation-file"] == "/etc/sinfonia/secret/invitation"
    assert config(*options)["recipes"] == "/etc/sinfonia/recipes"
    volumes = {volume["name"]: volume for volume in pod(*options)["volumes"]}
    assert volumes["secret"]["secret"] == {"secretName": "letter", "defaultMode": 0o440}
    assert volumes["recipes"]["configMap"] == {"name": "mine"}


@needs("helm")
def test_roots_may_have_terms(tmp_path):
    terms = {"url": "https://acme.example", "capacity": 20, "apps": [str(UUID(int=0))]}
    file = tmp_path / "agent.yaml"
    file.write_text(yaml.safe_dump(config("--set-json", f"config.root={json.dumps([terms])}")))
    root = read_root(parse(["run", "--config", str(file)]).root[0], "--root")
    assert (root.url, root.share) == (terms["url"], Share(20, frozenset({UUID(int=0)})))


@needs("helm")
def test_where_the_cluster_can_the_account_is_held_to_deployments():
    assert not [name for name in rendered() if "Admission" in name]
    policy = rendered(*VAP)["ValidatingAdmissionPolicy/edge-cloudlet"]["spec"]
    assert policy["failurePolicy"] == "Fail"
    assert "system:serviceaccount:edge:cloudlet" in policy["matchConditions"][0]["expression"]
    binding = rendered(*VAP)["ValidatingAdmissionPolicyBinding/edge-cloudlet"]["spec"]
    assert binding["validationActions"] == ["Deny"]
    assert not [
        name for name in rendered(*VAP, "--set", "admissionPolicy.enabled=false") if "Admission" in name
    ]


@needs("helm")
def test_with_kilo_it_makes_no_tunnels_of_its_own(tmp_path):
    made = rendered(*KILO, *VAP)
    everywhere = [one for one in RIGHTS if one.scope == "everywhere"]
    assert made["ClusterRole/edge-cloudlet"]["rules"] == rights.rules([*everywhere, *KILO_RIGHTS])
    assert "peers" not in json.dumps(rendered(*VAP)), "rights are given where they are needed"
    policy = made["ValidatingAdmissionPolicy/edge-cloudlet"]["spec"]["validations"][-1]
    assert "kilo.squat.ai" in policy["expression"]
    assert "Service/cloudlet-gateway" not in made
    spec = made["Deployment/cloudlet"]["spec"]["template"]["spec"]
    assert not [volume for volume in spec["volumes"] if "hostPath" in volume]
    targets = {
        port["name"]: (port["containerPort"], port.get("protocol")) for port in spec["containers"][0]["ports"]
    }
    service = made["Service/cloudlet-tunnels"]["spec"]["ports"]
    led = {(port["protocol"], port["port"]): targets[port["targetPort"]] for port in service}
    assert led == {("TCP", 80): (7080, None), ("UDP", 53): (7053, "UDP"), ("TCP", 53): (7053, None)}
    inside = made["NetworkPolicy/cloudlet"]["spec"]["ingress"][0]
    assert inside["from"] == [{"ipBlock": {"cidr": "100.71.0.0/16"}}]
    assert {(port["protocol"], port["port"]) for port in inside["ports"]} == {
        ("TCP", 7080),
        ("UDP", 7053),
        ("TCP", 7053),
    }


@needs("helm")
def test_with_kilo_the_agent_takes_what_the_chart_says(tmp_path):
    file = tmp_path / "agent.yaml"
    more = ("config.root={http://root.example}", "config.recipes=r")
    options = [*KILO, "--set", "gateway.kilo.node=edge-1", *(word for one in more for word in ("--set", one))]
    file.write_text(yaml.safe_dump(config(*options)))
    settings = Settings.from_arguments(parse(["run", "--config", str(file)]), lambda: "10.1.0.9")
    status, names = Address("10.1.0.9", 7080), Address("10.1.0.9", 7053)
    assert settings.gateway.kilo == KiloSettings("edge", "cloudlet-tunnels", status, names, "edge-1")


def names_in(text: str) -> set[str]:
    return {
        re.sub(r"_(bucket|sum|count|total)$", "", name) for name in re.findall(r"sinfonia_agent_\w+", text)
    }


@needs("helm")
def test_dashboard_and_alerts_ask_for_metrics_that_there_are():
    source = METRICS.read_text()
    made = names_in(source) | {
        f"sinfonia_agent_{name}" for name in re.findall(r'_counter\(\s*"(\w+)"', source)
    }
    dashboard = (CHART / "files" / "dashboard.json").read_text()
    assert json.loads(dashboard)["panels"]
    for text in (dashboard, (CHART / "files" / "rules.yaml").read_text()):
        assert names_in(text)
        assert names_in(text) <= made, names_in(text) - made
    options = [f"metrics.{name}.enabled=true" for name in ("serviceMonitor", "rules", "dashboard")]
    found = rendered(*(word for option in options for word in ("--set", option)))
    assert found["ServiceMonitor/cloudlet"]["spec"]["endpoints"][0]["port"] == "metrics"
    assert found["PrometheusRule/cloudlet"]["spec"]["groups"][0]["rules"]
    assert json.loads(found["ConfigMap/cloudlet-dashboard"]["data"]["sinfonia-agent.json"])["panels"]


@needs("helm")
def test_helm_has_nothing_to_complain_of():
    command = [cluster.helm(), "lint", "--strict", str(CHART), "--set", "gateway.endpoint=192.0.2.7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


EVERYTHING = ("gateway.forwarding=init", "recipes.configMap=mine", "invitationSecret=letter", "config.name=x")


@needs("helm", "helm4")
@pytest.mark.parametrize("more", [(), KILO], ids=["own", "kilo"])
def test_both_helms_render_the_same(more):
    options = [*(word for option in EVERYTHING for word in ("--set", option)), *VAP, *more]
    one, other = (cluster.render("edge", *options, program=program) for program in (None, HELM4))
    assert one == other


@needs("helm")
@pytest.mark.parametrize("version", ["1.31", "1.37"])
@pytest.mark.parametrize("more", [(), KILO], ids=["own", "kilo"])
def test_kubernetes_knows_every_field_of_it(version, more):
    options = [*(word for option in EVERYTHING for word in ("--set", option)), *VAP, *more]
    for thing in cluster.render("edge", *options):
        kubernetes_validate.validate(thing, version, strict=True)
