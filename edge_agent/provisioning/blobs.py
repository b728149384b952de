"""Parts of bundles on disk, while they arrive: resumable, bounded, and checked before anybody reads them.

A part that is not whole lies in `<digits>.part`, whose length is how far it has come; once its digest is
right it is renamed to `<digits>`. So whatever dies, what is there can be gone on with or is whole. Called by
`bundles.py`; calls the file system.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Collection
from pathlib import Path

from edge_agent.errors import InvalidRequest, Unavailable

_STRIPES = 32
_READ_BYTES = 1 << 20


class WrongOffset(InvalidRequest):
    """The part has come another way than the sender thinks: `offset` bytes are there."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"offset: {offset} bytes of this part are there")
        self.offset = offset


class Blobs:
    """A folder of parts by digest, at most `limit_bytes` in all. `wall` is seconds since 1970."""

    def __init__(self, folder: Path, limit_bytes: int, wall: Callable[[], float]) -> None:
        self._folder = folder
        self._limit = limit_bytes
        self._wall = wall
        self._stripes = [threading.Lock() for _ in range(_STRIPES)]

    def has(self, digest: str) -> bool:
        """Whether the part is there, whole and checked."""
        return self.path(digest).exists()

    def path(self, digest: str) -> Path:
        """Where the whole part is, once it is."""
        return self._folder / digest.removeprefix("sha256:")

    def offset(self, digest: str) -> int:
        """How many of its bytes are there."""
        for path in (self.path(digest), self._partial(digest)):
            try:
                return path.stat().st_size
            except FileNotFoundError:
                continue
        return 0

    def append(self, digest: str, size: int, offset: int, chunk: bytes) -> int:
        """Add bytes that begin at `offset`; return how many are there.

        Raises `WrongOffset` where the part has come another way, `InvalidRequest` for too many bytes or a
        wrong digest (then it begins anew), `Unavailable` where there is no room.
        """
        with self._stripes[int(digest[-4:], 16) % _STRIPES]:
            there = self.offset(digest)
            if self.has(digest) or offset != there:
                raise WrongOffset(there)
            if there + len(chunk) > size:
                raise InvalidRequest(f"body: the part has {size} bytes, and this goes beyond")
            if self._used() + len(chunk) > self._limit:
                raise Unavailable("The cloudlet has no room for more parts of bundles now.", 60)
            self._write(digest, chunk)
            return self._complete(digest) if there + len(chunk) == size else there + len(chunk)

    def drop(self, digests: Collection[str]) -> None:
        """Forget parts, whole or not."""
        for digest in digests:
            with self._stripes[int(digest[-4:], 16) % _STRIPES]:
                self.path(digest).unlink(missing_ok=True)
                self._partial(digest).unlink(missing_ok=True)

    def drop_older(self, seconds: float, kept: Collection[str]) -> None:
        """Forget parts that nothing came to for so long, but those of the digests in `kept`."""
        names = {digest.removeprefix("sha256:") for digest in kept}
        for path in self._folder.glob("*"):
            try:
                old = self._wall() - path.stat().st_mtime > seconds
            except FileNotFoundError:
                continue
            if old and path.name.removesuffix(".part") not in names:
                path.unlink(missing_ok=True)

    def _partial(self, digest: str) -> Path:
        return self.path(digest).with_suffix(".part")

    def _used(self) -> int:
        total = 0
        for path in self._folder.glob("*"):
            try:
                total += path.stat().st_size
            except FileNotFoundError:
                continue
        return total

    def _write(self, digest: str, chunk: bytes) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._partial(digest).open("ab") as file:
                file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise Unavailable(f"The cloudlet can't keep it: {error.strerror}.", 60) from error

    def _complete(self, digest: str) -> int:
        partial = self._partial(digest)
        found = hashlib.sha256()
        with partial.open("rb") as file:
            while data := file.read(_READ_BYTES):
                found.update(data)
        if f"sha256:{found.hexdigest()}" != digest:
            partial.unlink(missing_ok=True)
            raise InvalidRequest("body: the part's SHA-256 is another one; send it anew")
        partial.replace(self.path(digest))
        return self.path(digest).stat().st_size
