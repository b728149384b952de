"""A rendered chart, parsed and checked: what may run here, and which services it offers to its device.

Called by `recipes.py` with Helm's output, used by the runtimes; calls `guests.py`. Whatever is wrong is
found here, before anything is made: `RecipeUnusable` says what and where.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from edge_agent.errors import RecipeUnusable
from edge_agent.recipes.demand import check_demand
from edge_agent.recipes.guests import check_pod, check_secret, mapping, objects, only
from edge_agent.recipes.limits import STANDARD, Limits
from edge_agent.recipes.services import explicit_protocols, served
from edge_agent.wire import ServicePort

Manifest = dict[str, Any]

PLACEHOLDER = "sinfonia-namespace-placeholder"
"""The namespace that charts are rendered for; `Backend.placed` puts the real one in its stead."""

API_VERSIONS = {
    "ConfigMap": "v1",
    "Secret": "v1",
    "Service": "v1",
    "Pod": "v1",
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
}
"""The kinds that guests may have, in the order in which they are made."""

WORKLOADS = ("Pod", "Deployment", "StatefulSet")
_FIELDS = {
    "ConfigMap": {"data", "binaryData", "immutable"},
    "Secret": {"data", "stringData", "type", "immutable"},
    "Service": {"spec"},
    "Pod": {"spec"},
    "Deployment": {"spec"},
    "StatefulSet": {"spec"},
}
_WORKLOAD = {
    "minReadySeconds",
    "persistentVolumeClaimRetentionPolicy",
    "podManagementPolicy",
    "progressDeadlineSeconds",
    "replicas",
    "revisionHistoryLimit",
    "selector",
    "serviceName",
    "strategy",
    "template",
    "updateStrategy",
    "volumeClaimTemplates",
}
_DROPPED = ("ServiceAccount",)  # nothing of a guest talks to the Kubernetes API
MAX_TEXT_BYTES = 1 << 20
MAX_OBJECTS = 50
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,51}[a-z0-9])?")
_HOOK = "helm.sh/hook"


@dataclass(frozen=True)
class Backend:
    """An app's backend, ready to run: checked manifests, the ports that its device will reach, and what it
    may use in all.
    """

    chart: str
    version: str
    manifests: tuple[Manifest, ...]
    ports: Mapping[str, tuple[ServicePort, ...]]
    limits: Limits = STANDARD

    @property
    def images(self) -> frozenset[str]:
        """The images of all its containers, as the chart names them."""
        specs = [pod_template(manifest)["spec"] for manifest in filter(_runs, self.manifests)]
        lists = [spec.get(name) or [] for spec in specs for name in ("containers", "initContainers")]
        return frozenset(container["image"] for containers in lists for container in containers)

    @property
    def workloads(self) -> int:
        """How many of the manifests make pods."""
        return sum(map(_runs, self.manifests))

    def placed(self, namespace: str) -> list[Manifest]:
        """Copies of the manifests for one namespace."""
        text = json.dumps(self.manifests).replace(PLACEHOLDER, namespace)
        placed: list[Manifest] = json.loads(text)
        return placed


def check(text: str, chart: str, version: str, limits: Limits = STANDARD) -> Backend:
    """The backend that Helm's output describes; raises `RecipeUnusable`, also where it asks for more than
    `limits`.
    """
    manifests = []
    for document in load_documents(text, "The chart"):
        checked = _check_object(document)
        if checked is not None:
            manifests.append(checked)
    if len(manifests) > MAX_OBJECTS:
        raise RecipeUnusable(f"The chart makes {len(manifests)} objects; {MAX_OBJECTS} are allowed.")
    manifests.sort(key=lambda manifest: list(API_VERSIONS).index(manifest["kind"]))
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests]
    for kind, name in names:
        if names.count((kind, name)) > 1:
            raise RecipeUnusable(f"The chart makes {kind} {name} twice.")
    backend = Backend(chart, version, tuple(manifests), served(manifests), limits)
    if not backend.workloads:
        raise RecipeUnusable("The chart runs nothing: it has no Deployment, StatefulSet or Pod.")
    _check_selectors(backend)
    check_demand(map(_asking, filter(_runs, manifests)), limits)
    return backend


def load_documents(text: str, what: str) -> list[Any]:
    """The YAML documents of a text. Aliases are refused: few bytes of them can stand for gigabytes."""
    if len(text) > MAX_TEXT_BYTES:
        raise RecipeUnusable(f"{what} is larger than {MAX_TEXT_BYTES} bytes.")
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.CSafeLoader)):
            raise RecipeUnusable(f"{what} uses YAML aliases, which are not taken.")
        documents = [item for item in yaml.load_all(text, Loader=yaml.CSafeLoader) if item is not None]
        json.dumps(documents, allow_nan=False)
    except yaml.YAMLError as error:
        raise RecipeUnusable(f"{what} is not valid YAML: {_first_line(error)}") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise RecipeUnusable(f"{what} holds values that JSON does not have: {_first_line(error)}") from error
    return documents


def pod_template(manifest: Manifest) -> Manifest:
    """The pod that a workload makes: an object with `metadata` and `spec`."""
    template: Manifest = manifest if manifest["kind"] == "Pod" else manifest["spec"]["template"]
    return template


def _runs(manifest: Manifest) -> bool:
    return manifest["kind"] in WORKLOADS


def _asking(manifest: Manifest) -> tuple[str, int, Mapping[str, Any]]:
    """A workload as `demand.py` counts it: its name for people, its pods, their spec."""
    replicas = 1 if manifest["kind"] == "Pod" else manifest["spec"].get("replicas") or 1
    return f"{manifest['kind']} {manifest['metadata']['name']}", replicas, pod_template(manifest)["spec"]


def _check_object(value: Any) -> Manifest | None:
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        raise RecipeUnusable("The chart makes something without a kind.")
    kind = value["kind"]
    metadata = mapping(value, "metadata", kind)
    if kind in _DROPPED or "test" in str(mapping(metadata, "annotations", kind).get(_HOOK, "")):
        return None
    name = metadata.get("name")
    where = f"{kind} {name}"
    if kind not in API_VERSIONS:
        raise RecipeUnusable(f"The chart asks for a {kind}, which guests may not have.")
    if value.get("apiVersion") != API_VERSIONS[kind]:
        raise RecipeUnusable(
            f"{where} has apiVersion {value.get('apiVersion')!r}, not {API_VERSIONS[kind]!r}."
        )
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise RecipeUnusable(f"{where}: names are lower-case letters, digits and dashes, at most 53.")
    if metadata.get("namespace") not in (None, PLACEHOLDER):
        raise RecipeUnusable(
            f"{where} asks for the namespace {metadata['namespace']}; guests have one of their own."
        )
    if _HOOK in mapping(metadata, "annotations", kind):
        raise RecipeUnusable(f"{where} is a Helm hook; hooks are not run.")
    return _normalised(value, kind, where)


def _normalised(value: Manifest, kind: str, where: str) -> Manifest:
    manifest = copy.deepcopy(value)
    metadata = manifest["metadata"]
    manifest["metadata"] = {"name": metadata["name"], **_texts(metadata, where)}
    manifest.pop("status", None)
    only(manifest, _FIELDS[kind] | {"apiVersion", "kind", "metadata"}, where)
    if kind == "Secret":
        check_secret(manifest, where)
    if kind in WORKLOADS:
        _check_workload(manifest, where)
    return manifest


def _check_workload(manifest: Manifest, where: str) -> None:
    spec = mapping(manifest, "spec", where)
    if manifest["kind"] != "Pod":
        only(spec, _WORKLOAD, where)
    if objects(spec, "volumeClaimTemplates", where):
        raise RecipeUnusable(f"{where} asks for persistent volumes, which guests may not have.")
    replicas = spec.get("replicas")
    if (
        manifest["kind"] != "Pod"
        and replicas is not None
        and (type(replicas) is not int or not 0 < replicas <= 10)
    ):
        raise RecipeUnusable(f"{where}: replicas must be 1 to 10.")
    template = manifest if manifest["kind"] == "Pod" else mapping(spec, "template", where)
    metadata = mapping(template, "metadata", where)
    if metadata.get("namespace") not in (None, PLACEHOLDER):
        raise RecipeUnusable(f"{where} asks for the namespace {metadata['namespace']}.")
    kept = _texts(metadata, where)
    pod: Manifest = dict(mapping(template, "spec", where))
    check_pod(pod, where)
    for field in ("serviceAccountName", "serviceAccount"):
        pod.pop(field, None)
    for container in objects(pod, "containers", where):
        explicit_protocols(container, where)
    pod["automountServiceAccountToken"] = False
    pod["enableServiceLinks"] = False
    if manifest["kind"] == "Pod":
        manifest["spec"] = pod
    else:
        manifest["spec"]["template"] = {"metadata": kept, "spec": pod}


def _texts(metadata: Mapping[str, Any], where: str) -> Manifest:
    """The labels and annotations, which are all that is kept of an object's metadata besides its name."""
    kept = {}
    for field in ("labels", "annotations"):
        texts = mapping(metadata, field, where)
        for name, value in texts.items():
            if not isinstance(name, str) or not isinstance(value, str):
                raise RecipeUnusable(f"{where}: {field}.{name} must be text.")
        if texts:
            kept[field] = dict(texts)
    return kept


def _check_selectors(backend: Backend) -> None:
    templates = [pod_template(one) for one in backend.manifests if one["kind"] in WORKLOADS]
    labels = [(template.get("metadata") or {}).get("labels") or {} for template in templates]
    for manifest in backend.manifests:
        if manifest["kind"] == "Service":
            selector = manifest["spec"]["selector"].items()
            if not any(selector <= offered.items() for offered in labels):
                raise RecipeUnusable(f"Service {manifest['metadata']['name']} selects no pod of the chart.")


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
