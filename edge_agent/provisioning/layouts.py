"""Images of bundles as OCI's image layout (image-spec 1.0), for a runtime to take. Called by `bundles.py`."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from edge_agent.errors import InvalidRequest
from edge_agent.provisioning.blobs import Blobs
from edge_agent.provisioning.bundle import Blob, Image

PREFIX = "layout-"
_READ_BYTES = 1 << 20
_GZIP = b"\x1f\x8b"
_ZSTANDARD = b"\x28\xb5\x2f\xfd"


def parts_here(image: Image, blobs: Blobs) -> list[Blob]:
    """The image's parts that are here; layers that are not, the runtime has."""
    return [part for part in (image.manifest, image.config, *image.layers) if blobs.has(part.digest)]


def lay_out(image: Image, blobs: Blobs, layout: Path) -> None:
    """Make an empty folder the image's layout. Its parts are linked, not copied."""
    folder = layout / "blobs" / "sha256"
    folder.mkdir(parents=True)
    for digest in {part.digest for part in parts_here(image, blobs)}:
        path = blobs.path(digest)
        os.link(path, folder / path.name)
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    described = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": image.manifest.digest,
        "size": image.manifest.size,
    }
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [described]}))


def unpacked_bytes(paths: Sequence[Path], limit_bytes: int) -> int:
    """How much the files are unpacked; raises `InvalidRequest` as soon as it is more than the limit, so that
    a few bytes that stand for terabytes cost nothing.
    """
    total = 0
    for path in paths:
        for length in _pieces(path):
            total += length
            if total > limit_bytes:
                raise InvalidRequest(f"The images unpack to more than the {limit_bytes} bytes that are left.")
    return total


def _pieces(path: Path) -> Iterator[int]:
    """The lengths of the pieces that a part unpacks to; what is not compressed is as long as it is."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
            if start == _ZSTANDARD:
                raise InvalidRequest("A layer is packed with zstd; only gzip and plain tar are taken.")
            if not start.startswith(_GZIP):
                yield path.stat().st_size
                return
            file.seek(0)
            with gzip.GzipFile(fileobj=file) as unpacked:
                while data := unpacked.read(_READ_BYTES):
                    yield len(data)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidRequest("A layer is neither a tar archive nor one that gzip made.") from error
