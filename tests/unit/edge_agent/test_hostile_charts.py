"""Hostile charts against the real helm, 3 and 4: each is refused with its reason."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from edge_agent.deployments.records import Order
from edge_agent.errors import RecipeUnusable
from edge_agent.recipes.charts import Helm, find_helm
from edge_agent.recipes.recipes import Recipes
from edge_agent.recipes.repositories import Downloads, open_repository
from edge_agent.sessions import make_session
from tests.fakes.edge_agent_backends import HELLOWORLD, deployment, service, text_of
from tests.fakes.edge_agent_parts import Clock
from tests.lab.needs import param
from tests.unit.edge_agent.test_archives import CHART, archive

GOOD = text_of([service(), deployment()])
HELMS = {"helm": None, "helm4": str(Path(__file__).resolve().parents[3] / ".cache" / "helm4" / "helm")}
SCHEMA = b'{"properties": {"a": {"$ref": "http://127.0.0.1:9/secret"}}}'


@pytest.fixture(params=[param("helm", "helm", id="3"), param("helm4", "helm4", id="4")])
def helm(request: pytest.FixtureRequest) -> Helm:
    return Helm(find_helm(HELMS[request.param]), {"uuid": "u", "name": "here"}, 10.0)


def prepared(tmp_path: Path, helm: Helm, files: dict[str, bytes], recipe: str = "", values: str = "") -> Any:
    folder = tmp_path / "recipes"
    folder.mkdir(exist_ok=True)
    (folder / "web-1.tgz").write_bytes(archive({**CHART, **files}))
    (folder / f"{HELLOWORLD}.yaml").write_text(f"chart: web\nversion: '1'\n{recipe}")
    downloads = Downloads(tmp_path / "charts", make_session(time.monotonic), Clock())
    return Recipes(open_repository(str(folder), downloads), helm, Clock()).prepare(
        HELLOWORLD, Order(values=values)
    )


def template(text: str, **more: bytes) -> dict[str, bytes]:
    return {"web/templates/all.yaml": text.encode(), **more}


def test_a_good_chart_with_a_schema_a_library_and_what_the_call_sets(tmp_path: Path, helm: Helm) -> None:
    library = archive({"lib/Chart.yaml": b"apiVersion: v2\nname: lib\nversion: 0.1.0\ntype: library\n"})
    spoken = deployment(env=[{"name": "G", "value": "GREETING"}])
    text = text_of([service(), spoken]).replace("GREETING", "{{ .Values.g | quote }}")
    files = {
        "web/Chart.yaml": CHART["web/Chart.yaml"] + b"dependencies: [{name: lib, version: 0.1.0}]\n",
        "web/charts/lib-0.1.0.tgz": library,
        "web/values.schema.json": b'{"properties": {"g": {"type": "string", "maxLength": 5}}}',
        **template(text),
    }
    backend = prepared(tmp_path, helm, files, "values: {g: a}\nsettable: [g]\n", '{"g":"b: \\"c"}')
    pod = backend.manifests[-1]["spec"]["template"]["spec"]
    assert pod["containers"][0]["env"] == [{"name": "G", "value": 'b: "c'}]
    with pytest.raises(RecipeUnusable, match=r"schema|[lL]ength"):
        prepared(tmp_path, helm, files, "settable: [g]\n", '{"g":"too long"}')


def config_map(data: str) -> str:
    return f"kind: ConfigMap\napiVersion: v1\nmetadata: {{name: big}}\ndata: {{a: {data}}}\n"


def bare(kind: str, metadata: str = "{name: x}", version: str = "v1") -> dict[str, bytes]:
    return template(f"kind: {kind}\napiVersion: {version}\nmetadata: {metadata}\n")


ENDLESS = '{{ define "l" }}{{ include "l" . }}{{ end }}{{ include "l" . }}'
MANY = '{{ range until 200 }}\n---\n{{ $.Files.Get "one.yaml" | replace "N" (toString .) }}\n{{ end }}'
ONE = b"kind: ConfigMap\napiVersion: v1\nmetadata: {name: cN}\n"
ELSEWHERE = GOOD.replace("  name: helloworld\n", "  name: helloworld\n  namespace: kube-system\n", 1)
SECRETS = '{{ (lookup "v1" "Secret" "kube-system" "").items | first | toYaml }}'
NEEDS = b"dependencies: [{name: db, version: '1', repository: 'http://127.0.0.1:9'}]\n"
INNER = archive({"db/Chart.yaml": CHART["web/Chart.yaml"], "db/values.schema.json": SCHEMA})


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (template("{{ .Values.a.b.c }}"), "can't render"),
        (template('{{ required "give a key" .Values.key }}'), "give a key"),
        (template('{{ repeat 1000000000 "x" }}'), "memory|large"),
        (template(config_map('{{ repeat 1500000 "x" }}')), "larger than"),
        (template(config_map('{{ repeat 9000000 "x" }}')), "larger than"),
        (template(ENDLESS), "nested|memory|can't"),
        (template(MANY) | {"web/one.yaml": ONE}, "200 objects"),
        (bare("ClusterRole", version="rbac.authorization.k8s.io/v1"), "ClusterRole"),
        (bare("Namespace"), "Namespace"),
        (bare("Pod", "{name: h, annotations: {helm.sh/hook: pre-install}}"), "hooks are not run"),
        (template(ELSEWHERE), "kube-system"),
        (template(SECRETS), "can't render|without a kind"),
        (template(GOOD) | {"web/crds/x.yaml": b"kind: CustomResourceDefinition\n"}, "of the whole cluster"),
        (template(GOOD) | {"web/values.schema.json": SCHEMA}, "must be complete"),
        (template(GOOD) | {"web/charts/db.tgz": INNER}, "must be complete"),
        (template(GOOD) | {"web/Chart.yaml": CHART["web/Chart.yaml"] + NEEDS}, "db"),
        ({"web/Chart.yaml": b"nonsense"}, "can't render"),
        (template(""), "runs nothing"),
    ],
)
def test_hostile_charts(tmp_path: Path, helm: Helm, files: dict[str, bytes], words: str) -> None:
    with pytest.raises(RecipeUnusable, match=words):
        prepared(tmp_path, helm, files)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hostNetwork": True}, "hostNetwork"),
        ({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, "hostPath"),
        ({"securityContext": {"sysctls": [{"name": "a", "value": "b"}]}}, "sysctls"),
        ({"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Ti"}}]}, "1Ti of storage"),
    ],
)
def test_hostile_pods(tmp_path: Path, helm: Helm, change: dict[str, Any], words: str) -> None:
    manifest = deployment()
    manifest["spec"]["template"]["spec"].update(change)
    with pytest.raises(RecipeUnusable, match=words):
        prepared(tmp_path, helm, template(text_of([service(), manifest])))


def test_a_chart_is_told_nothing_of_the_cluster(tmp_path: Path, helm: Helm) -> None:
    text = (
        '{{ if .Capabilities.APIVersions.Has "monitoring.coreos.com/v1" }}{{ fail "it is there" }}{{ end }}\n'
    )
    assert prepared(tmp_path, helm, template(text + GOOD)).workloads == 1
