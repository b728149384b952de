"""What was read of the table, remembered by a warm container for a moment.

Stands between `search.py` and the table. Devices that ask from the same place within seconds cause the same
reads. Age and size are bounded: nothing is kept that a keepalive round would have changed twice.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar, cast

from chalicelib.fleet.cloudlets import Slice
from chalicelib.fleet.pointers import Pointer
from chalicelib.fleet.search import PlaceStore

MOST_ROWS = 16_384  # of 1.5 KB: 25 MB
_SECONDS = 2.0
_LARGE_DIRECTORY = 64
_LARGE_DIRECTORY_SECONDS = 30.0
_EMPTY = 4  # an answer without rows takes as much memory as so many

_T = TypeVar("_T")
_Key = tuple[Any, ...]


class CachedPlaces:
    """A `PlaceStore` over another one. Safe to share between threads."""

    def __init__(
        self, places: PlaceStore, monotonic: Callable[[], float], most_rows: int = MOST_ROWS
    ) -> None:
        self._places = places
        self._monotonic = monotonic
        self._most_rows = most_rows
        self._lock = threading.Lock()
        self._known: OrderedDict[_Key, tuple[float, int, object]] = OrderedDict()  # until, rows, answer
        self._rows = 0

    def read(self, cell: str, low: str, high: str, *, limit: int, forward: bool = True) -> Slice:
        """As `PlaceStore.read`, at most two seconds old."""
        key = (cell, low, high, limit, forward)
        part = self._recall(key, Slice)
        if part is None:
            part = self._places.read(cell, low, high, limit=limit, forward=forward)
            self._remember(key, _SECONDS, len(part.rows), part)
        return part

    def pointers(self, cell: str, low: str, high: str, *, limit: int) -> tuple[list[Pointer], bool]:
        """As `PlaceStore.pointers`, at most two seconds old."""
        key = (cell, low, high, limit)
        known = self._recall(key, tuple)
        if known is not None:
            return cast(tuple[list[Pointer], bool], known)
        found, more = self._places.pointers(cell, low, high, limit=limit)
        self._remember(key, _SECONDS, len(found), (found, more))
        return found, more

    def occupied(self, now: float, realm: str = "") -> list[str]:
        """As `PlaceStore.occupied`, two seconds old, or thirty where there are many partitions."""
        cells = self._recall((realm,), list)
        if cells is None:
            cells = self._places.occupied(now, realm)
            seconds = _LARGE_DIRECTORY_SECONDS if len(cells) > _LARGE_DIRECTORY else _SECONDS
            self._remember((realm,), seconds, len(cells) // 8, cells)
        return cells

    def _recall(self, key: _Key, kind: type[_T]) -> _T | None:
        with self._lock:
            known = self._known.get(key)
        if known is None or known[0] <= self._monotonic():
            return None
        return known[2] if isinstance(known[2], kind) else None

    def _remember(self, key: _Key, seconds: float, rows: int, answer: object) -> None:
        """Forget what was remembered first where the rows are too many."""
        rows += _EMPTY
        until = self._monotonic() + seconds
        with self._lock:
            if old := self._known.pop(key, None):
                self._rows -= old[1]
            self._known[key] = until, rows, answer
            self._rows += rows
            while self._rows > self._most_rows and len(self._known) > 1:
                _, (_, freed, _) = self._known.popitem(last=False)
                self._rows -= freed
