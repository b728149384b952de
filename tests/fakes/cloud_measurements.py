"""Measurements in memory: with the methods and rules of `measurement_table.DynamoMeasurementTable`."""

import threading
from collections import Counter
from uuid import UUID

from chalicelib.choosing.measurements import Tally
from chalicelib.errors import Unavailable
from chalicelib.tables.measurement_table import MOST_REPORTS, MOST_TALLIES


class FakeMeasurementTable:
    """`away`: every call raises `Unavailable`. `reads` and `writes` count calls."""

    def __init__(self) -> None:
        self.away = False
        self.reads = self.writes = 0
        self._lock = threading.Lock()
        self._rtt: dict[tuple[str, int, UUID], Counter[int]] = {}
        self._throughput: dict[tuple[str, int, UUID], Counter[int]] = {}

    def add(self, network: str, hour: int, cloudlet: UUID, rtt: int, throughput: int | None) -> None:
        with self._lock:
            self.writes += 1
            self._check()
            key = network, hour, cloudlet
            counts = self._rtt.setdefault(key, Counter())
            rates = self._throughput.setdefault(key, Counter())
            if counts.total() < MOST_REPORTS:
                counts[rtt] += 1
                rates.update([] if throughput is None else [throughput])

    def read(self, network: str, since_hour: int) -> list[Tally]:
        with self._lock:
            self.reads += 1
            self._check()
            keys = [key for key in self._rtt if key[0] == network and key[1] >= since_hour]
            keys.sort(key=lambda key: (key[1], str(key[2])), reverse=True)
            return [
                Tally(key[2], dict(self._rtt[key]), dict(self._throughput[key]))
                for key in keys[:MOST_TALLIES]
            ]

    def _check(self) -> None:
        if self.away:
            raise Unavailable("The table of measurements can't be reached.")
