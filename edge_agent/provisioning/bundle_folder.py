"""Bundles on disk: for each a folder with its description and, once it is ready, its chart and the room that
it takes. Called by `bundles.py`; calls the file system.

The chart is written last: where it is, all else is.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from edge_agent.errors import InvalidRequest, NotFound, Unavailable
from edge_agent.fields import parse_digest
from edge_agent.provisioning.bundle import Bundle

_DESCRIPTION, _CHART, _TAKEN = "description.json", "chart.tgz", "unpacked-bytes"


class BundleFolder:
    """The folder with all of them. `wall` is seconds since 1970."""

    def __init__(self, path: Path, wall: Callable[[], float]) -> None:
        self.path = path
        self._wall = wall

    def names(self) -> list[str]:
        """Those that were begun, ready or not."""
        return [f"sha256:{file.parent.name}" for file in self.path.glob(f"*/{_DESCRIPTION}")]

    def read(self, name: str) -> Bundle:
        """What was described; raises `NotFound`, also for a damaged file: to describe it anew mends it."""
        try:
            return Bundle.read(name, self._file(name, _DESCRIPTION).read_bytes())
        except (OSError, InvalidRequest) as error:
            parse_digest(name, "bundle")
            raise NotFound("There is no such bundle.") from error

    def begin(self, name: str, description: bytes) -> None:
        """Keep a description; raises `Unavailable`."""
        _write(self._file(name, _DESCRIPTION), description)

    def keep(self, name: str, chart: bytes, unpacked_bytes: int) -> None:
        """It is ready; raises `Unavailable`."""
        _write(self._file(name, _TAKEN), str(unpacked_bytes).encode())
        _write(self._file(name, _CHART), chart)

    def unready(self, name: str) -> None:
        """It is to be sent again, as if it were begun now."""
        self._file(name, _CHART).unlink(missing_ok=True)
        self.touch(name)

    def chart(self, name: str) -> Path | None:
        """Its chart; None while it is not ready."""
        path = self._file(name, _CHART)
        return path if path.exists() else None

    def taken_bytes(self) -> int:
        """The room of all that are ready, unpacked."""
        total = 0
        for name in self.names():
            if self.chart(name):
                try:
                    total += int(self._file(name, _TAKEN).read_text())
                except (OSError, ValueError):
                    continue
        return total

    def touch(self, name: str) -> None:
        """It is in use now."""
        try:
            os.utime(self.chart(name) or self._file(name, _DESCRIPTION), (self._wall(), self._wall()))
        except FileNotFoundError:  # just removed
            return

    def age_seconds(self, name: str) -> float:
        """How long ago it was used or begun."""
        try:
            return self._wall() - (self.chart(name) or self._file(name, _DESCRIPTION)).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def remove(self, name: str) -> None:
        """Forget it."""
        shutil.rmtree(self._file(name, _DESCRIPTION).parent, ignore_errors=True)

    def remove_rests(self, older_seconds: float) -> None:
        """Remove what a crash left: folders without a description, layouts that were being made."""
        for folder in self.path.glob("*"):
            try:
                old = self._wall() - folder.stat().st_mtime > older_seconds
            except FileNotFoundError:
                continue
            if old and not (folder / _DESCRIPTION).exists():
                shutil.rmtree(folder, ignore_errors=True)

    def _file(self, name: str, file: str) -> Path:
        return self.path / parse_digest(name, "bundle").removeprefix("sha256:") / file


def _write(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all; raises `Unavailable`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = path.with_suffix(f".{threading.get_ident()}")
        fresh.write_bytes(data)
        fresh.replace(path)
    except OSError as error:
        raise Unavailable(f"The cloudlet can't keep it: {error.strerror}.", 60) from error
