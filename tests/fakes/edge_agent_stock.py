"""A runtime's images in memory."""

from __future__ import annotations

from collections.abc import Collection

from edge_agent.errors import DeployFailed, Unavailable
from edge_agent.recipes.image_names import listed, spellings


class FakeStock:
    """The `Stock` port: `names` are listed, `registry` can be pulled; `away` makes it fail."""

    def __init__(self, registry: Collection[str] = ()) -> None:
        self.names: set[str] = set()
        self.registry = {spellings(image)[0] for image in registry}
        self.pulled: list[str] = []
        self.away = False

    def present(self, images: Collection[str]) -> frozenset[str]:
        self._check()
        return listed(images, self.names)

    def pull(self, image: str) -> None:
        self._check()
        self.pulled.append(image)
        if spellings(image)[0] not in self.registry:
            raise DeployFailed(f"{image}: not found")
        self.names.add(spellings(image)[0])

    def _check(self) -> None:
        if self.away:
            raise Unavailable("the runtime is away")
