"""Which images Podman has, and pulling more. Called through the `Stock` protocol of `prefetch.py`; calls
`podman_program.py`.
"""

from __future__ import annotations

from collections.abc import Collection

from edge_agent.errors import DeployFailed
from edge_agent.on_podman.podman_program import Podman, PodmanError
from edge_agent.recipes.image_names import listed

_PULL_SECONDS = 900.0


class PodmanStock:
    """The images in Podman's storage."""

    def __init__(self, program: Podman) -> None:
        self._podman = program

    def present(self, images: Collection[str]) -> frozenset[str]:
        """By one listing of names and digests."""
        names: set[str] = set()
        for image in self._podman.listing("image", "ls"):
            names.update(image.get("Names") or [])
            names.update(image.get("RepoDigests") or [])
        return listed(images, names)

    def pull(self, image: str) -> None:
        """As a deployment would, without running anything."""
        try:
            self._podman.call("pull", "--quiet", "--", image, timeout=_PULL_SECONDS)
        except PodmanError as error:
            raise DeployFailed(f"Podman can't pull {image}: {error}") from error
