"""Cells and key ranges against H3 itself, distances against known ones."""

import itertools
import math

import h3
import pytest
from chalicelib.fleet import geo
from chalicelib.fleet.geo import Location
from hypothesis import example, given
from hypothesis import strategies as st

locations = st.builds(Location, st.floats(-90, 90), st.floats(-180, 180))
resolutions = st.integers(geo.PARTITION_RESOLUTION, geo.PLACE_RESOLUTION)
# Twelve cells of each resolution are pentagons; these lie in one at resolution 2.
pentagons = [geo.centre(cell) for cell in h3.get_pentagons(geo.PARTITION_RESOLUTION)]


@pytest.mark.parametrize(
    ("a", "b", "km"),
    [
        (Location(40.4406, -79.9959), Location(40.4406, -79.9959), 0),
        (Location(0, 0), Location(0, 180), math.pi * 6371.0088),
        (Location(90, 0), Location(-90, 77), math.pi * 6371.0088),
        (Location(0, 179.5), Location(0, -179.5), math.pi * 6371.0088 / 180),
        (Location(48.8566, 2.3522), Location(51.5074, -0.1278), 343.6),
    ],
)
def test_distances(a, b, km):
    assert geo.distance_km(a, b) == pytest.approx(km, rel=0.002)
    assert geo.distance_km(b, a) == pytest.approx(geo.distance_km(a, b))


@given(locations, resolutions)
@example(Location(90, 0), 2)
@example(Location(-90, 180), 5)
@example(Location(0, -180), 3)
@example(pentagons[0], 2)
def test_a_cell_lies_in_the_range_of_each_ancestor(location, resolution):
    cell = geo.cell_at(location)
    ancestor = geo.ancestor(cell, resolution)
    assert ancestor == h3.cell_to_parent(cell, resolution)
    low, high = geo.descendants(ancestor)
    assert low <= cell <= high
    assert len(low) == len(high) == len(cell) == 15


@given(locations, locations, resolutions)
def test_a_range_holds_descendants_only(a, b, resolution):
    ancestor = geo.ancestor(geo.cell_at(a), resolution)
    low, high = geo.descendants(ancestor)
    cell = geo.cell_at(b)
    assert (low <= cell <= high) == (h3.cell_to_parent(cell, resolution) == ancestor)


@given(locations, st.integers(2, 7))
def test_the_range_is_that_of_all_descendants(location, resolution):
    parent = geo.cell_at(location, resolution)
    children = sorted(h3.cell_to_children(parent, resolution + 2))
    ranges = [geo.descendants(child) for child in children]
    low, high = geo.descendants(parent)
    assert ranges[0][0] == low
    assert ranges[-1][1] == high or h3.is_pentagon(parent)
    for (_, end), (start, _) in itertools.pairwise(ranges):
        assert end < start


@given(locations, resolutions)
def test_no_cell_lies_between_neighbours_in_order(location, resolution):
    parent = geo.cell_at(location, resolution - 1)
    children = sorted(h3.cell_to_children(parent, resolution))
    for first, second in itertools.pairwise(children):
        assert geo.follows(first, second) or h3.is_pentagon(parent)
    assert not geo.follows(children[0], children[2])
    assert not geo.follows(children[1], children[0])


@given(locations, resolutions)
@example(pentagons[3], 2)
@example(pentagons[7], 4)
def test_reach_bounds_the_distance_to_a_cells_centre(location, resolution):
    centre = geo.centre(geo.ancestor(geo.cell_at(location), resolution))
    assert geo.distance_km(location, centre) <= geo.reach_km(resolution)


@given(locations, st.floats(0, 2 * math.pi), st.floats(0, 1.5), resolutions)
@example(pentagons[0], 1.0, 0.999, 2)
@example(Location(89.99, 12), 3.0, 0.999, 3)
def test_a_flower_holds_all_within_its_radius(location, bearing, part, resolution):
    radius = geo.flower_radius_km(location, resolution)
    assert radius > 0
    other = towards(location, bearing, radius * part)
    inside = geo.ancestor(geo.cell_at(other), resolution) in geo.flower(
        geo.ancestor(geo.cell_at(location), resolution)
    )
    assert inside or geo.distance_km(location, other) >= radius


@given(locations, locations)
def test_the_nearest_descendant_lies_in_the_cell_and_is_near(location, other):
    partition = geo.cell_at(other, geo.PARTITION_RESOLUTION)
    cell = geo.nearest_descendant(partition, location)
    assert geo.ancestor(cell, geo.PARTITION_RESOLUTION) == partition
    slack = geo.reach_km(geo.PARTITION_RESOLUTION)
    assert geo.distance_km(location, geo.centre(cell)) <= geo.distance_km(location, other) + slack


def towards(start: Location, bearing: float, km: float) -> Location:
    """The place at a distance in a direction, on the sphere."""
    angle, phi = km / geo.EARTH_RADIUS_KM, math.radians(start.latitude)
    sine = math.sin(phi) * math.cos(angle) + math.cos(phi) * math.sin(angle) * math.cos(bearing)
    end = math.asin(max(-1.0, min(1.0, sine)))
    turn = math.atan2(
        math.sin(bearing) * math.sin(angle) * math.cos(phi), math.cos(angle) - math.sin(phi) * sine
    )
    longitude = (start.longitude + math.degrees(turn) + 540) % 360 - 180
    return Location(math.degrees(end), longitude)
