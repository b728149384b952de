"""The /etc/hosts of guests, as files of the agent's own: Podman's would begin with what the operator's says
of their network. Made by `choices.py`, called by `podman.py` and `making.py`; calls the file system.

A pod's file lies there as long as its deployment does, since Podman mounts it anew at each start.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from edge_agent.errors import Unavailable
from edge_agent.on_podman.blueprints import Blueprint


class NamesFiles:
    """The files below `folder`, a folder for each deployment."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, deployment: str, blueprint: Blueprint) -> Path:
        """The file of a pod that is about to be made; raises `Unavailable`."""
        path = (self._folder / deployment / blueprint.pod.name).absolute()  # or Podman takes it for a volume
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.write_text(text(blueprint))
            path.chmod(0o644)  # guests may be anybody
        except OSError as error:
            raise Unavailable(f"The names of guests can't be written: {error}") from error
        return path

    def remove(self, deployment: str) -> None:
        """Those of a deployment; fine where there are none."""
        shutil.rmtree(self._folder / deployment, ignore_errors=True)

    def keep(self, deployments: Collection[str]) -> None:
        """Remove those of all deployments but these."""
        for path in self._folder.glob("*"):
            if path.name not in deployments:
                self.remove(path.name)


def text(blueprint: Blueprint) -> str:
    """What a pod's /etc/hosts says: itself, and whom its deployment knows."""
    own = [("127.0.0.1", "localhost"), ("::1", "localhost"), (blueprint.address, blueprint.pod.hostname)]
    return "".join(f"{address}\t{name}\n" for address, name in own) + "".join(
        f"{address}\t{name}\n" for name, address in blueprint.hosts
    )
