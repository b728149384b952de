"""A deployment's namespace, which is its record, and what marks and holds it: pure, called by `cluster.py`.
What fences the guest in stands in `guards.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from edge_agent.deployments.records import Record
from edge_agent.recipes.manifests import WORKLOADS, Manifest

WORKLOAD_LABEL = "sinfonia/workload"
RESTING = "sinfonia/resting"
LEASE = "sinfonia"
MANAGER = "sinfonia-agent"
"""The agent's name as the manager of fields, and as the source of events."""

_SECURITY = {
    "pod-security.kubernetes.io/enforce": "baseline",
    "pod-security.kubernetes.io/enforce-version": "latest",
    "pod-security.kubernetes.io/audit": "restricted",
    "pod-security.kubernetes.io/audit-version": "latest",
    "pod-security.kubernetes.io/warn": "restricted",
    "pod-security.kubernetes.io/warn-version": "latest",
}


def namespace(record: Record, agent: UUID) -> Manifest:
    """The namespace: labels to select by, annotations for the rest of the record."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": record.home,
            "labels": {**record.labels(agent), **_SECURITY},
            "annotations": record.notes(),
        },
    }


def lease(record: Record, agent: UUID, seconds: int, renewed: datetime) -> Manifest:
    """The lease: who holds the deployment, and when its use was last seen."""
    spec = {
        "holderIdentity": str(agent),
        "leaseDurationSeconds": seconds,
        "acquireTime": micro_time(record.created),
        "renewTime": micro_time(renewed),
    }
    return bare_object("coordination.k8s.io/v1", "Lease", LEASE, spec=spec)


def labelled(manifest: Manifest, labels: Mapping[str, str]) -> Manifest:
    """The manifest with our labels, and for a workload its pods with them too: that is how they are found
    again.
    """
    mine = dict(labels)
    if manifest["kind"] in WORKLOADS:
        mine[WORKLOAD_LABEL] = f"{manifest['kind']}.{manifest['metadata']['name']}"[:63].rstrip(".-")
    changed = _with_labels(manifest, mine)
    if manifest["kind"] in WORKLOADS and manifest["kind"] != "Pod":
        template = _with_labels(manifest["spec"]["template"], mine)
        changed["spec"] = {**manifest["spec"], "template": template}
    return changed


def addressed(manifests: Sequence[Manifest], record: Record) -> list[Manifest]:
    """The manifests, services with the addresses that the record promises: one that somebody deleted gets
    the same again.
    """
    given = record.addresses or {}

    def whole(manifest: Manifest) -> Manifest:
        name = manifest["metadata"]["name"]
        if manifest["kind"] != "Service" or name not in given:
            return manifest
        return {**manifest, "spec": {**manifest["spec"], "clusterIP": str(given[name])}}

    return [whole(manifest) for manifest in manifests]


def _with_labels(thing: Manifest, labels: Mapping[str, str]) -> Manifest:
    metadata = thing.get("metadata") or {}
    return {**thing, "metadata": {**metadata, "labels": {**(metadata.get("labels") or {}), **labels}}}


def bare_object(api_version: str, kind: str, name: str, **fields: Any) -> Manifest:
    """An object with nothing but its name and these fields."""
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **fields}


def micro_time(time: datetime) -> str:
    """A time as Lease objects have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
