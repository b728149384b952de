"""What a device hands over to a cloudlet that can't fetch it: a recipe, its chart, and images. Pure; read by
`bundles.py`.

A bundle is named by the SHA-256 of its description, and the description names every part by its own SHA-256:
whoever asks for a bundle by its name gets exactly that, whoever brought it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from edge_agent.errors import InvalidRequest
from edge_agent.fields import as_object, integer, parse_digest, parse_json, parse_uuid, text

MAX_DESCRIPTION_BYTES = 512 * 1024
MAX_CHART_BYTES = 8 * 1024 * 1024
MAX_BLOB_BYTES = 16 << 30
_MAX_RECIPE_CHARACTERS = 256 * 1024
_MAX_IMAGES = 16
_MAX_LAYERS = 256
_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,254}")


@dataclass(frozen=True)
class Blob:
    """Some bytes by their digest, `sha256:<64 hexadecimal digits>`."""

    digest: str
    size: int

    @classmethod
    def from_json(cls, value: Any, field: str, limit: int = MAX_BLOB_BYTES) -> Blob:
        """Check a `BundleBlob` object."""
        data = as_object(value, field)
        size = integer(data, "size", 1, limit)
        if size is None or "digest" not in data:
            raise InvalidRequest(f"{field}: needs digest and size")
        return cls(parse_digest(data["digest"], f"{field}.digest"), size)


@dataclass(frozen=True)
class Image:
    """An OCI image: how the chart calls it, its manifest, its configuration and its layers."""

    name: str
    manifest: Blob
    config: Blob
    layers: tuple[Blob, ...]

    @classmethod
    def from_json(cls, value: Any) -> Image:
        """Check a `BundleImage` object."""
        data = as_object(value, "images")
        name = text(data, "name", 255)
        if name is None or not _REFERENCE.fullmatch(name):
            raise InvalidRequest("images.name: must be an image's reference such as registry.example/app:1")
        layers = data.get("layers")
        if not isinstance(layers, list) or not 1 <= len(layers) <= _MAX_LAYERS:
            raise InvalidRequest(f"images.layers: must be a list of 1 to {_MAX_LAYERS}")
        return cls(
            name,
            Blob.from_json(data.get("manifest"), "images.manifest", 1 << 20),
            Blob.from_json(data.get("config"), "images.config", 1 << 20),
            tuple(Blob.from_json(layer, "images.layers") for layer in layers),
        )


@dataclass(frozen=True)
class Bundle:
    """All that it takes to run an app. `name` is the digest of the description that it was read from."""

    name: str
    app: UUID
    recipe: bytes
    chart: Blob
    images: tuple[Image, ...]

    @classmethod
    def read(cls, name: str, description: bytes) -> Bundle:
        """Check a description against its name and the contract's `Bundle`; raises `InvalidRequest`."""
        if parse_digest(name, "bundle") != digest_of(description):
            raise InvalidRequest("bundle: the body's SHA-256 is another one")
        data = parse_json(description, "body")
        recipe, images = text(data, "recipe", _MAX_RECIPE_CHARACTERS), data.get("images", [])
        if recipe is None or not isinstance(data.get("app"), str):
            raise InvalidRequest("body: needs app, recipe and chart")
        if not isinstance(images, list) or len(images) > _MAX_IMAGES:
            raise InvalidRequest(f"images: must be a list of at most {_MAX_IMAGES}")
        chart = Blob.from_json(data.get("chart"), "chart", MAX_CHART_BYTES)
        parsed = tuple(Image.from_json(image) for image in images)
        if len({image.name for image in parsed}) != len(parsed):
            raise InvalidRequest("images: two have the same name")
        try:
            encoded = recipe.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequest("recipe: must be text") from error
        bundle = cls(name, parse_uuid(data["app"], "app"), encoded, chart, parsed)
        bundle.blobs()
        return bundle

    @property
    def hex(self) -> str:
        """The name's digits, fit for a file name."""
        return self.name.removeprefix("sha256:")

    def blobs(self) -> Mapping[str, int]:
        """The sizes of all parts by digest; raises `InvalidRequest` where one part has two sizes."""
        sizes: dict[str, int] = {}
        parts = [self.chart]
        for image in self.images:
            parts += [image.manifest, image.config, *image.layers]
        for part in parts:
            if sizes.setdefault(part.digest, part.size) != part.size:
                raise InvalidRequest(f"body: {part.digest} has two sizes")
        return sizes

    def layers(self) -> frozenset[str]:
        """The digests of all layers: the parts that a runtime may have already."""
        return frozenset(layer.digest for image in self.images for layer in image.layers)


def digest_of(data: bytes) -> str:
    """The digest of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
