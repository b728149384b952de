"""The use case: an app has several targets and wants the tunnel to the best of them.

Called by the app, `sinfonia run` and associations; calls `measuring.py` for the order, `side_by_side.py` for
the ways. The others are given back at once, through their tunnels and at the root (`surplus.py`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from device_sdk.background import Pending
from device_sdk.choosing.means import Means
from device_sdk.choosing.measuring import Measuring
from device_sdk.choosing.result import Chosen, Measured
from device_sdk.choosing.side_by_side import Room, SideBySide
from device_sdk.choosing.surplus import Surplus
from device_sdk.choosing.trial import Test, Trial
from device_sdk.errors import DeploymentError, RequestError, SinfoniaError, TunnelError
from device_sdk.fields import WireError, number
from device_sdk.keys import state_folder
from device_sdk.progress import OnProgress, Reporter
from device_sdk.target import Target
from device_sdk.tunnels.tunnel import READY_SECONDS, Tunnel

TIMEOUT_SECONDS = 3.0
_MOST_MEGABYTES = 1e6
_KNOWN = ("first", "random", "fastest")


@dataclass(frozen=True)
class Custom:
    """Choosing by a test of the app's own. Made by `custom`."""

    test: Test


How = Literal["first", "random", "fastest"] | Custom


def custom(test: Test) -> Custom:
    """Choose by `test`, which is run for every target at once, in threads, when its backend is ready.

    It gets a `Trial`: `connect` and `fetch` go through that target's tunnel. It returns a cost, the least
    being the best, or raises to say that the target is of no use. The `timeout` of `choose` bounds the wait
    for the backends and the tests together: give it what a backend takes to start.
    """
    return Custom(test)


def choose(
    targets: Sequence[Target],
    how: How = "fastest",
    *,
    timeout: float = TIMEOUT_SECONDS,
    ready_timeout: float = READY_SECONDS,
    weigh: float = 0.0,
    beside: Room | None = None,
    on_progress: OnProgress | None = None,
    means: Means | None = None,
) -> Chosen:
    """Open the tunnel to one of `targets`; the others are given back in the background.

    `how`: `first` that answers, in the order given; one at `random`; the `fastest`, measured through all
    their tunnels at once; or `custom(test)`. Opening the tunnels and measuring take at most `timeout` seconds
    from the call on, and who is late loses. A device that takes more than half of that to open them measures
    those that it has; where no time is left for that, the order given stands. One tunnel is always opened.
    The best whose backend is ready within `ready_timeout` seconds is taken; 0 does not wait for that.
    `weigh`: how many megabytes one operation of the app moves (`fastest`: 0 counts round trips only, and
    throughput where those are the same). What was measured is told to the root if the call that found the
    targets agreed to that, and kept on this device for the next time.

    With `beside`, an open sandbox, the ways are made in there, and the chosen one stands by: its tunnel is
    for `connect`, and the caller makes its `way` lead. What is used beside may be the root's as well; so the
    root hears nothing then.

    Raises `RequestError`, `DeviceError`, `DeploymentError` if no backend runs, and else `TunnelError` with
    what every target did.
    """
    _check(targets, how, timeout, ready_timeout, weigh)
    means = means or Means(state_folder(os.environ))
    ways = SideBySide(means.open_ways, beside, means.clock)
    report = Reporter(on_progress, means.clock)
    try:
        order = _order(targets, how, ways, means, report, timeout, weigh)
        tells_root = means.tells_root and beside is None
        taking = _Taking(ways, means, report, timeout, ready_timeout, on_progress, tells_root)
        return taking.best(order)
    except BaseException:
        ways.close()
        raise


def _check(targets: Sequence[Target], how: How, timeout: float, ready_timeout: float, weigh: float) -> None:
    if not targets:
        raise RequestError("targets: must hold at least one.")
    if not isinstance(how, Custom) and how not in _KNOWN:
        raise RequestError(f"choose: must be {', '.join(_KNOWN)} or custom(test).")
    try:
        number(timeout, "timeout", 0.001, 3600)
        number(ready_timeout, "ready_timeout", 0, 3600)
        number(weigh, "weigh", 0, _MOST_MEGABYTES)
    except WireError as error:
        raise RequestError(f"{error}.") from error


def _order(
    targets: Sequence[Target],
    how: How,
    ways: SideBySide,
    means: Means,
    report: Reporter,
    timeout: float,
    weigh: float,
) -> list[Measured]:
    """The targets, the best first."""
    if how == "first" or (how == "fastest" and len(targets) == 1):
        return [Measured(target) for target in targets]
    if how == "random":
        drawn = means.chance.sample(range(len(targets)), len(targets))
        return [Measured(targets[index]) for index in drawn]
    measuring = Measuring(targets, ways, means, report, timeout)
    with report.phase("choosing"):
        order = measuring.by_test(how.test) if isinstance(how, Custom) else measuring.by_speed(weigh)
        report.note("choosing", "; ".join(map(str, order)))
    return order


@dataclass(frozen=True)
class _Taking:
    """Taking the best that can be taken."""

    ways: SideBySide
    means: Means
    report: Reporter
    timeout: float
    ready_timeout: float
    on_progress: OnProgress | None
    tells_root: bool

    def best(self, order: Sequence[Measured]) -> Chosen:
        """The first of `order` that is fit for use. Raises what went wrong with all of them."""
        problems: dict[str, SinfoniaError] = {}
        usable = [one for one in order if one.usable]
        for one in usable:
            try:
                trial = self._opened(one, last=one is usable[-1])
                if self.ready_timeout:
                    trial.tunnel.wait_ready(self.ready_timeout, self.on_progress)
                    trial.told()
                tunnel = self.ways.take(trial)
            except (DeploymentError, TunnelError) as error:
                problems[one.target.place] = error
                continue
            return self._chosen(tunnel, one, order, trial)
        raise _problem(order, problems)

    def _chosen(self, tunnel: Tunnel, one: Measured, order: Sequence[Measured], trial: Trial) -> Chosen:
        losers = [other.target for other in order if other is not one]
        keep = next((each.target.keep for each in order if each.target.keep), None)
        surplus = Surplus([self.ways.release(target) for target in losers], keep if losers else None)
        ends: list[Pending[Any]] = list(surplus.releases)
        if self.tells_root and surplus.keep is not None:
            ends.append(Pending(lambda: surplus.tell_root(one.target), "sinfonia-keep"))
        return Chosen(tunnel, one.target, tuple(order), trial.way, surplus, ends)

    def _opened(self, one: Measured, *, last: bool) -> Trial:
        clock = self.means.clock
        if one.method != "none":
            return self.ways.trial(one.target)
        # With another to go to, nobody waits a minute for a gateway that does not answer at all.
        patience = min(self.timeout, self.ready_timeout or self.timeout)
        with self.report.phase("tunnel", one.target.deployment.tunnel.endpoint):
            until = clock() + patience
            trial = self.ways.trial(one.target)
            if not last and not trial.answers(until):
                raise TunnelError(f"its gateway did not answer within {patience:g} s.")
        return trial


def _problem(order: Sequence[Measured], problems: Mapping[str, SinfoniaError]) -> SinfoniaError:
    """One error for all that went wrong."""
    if len(order) == 1 and problems:
        return next(iter(problems.values()))
    reasons = {one.target.place: one.error for one in order if one.error is not None}
    reasons |= {place: str(error).rstrip(".") for place, error in problems.items()}
    told = "; ".join(f"{place}: {reason}" for place, reason in reasons.items())
    if any(isinstance(problem, DeploymentError) for problem in problems.values()):
        return DeploymentError(f"No backend runs: {told}.")
    return TunnelError(f"None of {len(order)} cloudlets can be used: {told}.")
