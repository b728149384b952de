"""A container's spec as options for `podman create`: pure, called by `podman.py`.

What guests may not have was refused before (`recipes/guests.py`); here they get less still: no new
privileges, few capabilities, bounds for memory, processor, processes and logs. What Podman can't do raises
`DeployFailed`, before anything is made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from edge_agent.errors import DeployFailed
from edge_agent.on_podman.pods import PodPlan
from edge_agent.on_podman.settings_sources import Sources
from edge_agent.on_podman.shares import Share
from edge_agent.on_podman.volumes import VolumePlan
from edge_agent.recipes.manifests import Manifest

_CAPABILITIES = (
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETUID",
)
"""What programs need that start as root and go on as somebody else; a pod can drop them too."""
_PROCESSES = 512
_LOG_BYTES = "1mb"
_PULLS = {"Always": "newer", "IfNotPresent": "missing", "Never": "never"}
"""`newer`: with the registry away, what is there is used."""
_RESTARTS = {"Always": "always", "OnFailure": "on-failure", "Never": "no"}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")


@dataclass(frozen=True)
class ContainerPlan:
    """A container: its name, its image, the options and the words after the image; and its environment as
    the text of a file, so that nobody reads it off a command line.
    """

    name: str
    image: str
    options: tuple[str, ...]
    words: tuple[str, ...]
    environment: str


@dataclass(frozen=True)
class Surroundings:
    """What a container's settings may speak of: its deployment's home, its pod's address and volumes, the
    deployment's ConfigMaps and Secrets.
    """

    home: str
    address: IPv4Address
    volumes: Mapping[str, VolumePlan]
    sources: Sources


def plan_container(
    pod: PodPlan, name: str, container: Manifest, share: Share, around: Surroundings
) -> ContainerPlan:
    """The container with Podman's `name`; raises `DeployFailed`."""
    _refuse(pod, name, container)
    environment = _environment(pod, container, around)
    options = [
        *("--pod", pod.name, "--name", name, "--env-file", "/dev/stdin", "--http-proxy=false"),
        *("--pull", _PULLS[_pull(container)], "--log-opt", f"max-size={_LOG_BYTES}"),
        *("--memory", str(share.memory_bytes), "--cpus", f"{share.cpu_millis / 1000:g}"),
        *("--pids-limit", str(_PROCESSES), "--restart", _RESTARTS[pod.spec.get("restartPolicy") or "Always"]),
        *("--stop-timeout", str(pod.spec.get("terminationGracePeriodSeconds") or 1)),
        *_security({**(pod.spec.get("securityContext") or {}), **(container.get("securityContext") or {})}),
        *(word for mount in container.get("volumeMounts") or [] for word in _mount(name, mount, around)),
    ]
    if container.get("workingDir"):
        options += ["--workdir", str(container["workingDir"])]
    command = [_expanded(word, environment) for word in container.get("command") or []]
    words = [_expanded(word, environment) for word in container.get("args") or []]
    if command:
        options += ["--entrypoint", json.dumps(command)]
    text = "".join(f"{variable}={value}\n" for variable, value in environment.items())
    return ContainerPlan(name, container["image"], tuple(options), tuple(words), text)


def _refuse(pod: PodPlan, name: str, container: Manifest) -> None:
    if container.get("lifecycle"):
        raise DeployFailed(f"The container {name} has lifecycle hooks, which Podman does not run.")
    if container.get("stdin") or container.get("tty"):
        raise DeployFailed(f"The container {name} asks for a terminal, which nobody would sit at.")
    for wanted in (container.get("resources") or {}).values():
        for kind in wanted or {}:
            if kind not in ("cpu", "memory", "ephemeral-storage"):
                raise DeployFailed(f"The container {name} asks for {kind}, which Podman does not give.")
    if pod.spec.get("activeDeadlineSeconds"):
        raise DeployFailed("The pod has activeDeadlineSeconds, which Podman does not know.")
    if pod.spec.get("imagePullSecrets"):
        raise DeployFailed(
            "The pod has imagePullSecrets, which Podman is not given; "
            "log in on the cloudlet with `podman login`."
        )


def _pull(container: Manifest) -> str:
    policy = container.get("imagePullPolicy")
    if policy not in (None, *_PULLS):
        raise DeployFailed(f"There is no imagePullPolicy {policy}.")
    tagged = re.search(r"(@|:(?!latest$)[^/:]+$)", container["image"])
    return str(policy or ("IfNotPresent" if tagged else "Always"))


def _security(context: Mapping[str, Any]) -> list[str]:
    changes = context.get("capabilities") or {}
    dropped = {str(name).removeprefix("CAP_") for name in changes.get("drop") or []}
    kept = [name for name in _CAPABILITIES if not {name, "ALL"} & dropped]
    kept += [name for name in changes.get("add") or [] if name not in kept]
    options = ["--security-opt", "no-new-privileges", "--cap-drop", "all"]
    options += [word for name in kept for word in ("--cap-add", name)]
    user, group = context.get("runAsUser"), context.get("runAsGroup")
    if user is not None or group is not None:
        options += ["--user", f"{_number(user or 0)}" + ("" if group is None else f":{_number(group)}")]
    elif context.get("runAsNonRoot"):
        raise DeployFailed("It has runAsNonRoot without runAsUser; Podman needs the number to be sure.")
    if context.get("runAsNonRoot") and user == 0:
        raise DeployFailed("It has runAsNonRoot and the user 0, which is root.")
    for extra in [context.get("fsGroup"), *(context.get("supplementalGroups") or [])]:
        options += [] if extra is None else ["--group-add", str(_number(extra))]
    if context.get("readOnlyRootFilesystem"):
        options += ["--read-only", "--read-only-tmpfs=false"]
    return options


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 31:
        raise DeployFailed(f"{value!r} is no number of a user or group.")
    return value


def _mount(name: str, mount: Mapping[str, Any], around: Surroundings) -> tuple[str, str]:
    volume, path = around.volumes.get(mount["name"]), str(mount["mountPath"])
    if volume is None:
        raise DeployFailed(
            f"The container {name} mounts {mount['name']}, which is none of its pod's volumes."
        )
    if not path.startswith("/") or path == "/" or {",", ":"} & set(path) or ".." in path.split("/"):
        raise DeployFailed(
            f"The container {name} mounts a volume at {path[:80]!r}, which is no place for one."
        )
    if mount.get("subPath") or mount.get("subPathExpr") or mount.get("mountPropagation"):
        raise DeployFailed(
            f"The container {name} mounts a part of a volume (subPath), which Podman does not."
        )
    readonly = volume.files is not None or mount.get("readOnly")
    return "--volume", f"{volume.name}:{path}:{'ro,' if readonly else ''}nosuid,nodev"


def _environment(pod: PodPlan, container: Manifest, around: Surroundings) -> dict[str, str]:
    values: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
            if source.get(field):
                optional = bool(source[field].get("optional"))
                held = around.sources.all(kind, source[field].get("name"), optional=optional)
                prefix = source.get("prefix") or ""
                values |= {f"{prefix}{key}": _text(key, content) for key, content in held.items()}
    for variable in container.get("env") or []:
        value = _value(pod, variable, around)
        if value is not None:
            values[variable["name"]] = _expanded(value, values)
    for name, value in values.items():
        if not _VARIABLE.fullmatch(name):
            raise DeployFailed(f"{name[:80]!r} is no name for an environment variable.")
        if {"\n", "\r", "\0"} & set(value):
            raise DeployFailed(
                f"The environment variable {name} has several lines, which Podman does not take; "
                "mount it as a file."
            )
    return values


def _value(pod: PodPlan, variable: Mapping[str, Any], around: Surroundings) -> str | None:
    source = variable.get("valueFrom")
    if not source:
        value = variable.get("value")
        return "" if value is None else str(value)
    for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
        if source.get(field):
            asked = source[field]
            found = around.sources.one(
                kind, asked.get("name"), asked.get("key"), optional=bool(asked.get("optional"))
            )
            return None if found is None else _text(variable["name"], found)
    path = (source.get("fieldRef") or {}).get("fieldPath")
    known = {
        "metadata.name": pod.hostname,
        "metadata.namespace": around.home,
        "status.podIP": str(around.address),
    }
    if path not in known:
        raise DeployFailed(
            f"The variable {variable['name']} asks for {path or source}, which Podman has not."
        )
    return known[path]


def _text(name: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise DeployFailed(f"The environment variable {name} would not be text.") from error


def _expanded(text: Any, values: Mapping[str, str]) -> str:
    """With `$(NAME)` replaced, as Kubernetes does; what is not known stays as it is."""

    def replace(found: re.Match[str]) -> str:
        return "$" if found[0] == "$$" else values.get(found[1], found[0])

    return _REFERENCE.sub(replace, str(text))
