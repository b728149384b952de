"""Backends for tests: manifests as a chart would give them, and an app catalogue without files or helm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import yaml

from edge_agent.deployments.records import NOTHING, Order
from edge_agent.errors import NotFound
from edge_agent.recipes.manifests import Backend, check
from tests.fakes.edge_agent_runtime import GOOD_IMAGE

HELLOWORLD = UUID(int=0)

Manifests = list[dict[str, Any]]


def deployment(name: str = "helloworld", *, image: str = GOOD_IMAGE, **container: Any) -> dict[str, Any]:
    """A Deployment whose pods have the label app=NAME and the port http=8080."""
    web = {"name": "web", "image": image, "ports": [{"name": "http", "containerPort": 8080}], **container}
    web.setdefault("imagePullPolicy", "IfNotPresent")
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [web], "terminationGracePeriodSeconds": 1},
    }
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def service(name: str = "helloworld", *, app: str | None = None, ports: Any = None) -> dict[str, Any]:
    """A Service in front of the pods of `app`."""
    ports = ports or [{"name": "http", "port": 80, "targetPort": "http"}]
    spec = {"selector": {"app": app or name}, "ports": ports}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def backend(*manifests: dict[str, Any], version: str = "0.1.0") -> Backend:
    """Manifests, checked."""
    return check(text_of(manifests or (service(), deployment())), "helloworld", version)


def text_of(manifests: Any) -> str:
    """Manifests as helm prints them."""
    return yaml.safe_dump_all(manifests, sort_keys=False)


class Catalogue:
    """Backends by app; an exception as a value is raised. Keeps with which roots and values it was asked."""

    def __init__(self, apps: Mapping[UUID, Backend | Exception] | None = None) -> None:
        self.apps = dict(apps or {HELLOWORLD: backend()})
        self.roots: list[str] = []
        self.values: list[str] = []

    def prepare(self, app: UUID, order: Order = NOTHING) -> Backend:
        self.roots.append(order.root)
        self.values.append(order.values)
        found = self.apps.get(app)
        if found is None:
            raise NotFound("There is no recipe for this app.")
        if isinstance(found, Exception):
            raise found
        return found
