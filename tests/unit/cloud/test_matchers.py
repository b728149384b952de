"""The built-in matchers, each alone."""

import random
from collections import Counter

import pytest
from chalicelib.choosing.matcher_names import BUILT_IN
from chalicelib.choosing.matchers import (
    built_in_matchers,
    match_load,
    match_location,
    match_network,
    match_price,
    match_trust,
    spread_matcher,
)
from chalicelib.fleet.cloudlets import Trust
from chalicelib.fleet.geo import Location
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.cloud.candidates import RECIPE, client, cloudlet, numbers


def test_the_names_are_those_that_apps_may_use():
    assert tuple(built_in_matchers(random.Random(0))) == BUILT_IN


def test_network_yields_local_ones_the_soonest_first_and_vetoes():
    cloudlets = [
        cloudlet(1),
        cloudlet(2, local=["198.51.100.0/24"], use={"cpu_ratio": 0.9}),
        cloudlet(3, rejected=["198.51.100.0/24"], local=["198.51.100.0/24"]),
        cloudlet(4, local=["2001:db8::/32"]),
        cloudlet(5, local=["198.51.100.0/24"], use={"cpu_ratio": 0.1}),
    ]
    assert numbers(match_network(client(), RECIPE, cloudlets)) == [5, 2]
    assert numbers(cloudlets) == [1, 4]


def test_location_yields_the_nearest_first_and_leaves_the_unknown():
    cloudlets = [cloudlet(1, Location(50, 0)), cloudlet(2, None), cloudlet(3, Location(40.5, -80))]
    assert numbers(match_location(client(), RECIPE, cloudlets)) == [3, 1]
    assert numbers(cloudlets) == [2]
    assert list(match_location(client(location=None), RECIPE, cloudlets)) == []


def test_load_yields_the_soonest_first():
    cloudlets = [cloudlet(1, use={"cpu_ratio": 0.9}), cloudlet(2, use={"cpu_ratio": 0.1})]
    assert numbers(match_load(client(), RECIPE, cloudlets)) == [2, 1]
    assert cloudlets == []


def test_price_yields_the_cheapest_first_and_of_equals_the_soonest():
    cloudlets = [
        cloudlet(1, price=0.5),
        cloudlet(2, price=0.1, use={"cpu_ratio": 0.9}),
        cloudlet(3, price=0.1, use={"cpu_ratio": 0.1}),
        cloudlet(4),
    ]
    assert numbers(match_price(client(), RECIPE, cloudlets)) == [4, 3, 2, 1]


def test_trust_yields_the_best_known_first_and_of_equals_the_soonest():
    cloudlets = [
        cloudlet(1, trust=Trust.SIGNED),
        cloudlet(2, trust=Trust.LISTED, use={"cpu_ratio": 0.9}),
        cloudlet(3, trust=Trust.LISTED, use={"cpu_ratio": 0.1}),
        cloudlet(4),
    ]
    assert numbers(match_trust(client(), RECIPE, cloudlets)) == [3, 2, 1, 4]


def firsts(cloudlets, times=1000) -> Counter[int]:
    match_spread = spread_matcher(random.Random(3))
    return Counter(next(match_spread(client(), RECIPE, list(cloudlets))).uuid.int for _ in range(times))


def test_spread_makes_no_herd_of_those_who_see_the_same_old_load():
    """What 1,000 devices choose between two keepalives, when one of 20 near-equals looks best to all."""
    near_equal = [cloudlet(n, use={"cpu_ratio": 0.30 + n / 1000}) for n in range(20)]
    chosen = firsts(near_equal)
    assert max(chosen.values()) < 150  # who looks best of 20 gets 2/20; by load alone it would get all
    assert len(chosen) >= 18
    assert chosen[0] > chosen[18]  # and still the better one is more often taken


def test_spread_sends_some_to_each_of_two_and_as_many_to_each_of_equals():
    assert 150 < firsts([cloudlet(n, use={"cpu_ratio": 0.3 + n / 1000}) for n in (0, 1)])[1] < 350
    assert all(150 < times < 350 for times in firsts([cloudlet(n) for n in range(4)]).values())


def test_spread_takes_what_is_clearly_better():
    cloudlets = [cloudlet(n, use={"cpu_ratio": 0.8 if n else 0.1}) for n in range(4)]
    assert firsts(cloudlets[::-1]) == {0: 1000}


def test_spread_yields_all_each_once():
    cloudlets = [cloudlet(n, use={"cpu_ratio": n / 10}) for n in range(9)]
    left = list(cloudlets)
    found = numbers(spread_matcher(random.Random(5))(client(), RECIPE, left))
    assert left == []
    assert sorted(found) == list(range(9))
    assert found[-1] == 8


def test_random_takes_all_in_any_order():
    match_random = built_in_matchers(random.Random(7))["random"]
    orders = {
        tuple(numbers(match_random(client(), RECIPE, [cloudlet(n) for n in range(4)]))) for _ in range(50)
    }
    assert len(orders) > 10
    assert all(sorted(each) == [0, 1, 2, 3] for each in orders)


rows = st.builds(
    cloudlet,
    st.integers(0, 30),
    st.sampled_from([None, Location(40.4, -80), Location(-33, 151)]),
    st.sampled_from([(), ("198.51.100.0/24",)]),
    rejected=st.sampled_from([(), ("198.51.100.0/24",)]),
    use=st.fixed_dictionaries({}, optional={"cpu_ratio": st.floats(0, 1)}),
    price=st.none() | st.floats(0, 9),
    trust=st.sampled_from(Trust),
)


@pytest.mark.parametrize("name", BUILT_IN)
@settings(max_examples=40)
@given(st.lists(rows, unique_by=lambda row: row.uuid, max_size=12))
def test_every_matcher_yields_or_leaves_each_once_and_invents_none(name, given_rows):
    left = list(given_rows)
    yielded = list(built_in_matchers(random.Random(1))[name](client(), RECIPE, left))
    seen = numbers([*yielded, *left])
    assert len(seen) == len(set(seen))
    assert set(seen) <= set(numbers(given_rows))
    if name != "network":  # the only one that vetoes
        assert set(seen) == set(numbers(given_rows))
