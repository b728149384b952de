"""The order of targets after they were tried: pure, called by `choose.py`.

An app waits for whole round trips, so what counts is how long one takes as a rule: the least that was seen,
and part of the jitter above it, as far as this device itself does not explain that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from device_sdk.choosing.result import Measured

_OWN_JITTER_MS = 2.0  # of a device with something else to do
_JITTER_WEIGHT = 0.25  # few round trips tell the least of them well, and their spread badly
_TIE_MS, _TIE_RATIO = 1.0, 0.1  # what nobody feels, and what comes out otherwise the next time
_THROUGHPUT_STEP = 1.5  # short transfers tell no finer
_BITS_OF_MEGABYTE_MS = 8000.0  # megabytes over megabits a second, in milliseconds


def ranked(measured: Sequence[Measured], weigh: float = 0.0) -> list[Measured]:
    """The best first. `weigh` is how many megabytes one operation of the app moves: with 0 only round trips
    count, and throughput decides between targets that are as near.

    Then come those that answered and could not be measured, by what is remembered of them; then the others.
    Among equals the order in which they came stays, which is the root's.
    """
    known = [one for one in measured if one.error is None and _figure(one) is not None]
    unmeasured = [one for one in measured if one.usable and _figure(one) is None]
    failed = [one for one in measured if not one.usable]
    return [*_by_cost(known, weigh), *sorted(unmeasured, key=_remembered), *sorted(failed, key=_remembered)]


def near_best(measured: Sequence[Measured]) -> list[Measured]:
    """Those whose round trips don't tell them from the best."""
    known = [one for one in measured if one.error is None and one.rtt_ms is not None]
    if not known:
        return []
    limit = _tied(min(_round_trip(one) for one in known))
    return [one for one in known if _round_trip(one) <= limit]


def _by_cost(known: Sequence[Measured], weigh: float) -> list[Measured]:
    speeds = [one.throughput_mbps for one in known if one.throughput_mbps]
    slowest = min(speeds, default=None)

    def cost(one: Measured) -> float:
        if one.cost is not None:
            return one.cost
        speed = one.throughput_mbps or slowest  # the benefit of the doubt would favour what fails
        return _round_trip(one) + (weigh * _BITS_OF_MEGABYTE_MS / speed if speed else 0.0)

    by_cost = sorted(known, key=cost)
    if not by_cost or by_cost[0].cost is not None:
        return by_cost  # the app's own figure is as good as it says
    limit = _tied(cost(by_cost[0]))
    ties = [one for one in known if cost(one) <= limit]
    return [*sorted(ties, key=_second_thoughts), *(one for one in by_cost if one not in ties)]


def _second_thoughts(one: Measured) -> tuple[float, float]:
    speed = one.throughput_mbps
    step = round(math.log(speed, _THROUGHPUT_STEP)) if speed else -math.inf
    return -step, _remembered(one)


def _figure(one: Measured) -> float | None:
    return one.rtt_ms if one.cost is None else one.cost


def _round_trip(one: Measured) -> float:
    return (one.rtt_ms or 0.0) + _JITTER_WEIGHT * max(0.0, (one.jitter_ms or 0.0) - _OWN_JITTER_MS)


def _remembered(one: Measured) -> float:
    return math.inf if one.remembered_ms is None else one.remembered_ms


def _tied(cost: float) -> float:
    return cost + max(_TIE_MS, _TIE_RATIO * cost)
