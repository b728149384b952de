"""Which images the cluster's nodes have, and having them pull more. Called through the `Stock` protocol of
`prefetch.py`; calls the API server.

An image is here when every node where guests' pods may land lists it. It is pulled by a pod on each such
node, in a namespace that is there for as long: the pod's command is a program that no image has, so that its
container never starts; that it couldn't start shows that the image has come.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection, Iterable
from typing import Any
from uuid import UUID

from edge_agent.deployments.records import AGENT_LABEL, MANAGED_BY
from edge_agent.errors import AgentError, DeployFailed, Unavailable
from edge_agent.on_kubernetes.api import Api, Object, Refused
from edge_agent.on_kubernetes.nodes import takes_guests
from edge_agent.on_kubernetes.placement import Placement
from edge_agent.recipes.image_names import listed

_LOG = logging.getLogger(__name__)

IMAGES_LABEL = "sinfonia/images"
_NAMESPACES = "/api/v1/namespaces"
_PULL_SECONDS = 900.0
_ACCOUNT_SECONDS = 15.0
_MOST_NODES = 100
_PULLING = ("ContainerCreating", "PodInitializing")
_FAILED = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError")


class KubernetesStock:
    """The images on the nodes that guests are placed on. `clock` is monotonic, `sleep` waits so many
    seconds.
    """

    def __init__(
        self,
        agent: UUID,
        api: Api,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], object],
        placement: Placement | None = None,
    ) -> None:
        self._placement = placement or Placement()
        self._agent = agent
        self._api = api
        self._clock = clock
        self._sleep = sleep
        self._swept = False

    def present(self, images: Collection[str]) -> frozenset[str]:
        """By what every node that takes guests lists; nodes list their 50 largest images."""
        try:
            if not self._swept:
                self._sweep()
            nodes = self._nodes()
        except Refused as error:
            raise Unavailable(f"The nodes can't be read: {error}") from error
        found = [listed(images, set(_names(node))) for node in nodes]
        return frozenset(images).intersection(*found) if found else frozenset()

    def pull(self, image: str) -> None:
        """On every node that takes guests and has it not; raises `DeployFailed`, `Unavailable`."""
        name = f"sinfonia-images-{self._agent.hex[:8]}-{hashlib.sha256(image.encode()).hexdigest()[:8]}"
        path = f"{_NAMESPACES}/{name}"
        try:
            lacking = [node for node in self._nodes() if not listed([image], set(_names(node)))]
            self._api.call("POST", _NAMESPACES, self._namespace(name))
            try:
                for number, node in enumerate(lacking[:_MOST_NODES]):
                    pod = _pod(f"pull-{number}", node["metadata"]["name"], image)
                    self._start(path, self._placement.place(pod))
                self._await(path, image)
            finally:
                self._remove(path)
        except Refused as error:
            raise Unavailable(f"Kubernetes can't pull {image} ahead: {error}") from error

    def _start(self, path: str, pod: Object) -> None:
        """A new namespace takes a moment to get the account that its pods need."""
        deadline = self._clock() + _ACCOUNT_SECONDS
        while True:
            try:
                self._api.call("POST", f"{path}/pods", pod)
            except Refused as error:
                if error.status != 403 or self._clock() > deadline:
                    raise
                self._sleep(0.2)
            else:
                return

    def _await(self, path: str, image: str) -> None:
        deadline = self._clock() + _PULL_SECONDS
        while any(_is_pulling(pod, image) for pod in self._api.items(f"{path}/pods")):
            if self._clock() > deadline:
                raise DeployFailed(f"{image} was not pulled within {_PULL_SECONDS:g} s.")
            self._sleep(1.0)

    def _sweep(self) -> None:
        """Remove what a run that was killed has left."""
        for namespace in self._api.items(_NAMESPACES, labelSelector=f"{IMAGES_LABEL}={self._agent}"):
            self._remove(f"{_NAMESPACES}/{namespace['metadata']['name']}")
        self._swept = True

    def _remove(self, path: str) -> None:
        try:
            self._api.call("DELETE", path, {"propagationPolicy": "Background"})
        except AgentError as error:
            self._swept = False
            _LOG.warning("not removed now", extra={"path": path, "reason": str(error)})

    def _nodes(self) -> list[Object]:
        return [node for node in self._api.items("/api/v1/nodes") if takes_guests(node, self._placement)]

    def _namespace(self, name: str) -> Object:
        labels = {
            MANAGED_BY: "sinfonia",
            AGENT_LABEL: "images",  # of no agent, and yet what the policy of our chart lets agents make
            IMAGES_LABEL: str(self._agent),
            "pod-security.kubernetes.io/enforce": "restricted",
        }
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def _pod(name: str, node: str, image: str) -> Object:
    security = {
        "runAsNonRoot": True,
        "runAsUser": 65534,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {
        "name": "pull",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/sinfonia-only-pulls-this-image"],
        "securityContext": security,
        "resources": {"limits": {"cpu": "10m", "memory": "16Mi"}},
    }
    spec = {
        "nodeName": node,
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def _is_pulling(pod: Object, image: str) -> bool:
    """Whether its node still pulls; raises `DeployFailed` where it can't."""
    statuses: Any = (pod.get("status") or {}).get("containerStatuses") or []
    if not statuses:
        return (pod.get("status") or {}).get("phase") in (None, "Pending")
    waiting = (statuses[0].get("state") or {}).get("waiting") or {}
    if waiting.get("reason") in _FAILED:
        said = str(waiting.get("message") or waiting["reason"])[:300]
        raise DeployFailed(f"{image} can't be pulled: {said}")
    return waiting.get("reason") in _PULLING


def _names(node: Object) -> Iterable[str]:
    for image in _each(node.get("status") or {}, "images"):
        yield from image.get("names") or []


def _each(data: Object, name: str) -> list[Object]:
    return [item for item in data.get(name) or [] if isinstance(item, dict)]
