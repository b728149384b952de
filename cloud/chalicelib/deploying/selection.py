"""Which cloudlets a device may be sent to, and in which order.

Called by `deploy.py` and `standing.py`; calls the search of each realm that serves the app, and the app's
matchers. Cloudlets whose lease has ended come last, and only where there are not enough others.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from chalicelib.accounts.apps import App
from chalicelib.choosing.chooser import Chooser
from chalicelib.choosing.estimate import expected_ms
from chalicelib.choosing.matching import ClientInfo, accepts
from chalicelib.deploying.setbacks import Setbacks
from chalicelib.errors import NoCloudlet, Unavailable
from chalicelib.fleet.cloudlets import STALE_SECONDS, Cloudlet
from chalicelib.fleet.neighbourhood import Neighbourhood

ENOUGH = 12  # candidates to choose from
# A cloudlet that was chosen earlier is left for one that is better by so much: moving costs a cold start.
_WORSE_RATIO = 2.0
_WORSE_MS = 10.0
_log = logging.getLogger(__name__)


class Finder(Protocol):
    """What a selection needs of the table; see `cloudlet_table.DynamoCloudletTable`."""

    def find(self, uuid: UUID) -> list[Cloudlet]:
        """The rows of one cloudlet: one, none, or for moments two."""


@dataclass(frozen=True, slots=True)
class Offer:
    """The candidates, the best first: those that live, then those whose lease has ended.

    `more`: others may be further away. `fallback` says why the app's own matcher did not choose.
    """

    fresh: list[Cloudlet]
    stale: list[Cloudlet]
    more: bool
    fallback: str | None = None

    @property
    def cloudlets(self) -> list[Cloudlet]:
        """All of them."""
        return [*self.fresh, *self.stale]


@dataclass(frozen=True, slots=True)
class Selection:
    """Selections from one table, whose answers `near` remembers for seconds. `clock`: seconds since 1970."""

    near: Neighbourhood
    near_now: Neighbourhood
    finder: Finder
    chooser: Chooser
    setbacks: Setbacks
    clock: Callable[[], float]

    def offer(
        self,
        app: App,
        client: ClientInfo,
        recorded: Sequence[UUID] = (),
        without: Collection[UUID] = (),
    ) -> Offer:
        """The candidates; of the `recorded` cloudlets those that still may serve are among them.

        Those of `without` are not, and those that failed a moment ago only where nothing else is left.
        Raises `Unavailable`.
        """
        avoided = self.setbacks.failing(app.uuid)
        for where in (self.near, self.near_now):  # what the cache remembers may be seconds old
            offer = self._offer(where, app, client, recorded, without, avoided)
            if offer.fresh:
                return offer
            if avoided:
                offer = self._offer(where, app, client, recorded, without, frozenset())
                if offer.fresh:
                    return offer
        return offer

    def demanded(self, app: App, client: ClientInfo, recorded: Sequence[UUID] = ()) -> Offer:
        """The same for the first look at an app. Raises `NoCloudlet` where there is nothing."""
        offer = self.offer(app, client, recorded)
        if not offer.cloudlets:
            raise NoCloudlet("No living cloudlet accepts this device and meets what it and the app require.")
        return offer

    def closest(self, client: ClientInfo) -> list[Cloudlet]:
        """The shared cloudlets that would answer soonest, whatever runs there. Raises `NoCloudlet`."""
        for where in (self.near, self.near_now):
            found = where.around(client.location, client.ipaddress, lambda row: accepts(client, row), ENOUGH)
            eligible = [row for row in found.cloudlets if accepts(client, row)]
            if eligible:
                informed = self.chooser.informed(client, eligible)
                return sorted(eligible, key=lambda row: expected_ms(informed, row))
        raise NoCloudlet("No living cloudlet accepts this device.")

    def find(self, uuids: Sequence[UUID]) -> list[Cloudlet]:
        """The newest rows of these cloudlets, as far as there are any and the table can be asked."""
        found = []
        for uuid in uuids:
            try:
                rows = self.finder.find(uuid)
            except Unavailable:
                _log.warning("a recorded cloudlet can't be looked up", extra={"cloudlet_uuid": str(uuid)})
                continue
            if rows:
                found.append(max(rows, key=lambda row: row.age))
        return found

    def may_serve(self, app: App, client: ClientInfo, row: Cloudlet) -> bool:
        """Whether a cloudlet takes the device, which takes it, serves the app, and has what is required."""
        wanted = row.uuid not in client.avoid and client.cloudlet in (None, row.uuid)
        usable = row.realm in _realms(app) and not row.draining and wanted
        return usable and self.chooser.eligible(client, app, row)

    def still_good(self, client: ClientInfo, rows: Sequence[Cloudlet]) -> set[UUID]:
        """Those that are not clearly worse than the first, the best one now."""
        informed = self.chooser.informed(client, rows)
        limit_ms = _WORSE_RATIO * expected_ms(informed, rows[0]) + _WORSE_MS
        return {row.uuid for row in rows if expected_ms(informed, row) <= limit_ms}

    def is_stale(self, row: Cloudlet) -> bool:
        """Whether its lease has ended."""
        return row.expires_at <= self.clock()

    def _offer(
        self,
        where: Neighbourhood,
        app: App,
        client: ClientInfo,
        recorded: Sequence[UUID],
        without: Collection[UUID],
        avoided: Collection[UUID],
    ) -> Offer:
        def eligible(row: Cloudlet) -> bool:
            left_out = row.uuid in without or row.uuid in avoided
            return not left_out and self.may_serve(app, client, row)

        rows: dict[UUID, Cloudlet] = {}
        named = [] if client.cloudlet is None else [client.cloudlet]
        for realm in () if named else _realms(app):
            found = where.around(client.location, client.ipaddress, eligible, ENOUGH, realm)
            for row in filter(eligible, [*found.cloudlets, *found.stale]):
                _keep_newer(rows, row)
        more = sum(not self.is_stale(row) for row in rows.values()) >= ENOUGH
        others = [uuid for uuid in named or recorded if uuid not in rows]
        for row in self.find([uuid for uuid in others if uuid not in without]):
            if row.expires_at + STALE_SECONDS > self.clock() and self.may_serve(app, client, row):
                rows[row.uuid] = row
        living = [row for row in rows.values() if not self.is_stale(row)]
        candidates = living if len(living) >= ENOUGH else list(rows.values())
        choice = self.chooser.order(client, app, candidates)
        return Offer(
            fresh=[row for row in choice.cloudlets if not self.is_stale(row)],
            stale=[row for row in choice.cloudlets if self.is_stale(row)],
            more=more,
            fallback=choice.fallback,
        )


def _realms(app: App) -> tuple[str, ...]:
    """Whose cloudlets serve an app: its tenant's own, and the shared ones."""
    if not app.tenant:
        return ("",)
    return (app.tenant, "") if app.uses_shared else (app.tenant,)


def _keep_newer(rows: dict[UUID, Cloudlet], row: Cloudlet) -> None:
    known = rows.get(row.uuid)
    if known is None or known.age < row.age:
        rows[row.uuid] = row
