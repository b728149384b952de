"""The matchers that come with a root, and those that are installed besides.

Called by `chooser.py`. Others are entry points of the group `sinfonia.tier1_matchers`, as the published
Sinfonia has them. What a matcher is, `matching.py` says.
"""

import random
from bisect import bisect_right
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points

from chalicelib.accounts.recipes import Recipe
from chalicelib.choosing.estimate import expected_ms
from chalicelib.choosing.matcher_names import GROUP
from chalicelib.choosing.matching import ClientInfo, Matcher, accepts, client_distance_km, is_local
from chalicelib.fleet.cloudlets import Cloudlet

# Estimates this near to the best one are as good: loads are a keepalive old, distances no round trips.
_NEAR_EQUAL_MS = 3.0
_NEAR_EQUAL_RATIO = 1.2


def match_network(client: ClientInfo, _recipe: Recipe, cloudlets: list[Cloudlet]) -> Iterator[Cloudlet]:
    """Veto those that don't accept the client; yield those on whose own network it is, the soonest first."""
    cloudlets[:] = [cloudlet for cloudlet in cloudlets if accepts(client, cloudlet)]
    local = [each for each in cloudlets if is_local(client, each)]
    if local:
        cloudlets[:] = [each for each in cloudlets if not is_local(client, each)]
        yield from sorted(local, key=lambda each: expected_ms(client, each))


def match_location(client: ClientInfo, _recipe: Recipe, cloudlets: list[Cloudlet]) -> Iterator[Cloudlet]:
    """The nearest first; those at unknown places are left for the next matcher."""
    by_distance = [(client_distance_km(client, each), each) for each in cloudlets]
    cloudlets[:] = [each for km, each in by_distance if km is None]
    known = [(km, each) for km, each in by_distance if km is not None]
    known.sort(key=lambda pair: pair[0])
    for _, each in known:
        yield each


def match_load(client: ClientInfo, _recipe: Recipe, cloudlets: list[Cloudlet]) -> Iterator[Cloudlet]:
    """Where a request would be answered soonest, by `expected_ms`."""
    return _all_by(lambda each: expected_ms(client, each), cloudlets)


def match_price(client: ClientInfo, _recipe: Recipe, cloudlets: list[Cloudlet]) -> Iterator[Cloudlet]:
    """The cheapest first; those that name no price ask for none. Of equal ones the soonest."""
    return _all_by(lambda each: (each.price or 0.0, expected_ms(client, each)), cloudlets)


def match_trust(client: ClientInfo, _recipe: Recipe, cloudlets: list[Cloudlet]) -> Iterator[Cloudlet]:
    """The best known first. Of equally well known ones the soonest."""
    return _all_by(lambda each: (-each.trust, expected_ms(client, each)), cloudlets)


def _all_by(
    key: Callable[[Cloudlet], float | tuple[float, float]], cloudlets: list[Cloudlet]
) -> Iterator[Cloudlet]:
    ordered = sorted(cloudlets, key=key)
    cloudlets.clear()
    yield from ordered


def spread_matcher(chance: random.Random) -> Matcher:
    """A matcher like `load` that takes the better of two at random among those about as good as the best.

    Everybody sees loads that are as old as the last keepalive: if all took the best, it would be overrun
    (Mitzenmacher, "How Useful Is Old Information?", 2000).
    """

    def match_spread(client: ClientInfo, _recipe: Recipe, cloudlets: list[Cloudlet]) -> Iterator[Cloudlet]:
        timed = sorted(((expected_ms(client, each), each) for each in cloudlets), key=lambda pair: pair[0])
        cloudlets.clear()
        times, left = [ms for ms, _ in timed], [each for _, each in timed]
        while left:
            near = bisect_right(times, max(times[0] + _NEAR_EQUAL_MS, times[0] * _NEAR_EQUAL_RATIO))
            two = chance.randrange(near), chance.randrange(near)  # where both are one, that one
            place = min(two, key=times.__getitem__)
            del times[place]
            yield left.pop(place)

    return match_spread


def random_matcher(chance: random.Random) -> Matcher:
    """A matcher that yields all in any order."""

    def match_random(_client: ClientInfo, _recipe: Recipe, cloudlets: list[Cloudlet]) -> Iterator[Cloudlet]:
        shuffled = chance.sample(cloudlets, len(cloudlets))
        cloudlets.clear()
        yield from shuffled

    return match_random


def built_in_matchers(chance: random.Random) -> dict[str, Matcher]:
    """By name."""
    return {
        "network": match_network,
        "location": match_location,
        "load": match_load,
        "price": match_price,
        "trust": match_trust,
        "spread": spread_matcher(chance),
        "random": random_matcher(chance),
    }


def installed_matcher(name: str) -> Matcher | None:
    """The entry point of this name, loaded. Raises whatever its module raises."""
    for entry in entry_points(group=GROUP, name=name):
        matcher: Matcher = entry.load()
        return matcher
    return None
