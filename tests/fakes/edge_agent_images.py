"""A runtime's images in memory: what bundles are loaded into."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from edge_agent.errors import DeployFailed
from edge_agent.provisioning.blobs import Blobs
from edge_agent.provisioning.bundles import Bundles
from edge_agent.workers import Workers


class FakeImages:
    """Takes images whose layers are there or known from before. `names` are those it has now."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self._layers: set[str] = set()

    def layers(self) -> frozenset[str]:
        """Those of every image that was taken."""
        return frozenset(self._layers)

    def present(self, names: Collection[str]) -> frozenset[str]:
        """Those it has now."""
        return frozenset(names) & self.names

    def load(self, layout: Path, name: str) -> None:
        """Read the layout as a real one does."""
        blobs = layout / "blobs" / "sha256"
        (described,) = json.loads((layout / "index.json").read_text())["manifests"]
        try:
            manifest = json.loads((blobs / described["digest"][7:]).read_bytes())
            layers = [str(layer["digest"]) for layer in manifest["layers"]]
        except (OSError, ValueError, LookupError) as error:
            raise DeployFailed("The image can't be read.") from error
        for layer in layers:
            if layer not in self._layers and not (blobs / layer[7:]).exists():
                raise DeployFailed(f"{layer} is missing.")
        self._layers.update(layers)
        self.names.add(name)

    def prune(self) -> None:
        """As somebody does who tidies up: nothing is left."""
        self.names.clear()
        self._layers.clear()

    def remove(self, names: Sequence[str]) -> None:
        """Forget the names; the layers stay, as others may have them."""
        self.names -= set(names)


def bundles(folder: Path, images: FakeImages | None = None, limit_bytes: int = 64 << 20) -> Bundles:
    """Bundles kept in a folder, whose images go into memory."""
    blobs = Blobs(folder / "parts", limit_bytes, time.time)
    later = Workers(1).submit
    return Bundles(folder / "bundles", blobs, images or FakeImages(), limit_bytes, later, time.time)
