"""The cloudlets around one place, the nearest cells first.

Called by `neighbourhood.py` with a `Search`, through which it reads:

1. The device's own partition, forward and backward from its own cell, as far as the next few rows reach:
   a street in a city, a province in the country.
2. From the density seen there, the smallest flower of cells around the device that should hold enough. What
   step 1 left of it is read, then larger flowers, until there are enough that are eligible.
3. Where that is not enough, other partitions from the directory, the nearest first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from uuid import UUID

from chalicelib.fleet import geo
from chalicelib.fleet.cloudlets import NOWHERE, Cloudlet
from chalicelib.fleet.coverage import FIRST, LAST, ranges
from chalicelib.fleet.geo import PARTITION_RESOLUTION, PLACE_RESOLUTION, Location
from chalicelib.fleet.search import MOST_QUERIES, Search

_EXTRA_READS = 2  # of a flower that holds enough already: for nearer ones
# Another partition is not read for cloudlets that are nearer by less than a tenth: a millisecond or so.
_NEAR_ENOUGH = 0.9
_COARSEST_FLOWER = 3  # beyond that, step 3 goes by whole partitions


@dataclass(frozen=True, slots=True, order=True)
class _Gap:
    """An unread interval of a partition, and how far its nearest cell is."""

    km: float
    partition: str
    low: str
    high: str
    forward: bool


class Surroundings:
    """The steps for one device."""

    def __init__(self, search: Search, location: Location, enough: int) -> None:
        self._search = search
        self._location = location
        self._enough = enough
        self._cell = geo.cell_at(location)
        self._home = geo.ancestor(self._cell, PARTITION_RESOLUTION)
        self._flowers: dict[int, list[str]] = {}

    def explore(self) -> float:
        """Read until there are enough; the radius within which nothing is missing, in km."""
        self._search.read(self._home, self._cell, LAST)
        self._search.read(self._home, FIRST, self._cell, forward=False)
        if self._grow():
            return self._complete_km()
        return max(self._complete_km(), self._other_partitions())

    def _flower(self, resolution: int) -> list[str]:
        flower = self._flowers.get(resolution)
        if flower is None:
            flower = self._flowers[resolution] = geo.flower(geo.ancestor(self._cell, resolution))
        return flower

    def _grow(self) -> bool:
        """Step 2. Whether there are enough."""
        if self._search.coverage.has(self._home) and not self._holds_enough(_COARSEST_FLOWER):
            return False
        for resolution in range(PLACE_RESOLUTION, _COARSEST_FLOWER - 1, -1):
            if self._holds(resolution, self._search.rows) < self._enough:
                continue
            self._read_flower(resolution)
            if self._holds_enough(resolution):
                return True
        return False

    def _holds_enough(self, resolution: int) -> bool:
        return self._holds(resolution, self._search.eligible) >= self._enough

    def _holds(self, resolution: int, rows: Mapping[UUID, Cloudlet]) -> int:
        """How many of the rows are in a flower."""
        if len(rows) < self._enough:
            return 0
        cells = set(self._flower(resolution))
        return sum(
            row.location is not None and geo.ancestor(row.key.place[:15], resolution) in cells
            for row in rows.values()
        )

    def _read_flower(self, resolution: int) -> None:
        """What is unread of a flower, the nearest first: all, or a little where there are enough already."""
        extra = _EXTRA_READS
        for gap in self._gaps(resolution):
            if self._holds_enough(resolution):
                if extra == 0:
                    return
                extra -= 1
            lacking = max(1, self._enough - len(self._search.eligible))
            self._search.read(gap.partition, gap.low, gap.high, forward=gap.forward, wanted=lacking)

    def _gaps(self, resolution: int) -> list["_Gap"]:
        nearest = sorted(
            (geo.distance_km(self._location, _centre(cell)), cell) for cell in self._flower(resolution)
        )
        gaps = []
        for partition, intervals in ranges(self._flower(resolution)).items():
            for interval in intervals:
                for low, high in self._search.coverage.gaps(partition, *interval):
                    inside = ((km, geo.descendants(cell)) for km, cell in nearest)
                    km, (first, last) = next(
                        each for each in inside if low <= each[1][1] + "$" and each[1][0] <= high
                    )
                    # From the end that the nearest cell is at.
                    forward = first <= low or last + "$" < high
                    gaps.append(_Gap(km, partition, low, high, forward))
        return sorted(gaps)

    def _complete_km(self) -> float:
        """The radius around the device within which everything was read."""
        best = 0.0
        for resolution in range(_COARSEST_FLOWER, PLACE_RESOLUTION + 1):
            unread = [cell for cell in self._flower(resolution) if not self._search.coverage.whole([cell])]
            best = max(best, geo.flower_radius_km(self._location, resolution, unread))
            if not unread:
                break
        return best

    def _other_partitions(self) -> float:
        """Step 3. The distance of the nearest partition that was not read as a whole, in km."""
        cells = [cell for cell in self._search.directory() if not cell.startswith(NOWHERE)]
        # No place in the partition is nearer than the first number.
        by_distance = sorted((self._partition_km(cell), cell) for cell in cells)
        for least_km, cell in by_distance:
            if least_km > _NEAR_ENOUGH * self._enough_km() or self._search.queries >= MOST_QUERIES:
                break
            if cell != self._home:
                anchor = geo.nearest_descendant(cell, self._location)
                self._search.read(cell, anchor, LAST)
                self._search.read(cell, FIRST, anchor, forward=False)
        unread = (km for km, cell in by_distance if not self._search.coverage.has(cell))
        return next(unread, inf)

    def _partition_km(self, cell: str) -> float:
        distance = geo.distance_km(self._location, _centre(cell))
        return max(0.0, distance - geo.reach_km(PARTITION_RESOLUTION))

    def _enough_km(self) -> float:
        """Within this distance there are enough."""
        distances = sorted(
            geo.distance_km(self._location, row.location)
            for row in self._search.eligible.values()
            if row.location is not None
        )
        return distances[self._enough - 1] if len(distances) >= self._enough else inf


@lru_cache(8192)
def _centre(cell: str) -> Location:
    return geo.centre(cell)
