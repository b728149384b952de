"""A backend to take along: recipe, chart and images from files, for a cloudlet that can't fetch them.

Made by the app or `cli/provision.py`, handed over by `provision.py`. The images are an OCI archive, as
`podman save --format oci-archive` and `docker save` (25 and later) write it; it is read where it lies, and
never held in memory.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from uuid import UUID

from device_sdk.errors import RequestError

_MAX_DOCUMENT_BYTES = 1 << 20
_MAX_RECIPE_BYTES = 256 * 1024
_MAX_CHART_BYTES = 8 << 20
_READ_BYTES = 1 << 20
_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")

Part = Callable[[], Any]
"""Opens a part's bytes: a context manager with a binary file, at its beginning."""


@dataclass(frozen=True)
class Bundle:
    """What a cloudlet needs to run an app. `name` is the SHA-256 of `description`, the contract's `Bundle`;
    `parts` open the bytes by digest.
    """

    app_uuid: UUID
    name: str
    description: bytes
    sizes: Mapping[str, int]
    parts: Mapping[str, Part]

    @classmethod
    def of(
        cls, app_uuid: UUID, recipe: Path, chart: Path, images: Path | None = None, platform: str = "amd64"
    ) -> Bundle:
        """Read a recipe (YAML), its chart (`.tgz`) and, where its images can't be pulled, an OCI archive.

        `platform` is the architecture wanted of images made for several. Raises `RequestError` for files that
        can't be used.
        """
        try:
            text = _bounded(recipe, _MAX_RECIPE_BYTES).decode()
            packed = _bounded(chart, _MAX_CHART_BYTES)
            archive = _Archive(images, platform) if images else None
        except (OSError, ValueError, LookupError, TypeError, tarfile.TarError) as error:
            raise RequestError(f"The bundle can't be made: {error}.") from error
        digest = _digest(packed)
        described = {
            "app": str(app_uuid),
            "recipe": text,
            "chart": {"digest": digest, "size": len(packed)},
            "images": archive.described if archive else [],
        }
        description = json.dumps(described, sort_keys=True, separators=(",", ":")).encode()
        sizes = {digest: len(packed), **(archive.sizes if archive else {})}
        parts = {digest: lambda: chart.open("rb"), **(archive.parts if archive else {})}
        return cls(app_uuid, _digest(description), description, sizes, parts)


class _Archive:
    """An OCI image layout (image-spec 1.0) in a tar file."""

    def __init__(self, path: Path, platform: str) -> None:
        self._path = path
        self._platform = platform
        with tarfile.open(path, "r:") as archive:
            self._members = {m.name.removeprefix("./"): m for m in archive.getmembers() if m.isfile()}
        self.sizes: dict[str, int] = {}
        self.parts: dict[str, Part] = {}
        self.described = [self._image(one) for one in self._json("index.json").get("manifests") or []]
        if not self.described:
            raise ValueError(f"{path} holds no image; podman save --format oci-archive makes such files")

    def _image(self, listed: Mapping[str, Any]) -> dict[str, Any]:
        notes = listed.get("annotations") or {}
        name = next((notes[key] for key in _NAMES if key in notes), None)
        if name is None:
            raise ValueError(f"{self._path}: an image has no name; save it by its name and tag")
        chosen = self._chosen(listed)
        manifest = self._json(_file(chosen["digest"]))
        return {
            "name": name,
            "manifest": self._part(chosen),
            "config": self._part(manifest["config"]),
            "layers": [self._part(layer) for layer in manifest["layers"]],
        }

    def _chosen(self, listed: Mapping[str, Any]) -> Mapping[str, Any]:
        """The manifest itself, or the one of an index that is for the wanted architecture."""
        if listed.get("mediaType") not in _INDEXES:
            return listed
        for one in self._json(_file(listed["digest"]))["manifests"]:
            if (one.get("platform") or {}).get("architecture") == self._platform:
                return dict(one)
        raise ValueError(f"{self._path}: an image is not there for {self._platform}")

    def _part(self, descriptor: Mapping[str, Any]) -> dict[str, Any]:
        digest = str(descriptor["digest"])
        member = self._members[_file(digest)]
        self.sizes[digest] = member.size
        self.parts[digest] = lambda: self._open(member)
        return {"digest": digest, "size": member.size}

    def _json(self, name: str) -> dict[str, Any]:
        with self._open(self._members[name]) as file:
            parsed: dict[str, Any] = json.loads(file.read(_MAX_DOCUMENT_BYTES))
        return parsed

    @contextmanager
    def _open(self, member: tarfile.TarInfo) -> Iterator[IO[bytes]]:
        with tarfile.open(self._path, "r:") as archive:
            file = archive.extractfile(member)
            if file is None:
                raise ValueError(f"{self._path}: {member.name} is no file")
            yield file


def _file(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _bounded(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"{path} is larger than {limit} bytes")
    return data


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
