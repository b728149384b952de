"""The volumes of a pod, as Podman has them: pure, called by `podman.py`.

An emptyDir is a file system in memory with a fixed size, since Podman bounds none on a disk; it counts
against the memory of the containers that fill it, and lives as long as its pod. ConfigMaps and Secrets are
volumes that get their files before the first container is made, and are read only there.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_agent.errors import DeployFailed
from edge_agent.on_podman.pods import PodPlan
from edge_agent.on_podman.settings_sources import Sources
from edge_agent.recipes.limits import Limits, amount
from edge_agent.recipes.manifests import Manifest

_EMPTY_BYTES = 64 << 20
_PAGE_BYTES = 4096
_FILE_MODE = 0o644


@dataclass(frozen=True)
class VolumePlan:
    """A volume: its name in Podman, and either its files (name to content and mode) or its size."""

    name: str
    files: Mapping[str, tuple[bytes, int]] | None
    size_bytes: int = 0

    @property
    def options(self) -> tuple[str, ...]:
        """The options for `podman volume create`. The size is given in blocks: Podman takes `size` for a
        quota, which few file systems have.
        """
        if self.files is not None:
            return ()
        blocks = max(1, self.size_bytes // _PAGE_BYTES)
        mount = f"o=nr_blocks={blocks},nr_inodes={max(64, blocks)},nodev,nosuid,mode=1777"
        return ("--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", mount)

    def archive(self) -> bytes:
        """The files as a tar archive, for `podman volume import`."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for name, (content, mode) in sorted((self.files or {}).items()):
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(content), mode
                archive.addfile(entry, io.BytesIO(content))
        return packed.getvalue()


def plan_volumes(plan: PodPlan, sources: Sources, limits: Limits) -> Mapping[str, VolumePlan]:
    """A pod's volumes by the names that its containers know; raises `DeployFailed` for what can't be had."""
    return {
        volume["name"]: _volume(plan, volume, sources, limits) for volume in plan.spec.get("volumes") or []
    }


def _volume(plan: PodPlan, volume: Manifest, sources: Sources, limits: Limits) -> VolumePlan:
    name = f"{plan.name}-{volume['name']}"
    if volume.get("configMap") is not None:
        source = volume["configMap"]
        return VolumePlan(name, _files("ConfigMap", source.get("name"), source, sources))
    if volume.get("secret") is not None:
        source = volume["secret"]
        return VolumePlan(name, _files("Secret", source.get("secretName"), source, sources))
    if volume.get("downwardAPI") is not None:
        raise DeployFailed(f"The volume {volume['name']} is of kind downwardAPI, which Podman does not have.")
    asked = (volume.get("emptyDir") or {}).get("sizeLimit")
    size = _EMPTY_BYTES if asked is None else amount(asked)
    if size is None or size > limits.memory_bytes:
        raise DeployFailed(
            f"The volume {volume['name']} asks for {asked}; on Podman an emptyDir is in memory, of which the "
            f"deployment has {limits.memory_bytes >> 20} MiB."
        )
    return VolumePlan(name, None, min(size, limits.memory_bytes))


def _files(kind: str, name: Any, source: Manifest, sources: Sources) -> Mapping[str, tuple[bytes, int]]:
    optional = bool(source.get("optional"))
    mode = int(source.get("defaultMode") or _FILE_MODE) & 0o777
    items = source.get("items")
    if items is None:
        held = sources.all(kind, name, optional=optional)
        return {_safe(key): (content, mode) for key, content in held.items()}
    files = {}
    for item in items:
        content = sources.one(kind, name, item.get("key"), optional=optional)
        if content is not None:
            files[_safe(item["path"])] = content, int(item.get("mode") or mode) & 0o777
    return files


def _safe(name: Any) -> str:
    """A path below the volume; raises `DeployFailed` for one that leads out of it."""
    parts = str(name).split("/")
    if not isinstance(name, str) or any(part in ("", ".", "..") for part in parts):
        raise DeployFailed(f"{str(name)[:80]!r} is no path for a file in a volume.")
    return name
