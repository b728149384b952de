"""What devices measured to cloudlets, summed up for each network of clients.

Called by the measurements view (`note`) and by `chooser.py` (`near`); calls the table through
`MeasurementStore`.

Nobody who reports is trusted. A report counts for the reporter's own network only (a /24 or a /48), and once
a minute for each cloudlet. Values are sorted into classes, each a step of `_STEP` wide, and what is believed
is the median of their counts over the last day: adding is all that the table has to do, without reading, and
who lies has to outnumber those who don't, however far off the lies are; a mean would follow a single one.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import floor, log
from typing import Protocol
from uuid import UUID

from chalicelib.choosing.reach import Measured
from chalicelib.choosing.upcall import network_of
from chalicelib.errors import InvalidRequest, Unavailable
from chalicelib.fields import Address, Fields

MOST_MEASUREMENTS = 16
MOST_RTT_MS = 60000.0
MOST_THROUGHPUT_MBPS = 1e6
HOUR = 3600
DAY_HOURS = 24
_STEP = 2**0.5  # from one class of values to the next: the middle of a class is at most a fifth off
_SMALLEST = 0.5  # ms or Mbit/s; what is smaller is in the lowest class
_CLASSES = 34  # to 65536
_BELIEVED_FROM = 3  # reports
_AGAIN_SECONDS = 60.0
_REPORTERS = 16384  # pairs of address and cloudlet
_NETWORKS = 2048
_REMEMBERED_SECONDS = 30.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Measurement:
    """One device's, to one cloudlet."""

    cloudlet: UUID
    rtt_ms: float
    throughput_mbps: float | None = None

    @classmethod
    def from_json(cls, value: object, where: str = "measurement") -> "Measurement":
        """From `Measurement` of the contract."""
        fields = Fields(value, where)
        return cls(
            cloudlet=fields.uuid("cloudlet"),
            rtt_ms=fields.number("rtt_ms", 0, MOST_RTT_MS),
            throughput_mbps=fields.number("throughput_mbps", 0, MOST_THROUGHPUT_MBPS)
            if fields.has("throughput_mbps")
            else None,
        )


def parse_measurements(value: object) -> tuple[Measurement, ...]:
    """The body of a report."""
    if not isinstance(value, list):
        raise InvalidRequest(f"body: must be an array of at most {MOST_MEASUREMENTS} measurements")
    return Fields({"body": value}, "body").each("body", MOST_MEASUREMENTS, Measurement.from_json)


@dataclass(frozen=True, slots=True)
class Tally:
    """How many reports of one hour fell into each class, by the class's number."""

    cloudlet: UUID
    rtt: Mapping[int, int]
    throughput: Mapping[int, int]


class MeasurementStore(Protocol):
    """What measurements need of their table; see `tables/measurement_table.py`."""

    def add(self, network: str, hour: int, cloudlet: UUID, rtt: int, throughput: int | None) -> None:
        """Count one report in the classes `rtt` and `throughput`. Raises `Unavailable`."""

    def read(self, network: str, since_hour: int) -> list[Tally]:
        """The tallies of a network, the latest first, of a bounded number. Raises `Unavailable`."""


class Measurements:
    """Reports and what they amount to. Safe between threads."""

    def __init__(
        self,
        store: MeasurementStore,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        *,
        used: bool = True,
    ) -> None:
        """`clock`: seconds since 1970. Where they are not `used`, nothing is kept and nothing known."""
        self._used = used
        self._store = store
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._reported: OrderedDict[tuple[Address, UUID], float] = OrderedDict()
        self._near: OrderedDict[str, tuple[float, Mapping[UUID, Measured]]] = OrderedDict()

    def note(self, address: Address, measurements: Sequence[Measurement]) -> int:
        """Count what a device reports; how many were counted. Raises `Unavailable`."""
        if not self._used:
            return 0
        hour = int(self._clock()) // HOUR
        counted = [each for each in measurements if self._is_due(address, each.cloudlet)]
        for each in counted:
            rate = None if each.throughput_mbps is None else class_of(each.throughput_mbps)
            self._store.add(str(network_of(address)), hour, each.cloudlet, class_of(each.rtt_ms), rate)
        return len(counted)

    def near(self, address: Address) -> Mapping[UUID, Measured]:
        """What was measured from the client's network, half a minute old at most; nothing without a table."""
        if not self._used:
            return {}
        network = str(network_of(address))
        now = self._monotonic()
        with self._lock:
            known = self._near.get(network)
        if known is not None and known[0] > now:
            return known[1]
        try:
            tallies = self._store.read(network, int(self._clock()) // HOUR - DAY_HOURS)
        except Unavailable:
            _log.warning("measurements can't be read; distances are used")
            tallies = []
        measured = _sum_up(tallies)
        with self._lock:
            self._near[network] = (now + _REMEMBERED_SECONDS, measured)
            self._near.move_to_end(network)
            while len(self._near) > _NETWORKS:
                self._near.popitem(last=False)
        return measured

    def _is_due(self, address: Address, cloudlet: UUID) -> bool:
        """Whether this address has not reported on this cloudlet within a minute; it has now."""
        now = self._monotonic()
        with self._lock:
            before = self._reported.get((address, cloudlet))
            if before is not None and now - before < _AGAIN_SECONDS:
                return False
            self._reported[address, cloudlet] = now
            self._reported.move_to_end((address, cloudlet))
            while len(self._reported) > _REPORTERS:
                self._reported.popitem(last=False)
            return True


def class_of(value: float) -> int:
    """The number of the class that a value belongs to, 0 to `_CLASSES` - 1."""
    if value <= _SMALLEST:
        return 0
    return min(_CLASSES - 1, floor(log(value / _SMALLEST, _STEP)))


def _sum_up(tallies: Sequence[Tally]) -> dict[UUID, Measured]:
    by_cloudlet: dict[UUID, list[Tally]] = {}
    for each in tallies:
        by_cloudlet.setdefault(each.cloudlet, []).append(each)
    measured = {}
    for cloudlet, of_hours in by_cloudlet.items():
        rtt_ms = _median([each.rtt for each in of_hours])
        if rtt_ms is not None:
            measured[cloudlet] = Measured(rtt_ms, _median([each.throughput for each in of_hours]))
    return measured


def _median(counts: Sequence[Mapping[int, int]]) -> float | None:
    """The median of all values, as the middle of its class; None of too few."""
    sums = [sum(each.get(number, 0) for each in counts) for number in range(_CLASSES)]
    total = sum(sums)
    if total < _BELIEVED_FROM:
        return None
    below = 0
    for number, size in enumerate(sums):
        below += size
        if 2 * below >= total:
            return float(_SMALLEST * _STEP ** (number + 0.5))
    raise AssertionError("unreachable")
