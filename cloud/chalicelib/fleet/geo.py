"""Where things are: distances, and the hexagonal cells (H3, https://h3geo.org) that the table is keyed by.

Called by `cloudlets.py` for keys and by `neighbourhood.py` for searching. A cell is the hexadecimal text
of its 64-bit index, 15 digits. The index holds one 3-bit digit per resolution, so the descendants of a
cell at resolution 9 lie between two numbers, and text order is number order.

A descendant's outline can stick out of its ancestor's: `reach_km` bounds distances in a *logical* cell.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import h3

EARTH_RADIUS_KM = 6371.0088  # mean radius, IUGG
PARTITION_RESOLUTION = 2  # 5,882 cells, 160 km an edge: one DynamoDB partition key each
PLACE_RESOLUTION = 9  # 200 m an edge: finer than most positions are known
_DIGITS = 15  # resolutions in an index, https://h3geo.org/docs/core-library/h3Indexing
# Centres of descendants lie within 0.6547/(1-1/sqrt 7) = 1.053 edges of their ancestor's centre on a
# plane. On the sphere the worst of 20,000 random places was 1.13 average edges away; the tests try more.
_REACH_EDGES = 1.25


@dataclass(frozen=True, slots=True)
class Location:
    """A place in degrees (WGS 84) to five digits, which is a metre; `accuracy_m` is a radius, where known."""

    latitude: float
    longitude: float
    accuracy_m: float | None = None

    @property
    def coordinate(self) -> tuple[float, float]:
        """As the published matchers expect it."""
        return self.latitude, self.longitude

    def __sub__(self, other: "Location") -> float:
        """The distance in km, as the published matchers expect it."""
        return distance_km(self, other)


def distance_km(a: Location, b: Location) -> float:
    """Great-circle distance (haversine; error below 0.6 % against the ellipsoid)."""
    phi_a, phi_b = math.radians(a.latitude), math.radians(b.latitude)
    half_phi = (phi_b - phi_a) / 2
    half_lambda = math.radians(b.longitude - a.longitude) / 2
    h = math.sin(half_phi) ** 2 + math.cos(phi_a) * math.cos(phi_b) * math.sin(half_lambda) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, h)))


def cell_at(location: Location, resolution: int = PLACE_RESOLUTION) -> str:
    """The cell of a place."""
    return str(h3.latlng_to_cell(location.latitude, location.longitude, resolution))


def centre(cell: str) -> Location:
    """The middle of a cell."""
    latitude, longitude = h3.cell_to_latlng(cell)
    return Location(latitude, longitude)


def ancestor(cell: str, resolution: int) -> str:
    """The cell that contains `cell` at a coarser (or the same) resolution; plain arithmetic on the index."""
    index = int(cell, 16) & ~(0xF << 52)
    index |= resolution << 52 | (1 << 3 * (_DIGITS - resolution)) - 1
    return f"{index:x}"


def descendants(cell: str) -> tuple[str, str]:
    """The first and the last index that a descendant at `PLACE_RESOLUTION` can have, both included."""
    index = int(cell, 16)
    resolution = index >> 52 & 0xF
    base = index & ~(0xF << 52) & ~((1 << 3 * (_DIGITS - resolution)) - 1)
    base |= PLACE_RESOLUTION << 52 | (1 << 3 * (_DIGITS - PLACE_RESOLUTION)) - 1
    last = base
    for level in range(resolution + 1, PLACE_RESOLUTION + 1):
        last |= 6 << 3 * (_DIGITS - level)
    return f"{base:x}", f"{last:x}"


def follows(cell: str, other: str) -> bool:
    """Whether no cell of the same resolution lies between the indexes of `cell` and `other`."""
    index = int(cell, 16)
    shift = 3 * (_DIGITS - (index >> 52 & 0xF))
    step = 2 if index >> shift & 7 == 6 else 1  # 7 is no digit
    return int(other, 16) - index == step << shift


def flower(cell: str) -> list[str]:
    """The cell and those that touch it, in the order of their indexes."""
    return sorted(h3.grid_disk(cell, 1))


def reach_km(resolution: int) -> float:
    """No place in a cell of this resolution is farther than this from the cell's centre."""
    return _REACH_EDGES * float(h3.average_hexagon_edge_length(resolution, unit="km"))


def flower_radius_km(location: Location, resolution: int, without: Iterable[str] = ()) -> float:
    """Every place nearer than this is in the flower of the location's cell, and in no cell of `without`."""
    cell = cell_at(location, resolution)
    beyond = {*h3.grid_ring(cell, 2), *without}
    nearest = min(distance_km(location, centre(other)) for other in beyond)
    return max(0.0, nearest - reach_km(resolution))


def nearest_descendant(cell: str, location: Location) -> str:
    """A cell at `PLACE_RESOLUTION` within `cell` that is about as near to the location as any."""
    for _ in range(PARTITION_RESOLUTION, PLACE_RESOLUTION):
        cell = min(h3.cell_to_children(cell), key=lambda child: distance_km(location, centre(child)))
    return cell
