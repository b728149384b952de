"""Searching, against brute force over the same rows."""

import random
from dataclasses import replace
from ipaddress import ip_address, ip_network
from uuid import UUID

import pytest
from chalicelib.fleet import geo
from chalicelib.fleet.cloudlets import STALE_SECONDS, Cloudlet, row_key
from chalicelib.fleet.coverage import FIRST, LAST, Coverage, ranges
from chalicelib.fleet.geo import Location
from chalicelib.fleet.neighbourhood import Found, Neighbourhood
from chalicelib.fleet.place_cache import CachedPlaces
from chalicelib.fleet.pointers import pointer_keys
from chalicelib.fleet.search import MOST_QUERIES, ROWS_A_QUERY
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.cloud_table import FakeTable

NOW = 1_795_000_000
ENOUGH = 12
CLIENT = ip_address("193.0.14.129")
EVERYBODY = lambda _row: True  # noqa: E731


def cloudlet(
    number: int, location: Location | None, networks=(), alive: bool = True, realm="", **changed
) -> Cloudlet:
    uuid = UUID(int=random.Random(number).getrandbits(128))
    row = Cloudlet(
        key=row_key(uuid, location, realm),
        uuid=uuid,
        endpoint="http://192.0.2.1/api/v1/deploy",
        incarnation=1,
        sequence=0,
        last_keepalive=NOW - 10,
        expires_at=NOW + 40 if alive else NOW - 1,
        location=location,
        local_networks=networks,
    )
    return replace(row, **changed)


def filled(rows: list[Cloudlet]) -> FakeTable:
    table = FakeTable()
    for row in rows:
        table.put(row)
        table.occupy(row.key.cell, NOW + 1000)
        for key in pointer_keys(row, private=False):
            table.point(key, row.key, NOW + 1000)
    return table


def search(table, location, accepts=EVERYBODY, enough=ENOUGH, seed=0) -> Found:
    table.operations.clear()
    found = Neighbourhood(table, lambda: NOW, random.Random(seed)).around(location, CLIENT, accepts, enough)
    assert found.queries == len(table.operations) <= MOST_QUERIES + 1
    assert len({row.uuid for row in found.cloudlets}) == len(found.cloudlets)
    assert all(row.expires_at > NOW for row in found.cloudlets)
    return found


def clumped(rng: random.Random, count: int, cities: int) -> list[Location]:
    """Places as cities have them: a few centres, many near them, some anywhere."""
    centres = [anywhere(rng) for _ in range(cities)]
    places = []
    for _ in range(count):
        if rng.random() < 0.1:
            places.append(anywhere(rng))
            continue
        city = rng.choice(centres)
        spread = rng.choice([0.01, 0.1, 1.0])
        latitude = max(-90.0, min(90.0, rng.gauss(city.latitude, spread)))
        places.append(Location(latitude, (rng.gauss(city.longitude, spread) + 540) % 360 - 180))
    return places


def anywhere(rng: random.Random) -> Location:
    corners = [Location(90, 0), Location(-90, 33), Location(0, 180), Location(10, -179.999), Location(0, 0)]
    if rng.random() < 0.2:
        return rng.choice(corners)
    return Location(geo.math.degrees(geo.math.asin(rng.uniform(-1, 1))), rng.uniform(-180, 180))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0, 1, 3, 30, 300, 1500]), st.integers(1, 8), st.booleans())
def test_nothing_within_the_radius_is_missing(seed, count, cities, picky):
    rng = random.Random(seed)
    places = clumped(rng, count, cities)
    rows = [cloudlet(seed + n, place, alive=rng.random() < 0.9) for n, place in enumerate(places)]
    table = filled(rows)
    device = rng.choice([*places, anywhere(rng)])
    accepts = (lambda row: row.uuid.int % 5 == 0) if picky else EVERYBODY
    found = search(table, device, accepts)
    seen = {row.uuid for row in found.cloudlets}
    living = [row for row in rows if row.expires_at > NOW]
    for row in living:
        if geo.distance_km(device, row.location) < found.complete_km:
            assert row.uuid in seen
    eligible = [row for row in living if accepts(row)]
    if eligible and found.queries < MOST_QUERIES:  # the world was covered, or there were enough
        assert any(map(accepts, found.cloudlets))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 10))
def test_on_a_small_table_everything_is_found(seed, count):
    rng = random.Random(seed)
    rows = [cloudlet(seed + n, rng.choice([None, anywhere(rng)])) for n in range(count)]
    table = filled(rows)
    for device in (anywhere(rng), None):
        found = search(table, device)
        if device is not None or len({row.key.cell for row in rows}) <= 8:
            assert len(found.cloudlets) == count


def test_in_a_city_few_rows_are_read_and_the_near_ones_are_among_them():
    rng = random.Random(5)
    city = Location(40.44, -79.99)
    rows = [cloudlet(n, Location(rng.gauss(40.44, 0.05), rng.gauss(-79.99, 0.05))) for n in range(10_000)]
    found = search(filled(rows), city)
    assert found.queries <= 10
    assert len(found.cloudlets) <= 7 * ROWS_A_QUERY
    nearest = sorted(geo.distance_km(city, row.location) for row in rows)
    best = sorted(geo.distance_km(city, row.location) for row in found.cloudlets)
    assert found.complete_km > 0.1
    assert best[:5] == nearest[:5]


def test_reads_do_not_grow_with_the_table():
    queries = []
    for count in (1_000, 8_000):
        rng = random.Random(9)
        places = clumped(rng, count, 20)
        table = filled([cloudlet(n, place) for n, place in enumerate(places)])
        queries.append(sum(search(table, place).queries for place in places[:50]) / 50)
    assert queries[1] <= queries[0] * 1.2


def test_ten_thousand_at_one_place_are_no_trouble():
    place = Location(51.5, -0.12)
    found = search(filled([cloudlet(n, place) for n in range(10_000)]), place)
    assert found.queries <= 12
    assert len(found.cloudlets) >= ENOUGH


def test_in_an_empty_ocean_the_nearest_coast_is_found_first():
    rng = random.Random(1)
    coast = [cloudlet(n, Location(-33.9 + rng.random() / 10, 18.4)) for n in range(20)]
    far = [cloudlet(100 + n, Location(60, 2.5 * n)) for n in range(40)]
    found = search(filled(coast + far), Location(-38, 5))
    assert {row.uuid for row in coast} & {row.uuid for row in found.cloudlets}
    assert found.complete_km > 500


def test_where_nobody_near_accepts_others_are_found():
    near = [cloudlet(n, Location(40.44, -79.99 + n / 5000)) for n in range(500)]
    far = [cloudlet(1000 + n, Location(41.5, -81.7)) for n in range(3)]
    accepting = {row.uuid for row in far}
    found = search(filled(near + far), Location(40.44, -79.99), lambda row: row.uuid in accepting)
    assert accepting <= {row.uuid for row in found.cloudlets}


def test_the_newer_of_two_rows_counts():
    old, new = cloudlet(1, Location(10, 10)), cloudlet(1, Location(10.001, 10), sequence=5)
    assert old.key != new.key
    assert search(filled([old, new]), Location(10, 10)).cloudlets == [new]
    assert search(filled([new, old]), Location(10, 10)).cloudlets == [new]


def test_without_a_location_the_devices_own_network_is_found_among_many():
    rng = random.Random(3)
    rows = [cloudlet(n, None) for n in range(200)]
    rows += [cloudlet(1000 + n, None, (ip_network((rng.getrandbits(24) << 8, 24)),)) for n in range(200)]
    own = cloudlet(5000, None, (ip_network("193.0.14.0/24"),))
    located = [cloudlet(9000 + n, Location(1, 1)) for n in range(50)]
    for device in (None, Location(1, 1), Location(-60, 100)):
        found = search(filled([*rows, own, *located]), device)
        assert own.uuid in {row.uuid for row in found.cloudlets}
        assert found.queries <= MOST_QUERIES


def test_those_nowhere_are_not_always_the_same():
    table = filled([cloudlet(n, None) for n in range(500)])
    seen = {row.uuid for seed in range(60) for row in search(table, Location(1, 1), seed=seed).cloudlets}
    assert len(seen) > 300


def test_expired_rows_are_not_there():
    table = filled([cloudlet(n, Location(5, 5), alive=False) for n in range(5)])
    assert search(table, Location(5, 5)).cloudlets == []


def test_stale_rows_are_apart_and_never_count_as_enough():
    rng = random.Random(2)
    stale = [cloudlet(n, Location(5, 5 + rng.random() / 100), alive=False) for n in range(30)]
    gone = [cloudlet(100 + n, Location(5, 5), expires_at=NOW - STALE_SECONDS) for n in range(5)]
    living = [cloudlet(200 + n, Location(6.5, 5)) for n in range(3)]
    found = search(filled([*stale, *gone, *living]), Location(5, 5))
    assert {row.uuid for row in found.cloudlets} == {row.uuid for row in living}
    assert {row.uuid for row in found.stale} == {row.uuid for row in stale}


def test_draining_rows_are_not_offered_at_all():
    rows = [cloudlet(n, Location(5, 5), draining=True, alive=n % 2 == 0) for n in range(6)]
    found = search(filled([*rows, cloudlet(9, Location(5.1, 5))]), Location(5, 5))
    assert [row.draining for row in found.cloudlets] == [False]
    assert found.stale == []


def test_an_older_row_does_not_come_back_where_the_newer_one_drains():
    old, new = cloudlet(1, Location(10, 10)), cloudlet(1, Location(10.01, 10), sequence=5, draining=True)
    found = search(filled([old, new]), Location(10, 10))
    assert found.cloudlets == found.stale == []


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([3, 30, 300]), st.sampled_from([0, 2000]))
def test_a_realm_is_searched_as_if_it_were_alone(seed, count, crowd):
    rng = random.Random(seed)
    places = clumped(rng, count, 3)
    own = [cloudlet(seed + n, place, realm="acme") for n, place in enumerate(places)]
    others = [cloudlet(seed + 10_000 + n, rng.choice(places)) for n in range(crowd)]
    device = rng.choice([*places, anywhere(rng), None])
    alone = [replace(row, key=row_key(row.uuid, row.location)) for row in own]
    among = Neighbourhood(filled([*own, *others]), lambda: NOW, random.Random(1))
    found = among.around(device, CLIENT, EVERYBODY, ENOUGH, "acme")
    expected = Neighbourhood(filled(alone), lambda: NOW, random.Random(1)).around(
        device, CLIENT, EVERYBODY, ENOUGH
    )
    assert {row.uuid for row in found.cloudlets} == {row.uuid for row in expected.cloudlets}
    assert all(row.realm == "acme" for row in found.cloudlets)
    assert found.queries == expected.queries
    assert found.complete_km == expected.complete_km


@pytest.mark.parametrize("one_in", [20, 500])
def test_in_a_city_of_ten_thousand_few_that_fit_are_found(one_in):
    rng = random.Random(one_in)
    city = Location(35.7, 139.7)
    rows = [cloudlet(n, Location(rng.gauss(35.7, 0.05), rng.gauss(139.7, 0.05))) for n in range(10_000)]
    fitting = {row.uuid for row in rows if rng.randrange(one_in) == 0}
    found = search(filled(rows), city, lambda row: row.uuid in fitting)
    mine = [geo.distance_km(city, row.location) for row in found.cloudlets if row.uuid in fitting]
    assert len(mine) >= (ENOUGH if one_in == 20 else 1)
    assert min(mine) < (1 if one_in == 20 else 12)
    assert found.complete_km > 0.1


@pytest.mark.parametrize("dead", [100, 300, 3_000])
def test_the_dead_do_not_hide_the_living(dead):
    rng = random.Random(dead)
    near = [Location(48.85 + rng.gauss(0, 0.02), 2.35 + rng.gauss(0, 0.02)) for _ in range(dead)]
    rows = [cloudlet(number, place, alive=False) for number, place in enumerate(near)]
    found = search(filled([*rows, cloudlet(dead, Location(48.86, 2.36))]), Location(48.85, 2.35))
    assert len(found.cloudlets) == 1


intervals = st.tuples(st.integers(0, 20), st.integers(0, 20)).map(sorted)


@given(st.lists(intervals, max_size=6), intervals)
def test_gaps_are_what_was_not_read(read, wanted):
    coverage = Coverage()
    for low, high in read:
        coverage.add("cell", f"{low:02}", f"{high:02}")
    gaps = coverage.gaps("cell", f"{wanted[0]:02}", f"{wanted[1]:02}")
    for place in range(21):
        inside = any(low <= f"{place:02}" <= high for low, high in gaps)
        needed = wanted[0] <= place <= wanted[1] and not any(low <= place <= high for low, high in read)
        assert inside or not needed
        if inside and not needed:  # only where a gap ends
            assert f"{place:02}" in {edge for gap in gaps for edge in gap}


def test_a_partition_is_read_only_when_all_of_it_is():
    coverage = Coverage()
    assert not coverage.has("cell")
    coverage.add("cell", FIRST, "5")
    assert not coverage.has("cell")
    coverage.add("cell", "5", LAST)
    assert coverage.has("cell")


def test_ranges_of_siblings_are_one():
    cells = sorted(geo.h3.cell_to_children("85283473fffffff", 6))
    (intervals_,) = ranges(cells).values()
    assert len(intervals_) == 1


def test_the_cache_remembers_for_two_seconds_and_stays_small():
    time = [0.0]
    table = filled([cloudlet(1, Location(1, 1))])
    places = CachedPlaces(table, lambda: time[0])
    cell = table.occupied(NOW)[0]
    table.operations.clear()
    first = places.read(cell, FIRST, LAST, limit=5)
    table.put(cloudlet(2, Location(1, 1)))
    table.operations.clear()
    assert places.read(cell, FIRST, LAST, limit=5) is first
    assert places.occupied(NOW) == places.occupied(NOW) == [cell]
    assert table.operations == ["query"]
    time[0] = 2.5
    assert len(places.read(cell, FIRST, LAST, limit=5).rows) == 2


def test_the_cache_is_bounded_in_rows():
    table = filled([cloudlet(n, Location(1, 1)) for n in range(100)])
    cell = table.occupied(NOW)[0]
    places = CachedPlaces(table, lambda: 0.0, most_rows=250)
    for number in range(1000):
        places.read(cell, FIRST, f"{number}", limit=50)
        places.read("nobody", FIRST, f"{number}", limit=50)
        places.pointers("net", FIRST, f"{number}", limit=50)
        assert places._rows <= 250
    assert len(places._known) <= 250 / 4
    assert places._rows == sum(rows for _, rows, _ in places._known.values())
    table.operations.clear()
    places.read("nobody", FIRST, "999", limit=50)
    assert table.operations == []


@pytest.mark.parametrize("away", ["places", "directory"])
def test_the_cache_does_not_hide_that_the_table_is_away(away):
    table = filled([])
    table.away = True
    places = CachedPlaces(table, lambda: 0.0)
    with pytest.raises(Exception, match="can't be reached"):
        places.occupied(NOW) if away == "directory" else places.read("x", FIRST, LAST, limit=1)
