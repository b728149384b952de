"""OCI image layouts made of nothing, as an archive and as their parts."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any


def digest(data: bytes) -> str:
    """The digest of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def layer(files: dict[str, bytes]) -> bytes:
    """A layer: a tar archive of files, by gzip."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            _add(archive, name, content)
    return gzip.compress(packed.getvalue(), mtime=0)


def image(layers: list[bytes]) -> tuple[bytes, dict[str, bytes]]:
    """An image's manifest, and all its parts by digest, the manifest among them."""
    diffs = [digest(gzip.decompress(one)) for one in layers]
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diffs}}
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _described(config, "application/vnd.oci.image.config.v1+json"),
            "layers": [_described(one, "application/vnd.oci.image.layer.v1.tar+gzip") for one in layers],
        }
    ).encode()
    return manifest, {digest(one): one for one in (manifest, config, *layers)}


def archive(path: Path, images: dict[str, list[bytes]]) -> Path:
    """An OCI archive of images by name, each a list of layers."""
    listed, parts = [], {}
    for name, layers in images.items():
        manifest, own = image(layers)
        parts.update(own)
        described = _described(manifest, "application/vnd.oci.image.manifest.v1+json")
        listed.append({**described, "annotations": {"org.opencontainers.image.ref.name": name}})
    with tarfile.open(path, "w") as packed:
        _add(packed, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        _add(packed, "index.json", json.dumps({"schemaVersion": 2, "manifests": listed}).encode())
        for name, content in parts.items():
            _add(packed, f"blobs/{name.replace(':', '/')}", content)
    return path


def _described(data: bytes, kind: str) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest(data), "size": len(data)}


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mode = 0o755
    archive.addfile(member, io.BytesIO(content))
