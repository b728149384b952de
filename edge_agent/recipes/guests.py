"""What a guest's pods may ask for: a list of what is allowed, everything else is refused by name.

The rules are those of Kubernetes' "baseline" pod security standard, and narrower where the gateway or the
cloudlet's owner needs it (no host paths, no host ports, no volumes that outlive the pod, no way to the
Kubernetes API). Runtimes enforce their own besides. Called by `manifests.py`; calls nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from edge_agent.errors import RecipeUnusable

_VOLUMES = {"name", "emptyDir", "configMap", "secret", "downwardAPI"}
_DROPPED_IN_POD = {
    "serviceAccountName",
    "serviceAccount",
    "automountServiceAccountToken",
    "enableServiceLinks",
}
"""Taken off, or set otherwise: charts have them by habit."""
_POD = _DROPPED_IN_POD | {
    "activeDeadlineSeconds",
    "containers",
    "dnsPolicy",
    "hostAliases",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "hostname",
    "imagePullSecrets",
    "initContainers",
    "restartPolicy",
    "securityContext",
    "shareProcessNamespace",
    "subdomain",
    "terminationGracePeriodSeconds",
    "volumes",
}
_CONTAINER = {
    "args",
    "command",
    "env",
    "envFrom",
    "image",
    "imagePullPolicy",
    "lifecycle",
    "livenessProbe",
    "name",
    "ports",
    "readinessProbe",
    "resources",
    "securityContext",
    "startupProbe",
    "stdin",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "tty",
    "volumeMounts",
    "workingDir",
}
_PORT = {"containerPort", "hostIP", "hostPort", "name", "protocol"}
_SECRETS = ("Opaque", "kubernetes.io/tls", "kubernetes.io/basic-auth", "kubernetes.io/dockerconfigjson")
_DNS_POLICIES = (None, "ClusterFirst", "Default")
MAX_GRACE_SECONDS = 60
_CAPABILITIES = {"NET_BIND_SERVICE"}
_SECURITY = {
    "allowPrivilegeEscalation",
    "capabilities",
    "fsGroup",
    "fsGroupChangePolicy",
    "privileged",
    "readOnlyRootFilesystem",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "seccompProfile",
    "supplementalGroups",
}


def check_pod(spec: Mapping[str, Any], where: str) -> None:
    """Raise `RecipeUnusable` if the pod asks for something that a guest may not have."""
    only(spec, _POD, where)
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            raise RecipeUnusable(f"{where} asks for {name}, which guests may not have.")
    grace = spec.get("terminationGracePeriodSeconds")
    if grace is not None and (type(grace) is not int or not 0 <= grace <= MAX_GRACE_SECONDS):
        raise RecipeUnusable(f"{where}: terminationGracePeriodSeconds must be 0 to {MAX_GRACE_SECONDS}.")
    if spec.get("dnsPolicy") not in _DNS_POLICIES:
        raise RecipeUnusable(f"{where}: dnsPolicy must be ClusterFirst or Default.")
    if spec.get("automountServiceAccountToken"):
        raise RecipeUnusable(f"{where} asks for access to the Kubernetes API, which guests may not have.")
    for volume in objects(spec, "volumes", where):
        _check_volume(volume, where)
    _check_security(mapping(spec, "securityContext", where), where)
    if not objects(spec, "containers", where):
        raise RecipeUnusable(f"{where} has no containers.")
    for container in [*objects(spec, "containers", where), *objects(spec, "initContainers", where)]:
        _check_container(container, where)


def _check_volume(volume: Mapping[str, Any], where: str) -> None:
    for kind in volume:
        if kind not in _VOLUMES:
            raise RecipeUnusable(
                f"{where} mounts a volume of kind {kind}; "
                "guests may have emptyDir, configMap, secret, downwardAPI."
            )


def check_secret(secret: Mapping[str, Any], where: str) -> None:
    """Raise `RecipeUnusable` for a secret that Kubernetes would fill, such as a service account's token."""
    if secret.get("type", "Opaque") not in _SECRETS:
        raise RecipeUnusable(f"{where} is of type {secret['type']}; guests may have {', '.join(_SECRETS)}.")


def only(data: Mapping[str, Any], allowed: Collection[str], where: str) -> None:
    """Raise `RecipeUnusable` for a field that guests may not set, unless it is empty."""
    for name, value in data.items():
        if name not in allowed and value not in (None, "", [], {}, False):
            raise RecipeUnusable(f"{where} sets {name}, which guests may not set.")


def _check_container(container: Mapping[str, Any], where: str) -> None:
    only(container, _CONTAINER, where)
    for name in ("name", "image"):
        if not isinstance(container.get(name), str) or not container[name]:
            raise RecipeUnusable(f"{where} has a container without {name}.")
    _check_security(mapping(container, "securityContext", where), where)
    for port in objects(container, "ports", where):
        only(port, _PORT, where)
        if port.get("hostPort"):
            raise RecipeUnusable(f"{where} asks for hostPort {port['hostPort']}, which guests may not have.")
        if port.get("hostIP"):
            raise RecipeUnusable(f"{where} asks for a hostIP, which guests may not have.")


def _check_security(context: Mapping[str, Any], where: str) -> None:
    if context.get("privileged"):
        raise RecipeUnusable(f"{where} asks to be privileged, which guests may not be.")
    for name in context:
        if name not in _SECURITY:
            raise RecipeUnusable(f"{where} sets securityContext.{name}, which guests may not set.")
    capabilities = mapping(context, "capabilities", where)
    added = capabilities.get("add") or []
    if not isinstance(added, list):
        raise RecipeUnusable(f"{where}: capabilities.add must be a list.")
    for capability in added:
        if capability not in _CAPABILITIES:
            raise RecipeUnusable(f"{where} asks for the capability {capability}, which guests may not have.")
    if mapping(context, "seccompProfile", where).get("type") not in (None, "RuntimeDefault"):
        raise RecipeUnusable(f"{where} asks for a seccomp profile other than RuntimeDefault.")


def mapping(data: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    """The object in a field; absent and null are empty."""
    value = data.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RecipeUnusable(f"{where}: {name} must be an object.")
    return value


def objects(data: Mapping[str, Any], name: str, where: str) -> list[Mapping[str, Any]]:
    """The list of objects in a field; absent and null are empty."""
    return list(_each(data.get(name), name, where))


def _each(value: Any, name: str, where: str) -> Iterator[Mapping[str, Any]]:
    if value is not None and not isinstance(value, list):
        raise RecipeUnusable(f"{where}: {name} must be a list.")
    for item in value or []:
        if not isinstance(item, dict):
            raise RecipeUnusable(f"{where}: {name} must hold objects.")
        yield item
