"""Beginning an association: the first place, and what later ones are found with. Called by the app and
`sinfonia associate`; calls `deploy.py`, `choosing`, and makes the parts of `association.py`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from device_sdk.associating.association import Association, Waiting
from device_sdk.associating.events import Announcer, OnEvent
from device_sdk.associating.keeper import Keeper
from device_sdk.associating.place import Place, Ways
from device_sdk.associating.search import MOST_AVOIDED, Choice, Search, Source, Wanted
from device_sdk.associating.surroundings import Surroundings
from device_sdk.associating.vitals import Patience
from device_sdk.bundles.bundle import Bundle
from device_sdk.calls.call import Parts
from device_sdk.calls.deploy import TIMEOUT_SECONDS, deploy_backend, find_cloudlets
from device_sdk.calls.sources import Jit
from device_sdk.choosing.choose import How
from device_sdk.choosing.choose import choose as choose_target
from device_sdk.choosing.means import Means
from device_sdk.choosing.result import Chosen
from device_sdk.choosing.side_by_side import OpenWays, Room
from device_sdk.context import DeviceContext, Requirements
from device_sdk.keys import KeyPair, state_folder
from device_sdk.nearby.paired import JitTrust
from device_sdk.progress import OnProgress
from device_sdk.target import Target
from device_sdk.tunnels.routes import TunnelPlan
from device_sdk.tunnels.tunnel import READY_SECONDS
from device_sdk.uptime import boot_clock
from device_sdk.wire import MAX_RESULTS, Candidate, Location

_SEARCH_SECONDS = 10.0  # a root that takes longer is asked again


def _open_ways(plan: TunnelPlan, key: KeyPair) -> Any:
    from device_sdk.tunnels.wireguard import WireGuardLink

    return WireGuardLink(plan, key)


def associate(
    root_url: str,
    app_uuid: UUID | str,
    *,
    choose: How = "first",
    results: int | None = None,
    jit: Jit = "prefer",
    jit_trust: JitTrust = "open",
    location: Location | tuple[float, float] | None = None,
    context: DeviceContext | None = None,
    requirements: Requirements | None = None,
    values: Mapping[str, Any] | None = None,
    bundle: Bundle | None = None,
    token: str | None = None,
    measurements: bool = True,
    timeout: float = TIMEOUT_SECONDS,
    ready_timeout: float = READY_SECONDS,
    patience: Patience | None = None,
    on_event: OnEvent | None = None,
    on_progress: OnProgress | None = None,
    parts: Parts | None = None,
    open_ways: OpenWays = _open_ways,
    waiting: Callable[[], Waiting] = Surroundings,
) -> Association:
    """Get the app's backend, and keep one: when its cloudlet is lost, drains or gets clearly worse, the app
    is taken to another one, whose tunnel is up before the old one is left.

    `choose` says how to choose among the `results` (1 for `first`, else 3) that the root names: at first, and
    for each move that leaves time for it, which are those from a cloudlet that drains or has become slow, and
    `prepare()`. Where the cloudlet is lost, the first is taken that answers. `patience` says when to act.
    `on_event` hears what happens, in a thread of the association's own. The other
    arguments are those of `deploy_backend`. Roots that can't be reached change nothing while the backend
    answers. `on_progress` hears of the first place alone.

    Returns when the backend is ready, within `ready_timeout` seconds. Raises the errors of `errors.py`.
    """
    patience = patience or Patience()
    parts = parts or Parts(state_folder(os.environ))
    search_seconds = timeout if bundle else _SEARCH_SECONDS  # handing one over takes its time
    wanted = results or (1 if choose == "first" else MAX_RESULTS)
    where = location if location is None or isinstance(location, Location) else Location(*location)

    def targets(
        asked: Wanted, seconds: float | None = None, on_progress: OnProgress | None = None
    ) -> list[Target]:
        told = context or DeviceContext()
        avoid = tuple(dict.fromkeys([*asked.avoid, *told.avoid]))[:MOST_AVOIDED]
        return deploy_backend(
            root_url,
            app_uuid,
            results=asked.results,
            jit=jit,
            jit_trust=jit_trust,
            location=asked.location or where,
            context=replace(told, avoid=avoid, cloudlet=asked.cloudlet or told.cloudlet),
            requirements=requirements,
            values=values,
            bundle=bundle,
            token=token,
            measurements=measurements,
            timeout=min(seconds or search_seconds, timeout),
            on_progress=on_progress,
            parts=parts,
        )

    def candidates(moved: Location | None) -> list[Candidate]:
        return find_cloudlets(
            root_url,
            app_uuid,
            jit=jit,
            jit_trust=jit_trust,
            location=moved or where,
            token=token,
            timeout=min(_SEARCH_SECONDS, timeout),
            parts=parts,
        )

    def choose_beside(found: Sequence[Target], room: Room) -> Chosen:
        means = Means(parts.state, open_ways=open_ways, clock=parts.clock)
        return choose_target(found, choose, ready_timeout=patience.ready, beside=room, means=means)

    first = targets(Wanted(results=wanted), timeout, on_progress)
    chosen, ways = _first_place(first, choose, ready_timeout, parts, open_ways, on_progress)
    place = Place(chosen.target, chosen.way, boot_clock)
    choice = Choice(wanted, choose_beside)
    search = Search(Source(targets, candidates), ways, boot_clock, patience.ready, choice)
    search.note_surplus(chosen.surplus)
    announcer = Announcer(on_event, time.time)
    keeper = Keeper(place, ways, search, announcer, boot_clock, patience)
    return Association(place, ways, search, keeper, announcer, waiting())


def _first_place(
    targets: Sequence[Target],
    how: How,
    ready_timeout: float,
    parts: Parts,
    open_ways: OpenWays,
    on_progress: OnProgress | None,
) -> tuple[Chosen, Ways]:
    """The chosen one, ready, in a sandbox of its own."""
    opened: list[Any] = []

    def opening(plan: TunnelPlan, key: KeyPair) -> Any:
        opened.append(open_ways(plan, key))
        return opened[-1]

    means = Means(parts.state, open_ways=opening, clock=parts.clock, tells_root=False)
    chosen = choose_target(targets, how, ready_timeout=ready_timeout, on_progress=on_progress, means=means)
    return chosen, opened[-1]
