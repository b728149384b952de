"""One search: what was read of the table so far, and which cloudlets that were.

Used by `neighbourhood.py` and `surroundings.py`; calls the table through `PlaceStore`. It reads one realm:
the shared cloudlets or one tenant's own. It bounds the queries, gets past rows that are dead or don't fit,
and keeps of two rows with one UUID the newer.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from chalicelib.fleet.cloudlets import REALM_END, STALE_SECONDS, Cloudlet, RowKey, Slice
from chalicelib.fleet.coverage import Coverage
from chalicelib.fleet.pointers import Pointer

# A row of 300 bytes is usual: 12 of them are below 4 KB, which is half a read unit, eventually consistent.
ROWS_A_QUERY = 12
MOST_QUERIES = 24
# DynamoDB deletes rows up to days after their lease ended, and an app may want what few cloudlets have. A
# query that met too few eligible rows is followed by larger ones: 3,000 in the device's way are got past.
_DETOURS = (48, 192, 512, 512, 512, 512, 512, 512)

Accepts = Callable[[Cloudlet], bool]


class PlaceStore(Protocol):
    """What a search needs of the table; see `cloudlet_table.DynamoCloudletTable`."""

    def read(self, cell: str, low: str, high: str, *, limit: int, forward: bool = True) -> Slice:
        """Up to `limit` rows of one partition whose place lies between `low` and `high`."""

    def pointers(self, cell: str, low: str, high: str, *, limit: int) -> tuple[list[Pointer], bool]:
        """Up to `limit` signposts of one partition, the last first, and whether there are more."""

    def occupied(self, now: float, realm: str = "") -> list[str]:
        """The partitions in a realm's directory, those of cloudlets without a location among them."""


@dataclass(slots=True)
class Search:
    """What one search has seen. Partitions are named without their realm."""

    places: PlaceStore
    now: float
    accepts: Accepts
    realm: str
    eligible: dict[UUID, Cloudlet] = field(default_factory=dict)  # living, and they accept the device
    coverage: Coverage = field(default_factory=Coverage)
    queries: int = 0
    rows: dict[UUID, Cloudlet] = field(default_factory=dict)
    _detours: int = 0
    _directory: list[str] | None = None

    def read(self, partition: str, low: str, high: str, *, forward: bool = True, wanted: int = 1) -> bool:
        """Read the beginning (or the end) of an interval until so many more are eligible.

        True: there is more; or too much was asked.
        """
        wanted += len(self.eligible)
        cell, limit = self._cell(partition), ROWS_A_QUERY
        while self.queries < MOST_QUERIES:
            self.queries += 1
            part = self.places.read(cell, low, high, limit=limit, forward=forward)
            self._note(part.rows)
            if not part.more:
                self.coverage.add(partition, low, high)
                return False
            if not part.rows:
                return True
            places = [row.key.place for row in part.rows]
            first, last = min(places), max(places)
            self.coverage.add(partition, *((low, last) if forward else (first, high)))
            if len(self.eligible) >= wanted or self._detours >= len(_DETOURS):
                return True
            limit = _DETOURS[self._detours]
            self._detours += 1
            low, high = (last, high) if forward else (low, first)
        return True

    def look_up(self, key: RowKey) -> None:
        """Read a single row."""
        if self.queries < MOST_QUERIES:
            self.queries += 1
            self._note(self.places.read(key.cell, key.place, key.place, limit=1).rows)

    def pointers(self, partition: str, low: str, high: str, *, limit: int) -> tuple[list[Pointer], bool]:
        """As the table's, of a partition with its realm."""
        self.queries += 1
        return self.places.pointers(partition, low, high, limit=limit)

    def directory(self) -> list[str]:
        """The occupied partitions of the realm."""
        if self._directory is None:
            self.queries += 1
            self._directory = self.places.occupied(self.now, self.realm)
        return self._directory

    def living(self) -> list[Cloudlet]:
        """The cloudlets whose lease runs."""
        return [row for row in self.rows.values() if self._lives(row)]

    def stale(self) -> list[Cloudlet]:
        """The cloudlets whose lease ended not long ago."""
        return [
            row
            for row in self.rows.values()
            if row.expires_at <= self.now < row.expires_at + STALE_SECONDS and not row.draining
        ]

    def _cell(self, partition: str) -> str:
        return f"{self.realm}{REALM_END}{partition}" if self.realm else partition

    def _note(self, rows: Iterable[Cloudlet]) -> None:
        """Keep of two rows with one UUID the newer."""
        for row in rows:
            known = self.rows.get(row.uuid)
            if known is not None and known.age >= row.age:
                continue
            self.rows[row.uuid] = row
            self.eligible.pop(row.uuid, None)
            if self._lives(row) and self.accepts(row):
                self.eligible[row.uuid] = row

    def _lives(self, row: Cloudlet) -> bool:
        return row.expires_at > self.now and not row.draining
