"""CloudletTable in memory: with the methods and rules of `cloudlet_table.DynamoCloudletTable`."""

import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping
from dataclasses import replace
from uuid import UUID

from chalicelib.errors import Unavailable
from chalicelib.fleet.cloudlets import REALM_END, STALE_SECONDS, Cloudlet, Renewed, RowKey, Slice, Trust
from chalicelib.fleet.geo import Location
from chalicelib.fleet.pointers import Pointer


class FakeTable:
    """One write at a time. `away`: every call raises `Unavailable`, as if DynamoDB could not be reached.

    `operations` counts calls by name.
    """

    def __init__(self) -> None:
        self.away = False
        self.operations: list[str] = []
        self._lock = threading.RLock()
        self._rows: dict[RowKey, Cloudlet] = {}
        self._places: dict[str, list[str]] = {}
        self._directory: dict[str, int] = {}
        self._pointers: dict[RowKey, tuple[RowKey, int]] = {}
        self._flags: set[RowKey] = set()

    def put(self, cloudlet: Cloudlet) -> bool:
        with self._called("put_item"):
            standing = self._rows.get(cloudlet.key)
            nobodys = standing is not None and cloudlet.trust > standing.trust == Trust.UNSIGNED
            if standing is not None and not (standing.published or nobodys or standing.age <= cloudlet.age):
                return False
            self._store(cloudlet)
            return True

    def put_published(self, cloudlet: Cloudlet) -> bool:
        with self._called("put_item"):
            standing = self._rows.get(cloudlet.key)
            if standing is not None and not standing.published:
                return False
            self._store(cloudlet)
            return True

    def renew(
        self,
        key: RowKey,
        incarnation: int,
        sequence: int,
        *,
        now: int,
        expires_at: int,
        resources: Mapping[str, float] | None,
        location: Location | None,
        draining: bool | None = None,
        cached: tuple[UUID, ...] | None = None,
    ) -> Renewed | None:
        with self._called("update_item"):
            row = self._rows.get(key)
            if row is None or row.incarnation != incarnation or row.sequence >= sequence:
                return None
            if row.expires_at + STALE_SECONDS <= now:
                return None
            self._rows[key] = replace(
                row,
                sequence=sequence,
                last_keepalive=now,
                expires_at=expires_at,
                resources=row.resources if resources is None else dict(resources),
                location=row.location if location is None else location,
                draining=row.draining if draining is None else draining,
                cached=row.cached if cached is None else cached,
            )
            waited = key in self._flags
            self._flags.discard(key)
            return Renewed(commands_wait=waited)

    def flag(self, key: RowKey) -> bool:
        with self._called("update_item"):
            if key in self._rows:
                self._flags.add(key)
            return key in self._rows

    def count(self) -> int:
        with self._called("describe_table"):
            return len(self._rows)

    def remove(self, key: RowKey, incarnation: int) -> bool:
        with self._called("delete_item"):
            row = self._rows.get(key)
            if row is not None and row.incarnation > incarnation:
                return False
            if row is not None:
                del self._rows[key]
                self._places[key.cell].remove(key.place)
            return True

    def get(self, key: RowKey) -> Cloudlet | None:
        with self._called("get_item"):
            return self._rows.get(key)

    def find(self, uuid: UUID) -> list[Cloudlet]:
        with self._called("query"):
            return [row for row in self._rows.values() if row.uuid == uuid]

    def read(self, cell: str, low: str, high: str, *, limit: int, forward: bool = True) -> Slice:
        with self._called("query"):
            places = self._places.get(cell, [])
            inside = places[bisect_left(places, low) : bisect_right(places, high)]
            chosen = inside[:limit] if forward else inside[-limit:]
            # DynamoDB stops at the limit without looking whether something follows.
            more = len(inside) >= limit
            return Slice([self._rows[RowKey(cell, place)] for place in chosen], more)

    def page(
        self, limit: int, after: RowKey | None, realm: str | None = None
    ) -> tuple[list[Cloudlet], RowKey | None]:
        with self._called("scan"):
            keys = sorted(
                key
                for key, row in self._rows.items()
                if (after is None or key > after) and realm in (None, row.realm)
            )[:limit]
            return [self._rows[key] for key in keys], keys[-1] if len(keys) == limit else None

    def occupy(self, cell: str, expires_at: int) -> None:
        with self._called("put_item"):
            self._directory[cell] = expires_at

    def occupied(self, now: float, realm: str = "") -> list[str]:
        with self._called("query"):
            split = [(cell.rpartition(REALM_END), until) for cell, until in sorted(self._directory.items())]
            return [cell for (own, _, cell), until in split if own == realm and until > now]

    def point(self, pointer: RowKey, row: RowKey, expires_at: int) -> None:
        with self._called("put_item"):
            self._pointers[pointer] = row, expires_at

    def unpoint(self, pointer: RowKey) -> None:
        with self._called("delete_item"):
            self._pointers.pop(pointer, None)

    def pointers(self, cell: str, low: str, high: str, *, limit: int) -> tuple[list[Pointer], bool]:
        with self._called("query"):
            found = [
                Pointer(key.place, row)
                for key, (row, _) in sorted(self._pointers.items(), reverse=True)
                if key.cell == cell and low <= key.place <= high
            ]
            return found[:limit], len(found) >= limit

    def _store(self, cloudlet: Cloudlet) -> None:
        if cloudlet.key not in self._rows:
            insort(self._places.setdefault(cloudlet.key.cell, []), cloudlet.key.place)
        self._rows[cloudlet.key] = cloudlet
        self._flags.discard(cloudlet.key)

    def _called(self, operation: str) -> threading.RLock:
        if self.away:
            raise Unavailable("The table of cloudlets can't be reached.")
        self.operations.append(operation)
        return self._lock
