"""Files that outlive the agent: charts, and the last recipe that was seen of each app. Called by
`repositories.py` and `root_recipes.py`; calls the file system.

Each is written beside and renamed, so that whatever dies, what is there is whole. Bounded in number: whoever
writes recipes must not fill the disk.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from contextlib import suppress
from pathlib import Path

from edge_agent.errors import Unavailable

_LOG = logging.getLogger(__name__)

_KEPT_RECIPES = 256


class KeptRecipes:
    """The last known recipes in a folder, by any name. What can't be written or read counts as unknown."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, name: str) -> bytes | None:
        """The recipe as it was last."""
        try:
            return self._path(name).read_bytes()
        except OSError:
            return None

    def put(self, name: str, body: bytes) -> None:
        """Keep it."""
        try:
            store(self._path(name), body, _KEPT_RECIPES)
        except Unavailable as error:
            _LOG.warning("a recipe can't be kept for later", extra={"reason": str(error)})

    def drop(self, name: str) -> None:
        """Forget it: the repository says that there is none."""
        try:
            self._path(name).unlink(missing_ok=True)
        except OSError as error:
            _LOG.warning("a recipe can't be forgotten", extra={"reason": error.strerror})

    def _path(self, name: str) -> Path:
        return self._folder / f"{hashlib.sha256(name.encode()).hexdigest()}.yaml"


def store(path: Path, body: bytes, most: int) -> None:
    """Write a file as a whole, and let the oldest of its kind go beyond `most`; raises `Unavailable`."""
    fresh = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with fresh.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        for old in _oldest(path, most):
            old.unlink(missing_ok=True)
    except OSError as error:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise Unavailable(f"The cloudlet can't keep {path.name}: {error.strerror}.") from error


def _oldest(path: Path, most: int) -> list[Path]:
    ages = []
    for other in path.parent.glob(f"*{path.suffix}"):
        try:
            ages.append((other.stat().st_mtime_ns, other))
        except FileNotFoundError:
            continue
    return [other for _, other in sorted(ages)[:-most] if other != path]
