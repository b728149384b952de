"""Allowances and the usage ledger in memory: with the methods and rules of the tables on DynamoDB."""

import threading

from chalicelib.accounts.usage import Partition, Usage
from chalicelib.errors import Unavailable


class FakeLimitTable:
    """As `limit_table.DynamoLimitTable`. `away`: every call raises `Unavailable`. `writes` counts calls."""

    def __init__(self) -> None:
        self.away = False
        self.writes = 0
        self._lock = threading.Lock()
        self._used: dict[tuple[str, int], int] = {}

    def reserve(self, name: str, window: int, count: int, most: int, expires_at: int) -> int:
        assert expires_at > 0, "every counter ends"
        with self._lock:
            self.writes += 1
            if self.away:
                raise Unavailable("The table of limits can't be reached.")
            used = self._used.get((name, window))
            if used is not None and used >= most:
                return 0
            self._used[name, window] = (used or 0) + count
            return count - max(0, self._used[name, window] - most)


class FakeUsageTable:
    """As `usage_table.DynamoUsageTable`. `reads` counts queries."""

    def __init__(self) -> None:
        self.away = False
        self.reads = 0
        self._lock = threading.Lock()
        self._kept: dict[tuple[Partition, str], Usage] = {}

    @property
    def entries(self) -> list[Usage]:
        """Everything, in the order in which it came."""
        with self._lock:
            return list(self._kept.values())

    def add(self, entry: Usage) -> bool:
        if self.away:
            raise Unavailable("The table of usage can't be reached.")
        key = Partition(entry.tenant, entry.day, entry.shard), entry.order
        with self._lock:
            stands = key in self._kept
            self._kept.setdefault(key, entry)
            return not stands

    def read(self, partition: Partition, after: str, limit: int) -> list[Usage]:
        if self.away:
            raise Unavailable("The table of usage can't be reached.")
        with self._lock:
            self.reads += 1
            keys = sorted(order for where, order in self._kept if where == partition and order > after)
            return [self._kept[partition, order] for order in keys[:limit]]
