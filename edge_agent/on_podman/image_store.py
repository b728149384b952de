"""Podman's images, for bundles that devices hand over. Called through the `Images` protocol of `bundles.py`;
calls `podman_program.py` and reads Podman's storage.
"""

from __future__ import annotations

import json
import secrets
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from edge_agent.errors import DeployFailed
from edge_agent.on_podman.podman_program import Podman, PodmanError

_LOAD_SECONDS = 300.0
_LISTS = ("layers.json", "volatile-layers.json")


class PodmanImages:
    """The images in Podman's storage."""

    def __init__(self, program: Podman) -> None:
        self._podman = program

    def layers(self) -> frozenset[str]:
        """The digests under which its layers travel, packed or not, as containers/storage notes them.

        They can't be listed by a command, only read; what can't be read counts as not there.
        """
        store = json.loads(self._podman.call("info", "--format", "json")).get("store") or {}
        folder = Path(store.get("graphRoot", ""), f"{store.get('graphDriverName')}-layers")
        return frozenset(digest for name in _LISTS for digest in _digests(folder / name))

    def present(self, names: Collection[str]) -> frozenset[str]:
        """By one listing."""
        found = {name for image in self._podman.listing("image", "ls") for name in image.get("Names") or []}
        return frozenset(names) & found

    def load(self, layout: Path, name: str) -> None:
        """Pull from the folder: layers that the storage has are not looked for there."""
        try:
            with _plainly_named(layout) as plain:
                pulled = self._podman.call("pull", "--quiet", f"oci:{plain}", timeout=_LOAD_SECONDS)
                identity = pulled.decode().split()[-1]
                names = self._podman.listing("image", "inspect", identity)[0].get("RepoTags") or []
                self._podman.call("tag", identity, name)
                given = [other for other in names if plain.name in other]
                if given:  # the name that pulling made of the folder's
                    self._podman.call("untag", identity, *given)
        except (PodmanError, LookupError) as error:
            raise DeployFailed(f"Podman can't take the image: {error}") from error

    def remove(self, names: Sequence[str]) -> None:
        """Untag, and remove what has no other name and no container."""
        for name in names:
            with suppress(PodmanError):
                self._podman.call("rmi", "--ignore", name)


@contextmanager
def _plainly_named(folder: Path) -> Iterator[Path]:
    """Another way to the folder: Podman makes a name of the path, which not every path can be."""
    link = Path(tempfile.gettempdir()) / f"sinfonia-{secrets.token_hex(8)}"
    link.symlink_to(folder.resolve())
    try:
        yield link
    finally:
        link.unlink(missing_ok=True)


def _digests(path: Path) -> Iterator[str]:
    try:
        listed: Any = json.loads(path.read_text())
    except (OSError, ValueError):
        return
    for layer in listed or []:
        for field in ("compressed-diff-digest", "diff-digest"):
            if isinstance(layer, dict) and isinstance(layer.get(field), str):
                yield layer[field]
