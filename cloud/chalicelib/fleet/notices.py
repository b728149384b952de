"""Notices that lead searches to rows: the directory of partitions, and signposts from local networks.

Called by `registry.py` and `keepalives.py`; calls the table through `NoticeStore`. They are written when a
row is filed, not with every keepalive, and expire by themselves: a cloudlet registers again every day.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Protocol

from chalicelib.fleet.cloudlets import Cloudlet, RowKey
from chalicelib.fleet.pointers import pointer_keys

NOTICE_SECONDS = 48 * 3600  # twice the life of a lease token: every living cloudlet has renewed it by then
_FRESH_SECONDS = 3600  # this container does not write the same notice again sooner
_REMEMBERED = 16384  # more than there are partitions


class NoticeStore(Protocol):
    """What notices need of the table; see `cloudlet_table.DynamoCloudletTable`."""

    def occupy(self, cell: str, expires_at: int) -> None:
        """Put a partition into the directory of its realm."""

    def point(self, pointer: RowKey, row: RowKey, expires_at: int) -> None:
        """Put a signpost up."""

    def unpoint(self, pointer: RowKey) -> None:
        """Take a signpost away."""


class Notices:
    """Writes them. `private`: signposts also of networks that are the same ones in many places."""

    def __init__(self, table: NoticeStore, clock: Callable[[], float], *, private: bool) -> None:
        """`clock` gives seconds since 1970."""
        self._table = table
        self._clock = clock
        self._private = private
        self._lock = threading.Lock()
        self._written: OrderedDict[Hashable, float] = OrderedDict()

    def put_up(self, row: Cloudlet) -> None:
        """Let searches find a row that was filed just now."""
        expires_at = int(self._clock()) + NOTICE_SECONDS
        self._now_and_then(row.key.cell, lambda: self._table.occupy(row.key.cell, expires_at))
        for pointer in pointer_keys(row, private=self._private):
            self._table.point(pointer, row.key, expires_at)

    def keep_up(self, row: Cloudlet) -> None:
        """Let searches find a row that may have been filed there long ago."""
        self._now_and_then(row.key, lambda: self.put_up(row))

    def take_down(self, old: Cloudlet, row: Cloudlet) -> None:
        """Take away the signposts of an older row that the newer one does not put up itself."""
        kept = set(pointer_keys(row, private=self._private))
        for pointer in pointer_keys(old, private=self._private):
            if pointer not in kept:
                self._table.unpoint(pointer)

    def _now_and_then(self, notice: Hashable, write: Callable[[], None]) -> None:
        """Write unless this container has done so lately."""
        now = self._clock()
        with self._lock:
            if self._written.get(notice, now - _FRESH_SECONDS) > now - _FRESH_SECONDS:
                return
        write()
        with self._lock:
            self._written[notice] = now
            self._written.move_to_end(notice)
            while len(self._written) > _REMEMBERED:
                self._written.popitem(last=False)
