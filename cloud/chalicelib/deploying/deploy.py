"""The deploy call: choose cloudlets, have them launch the backend, replace those that fail, remember where.

Called by the views; calls the apps, the selection, the records and, through `asking.py`, the agents:

1. Where a record says that the backend runs, those cloudlets are asked first, as long as they still are a
   good choice. Where another claim stands, its cloudlets are asked in its order. Else a claim is made.
2. Cloudlets are asked until there are enough successes; where all fail, others further away; stale ones last.
3. The record is settled. Where another deploy settled it first, the device is sent to where that one says.
4. What is not in the record is released: what was replaced, once the new backend is ready, and what came of
   questions that were given up.
"""

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from chalicelib.accounts.apps import App, AppBook
from chalicelib.choosing.matching import ClientInfo
from chalicelib.deploying.asking import Asking, Means, Success
from chalicelib.deploying.deployments import Deployment
from chalicelib.deploying.holds import Holds
from chalicelib.deploying.records import MOST_TARGETS, Record
from chalicelib.deploying.selection import Offer
from chalicelib.errors import DeployFailed, Unavailable
from chalicelib.fleet.cloudlets import Cloudlet

_FOLLOW_SECONDS = 1.5
_MOST_TURNS = 3  # of finding that the record was changed meanwhile


class Ledger(Protocol):
    """Where it is written down that a backend began; see `accounts/ledger.py`. It never fails."""

    def began(self, tenant: str, app: UUID, cloudlet: UUID, key: bytes, name: str | None) -> None:
        """A backend was started for the device with this key; `name` is what its cloudlet calls it."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """The deployments, the best cloudlet's first. `fallback`: why the app's own matcher did not choose."""

    deployments: list[Deployment]
    fallback: str | None = None


@dataclass(frozen=True, slots=True)
class Deployer:
    """What devices need to get a backend."""

    apps: AppBook
    means: Means
    ledger: Ledger
    holds: Holds

    def candidates(self, app_uuid: UUID, client: ClientInfo) -> Offer:
        """The cloudlets that a device's first deploy would ask; at least one.

        Raises `NotFound` for an unknown app, `NoCloudlet` where there is none.
        """
        return self.means.selection.demanded(self.apps.find(app_uuid), client)

    def closest(self, client: ClientInfo) -> list[Cloudlet]:
        """The shared cloudlets that would answer a device soonest; at least one. Raises `NoCloudlet`."""
        return self.means.selection.closest(client)

    def deploy(self, app_uuid: UUID, client: ClientInfo, results: int, wait_seconds: float) -> Deployed:
        """Up to `results` deployments; at least one.

        Raises what `candidates` raises, and `DeployFailed` where every cloudlet that was asked failed.
        """
        app = self.apps.find(app_uuid)
        with self.holds.granted(wait_seconds) as hold_seconds:
            asking = Asking(self.means, app, client, hold_seconds)
            try:
                return _Deploy(self.means, self.ledger, asking, app, client, results).run()
            finally:
                asking.over()


class _Deploy:
    """One call of a device."""

    def __init__(
        self, means: Means, ledger: Ledger, asking: Asking, app: App, client: ClientInfo, results: int
    ) -> None:
        self._means = means
        self._ledger = ledger
        self._asking = asking
        self._app = app
        self._client = client
        self._results = results
        self._rows: dict[UUID, Cloudlet] = {}

    def run(self) -> Deployed:
        """The call from beginning to end."""
        record = self._means.records.find(self._app.uuid, self._client.publickey)
        recorded = record.cloudlets if record is not None else ()
        offer = self._means.selection.demanded(self._app, self._client, recorded)
        self._remember(offer.cloudlets)
        if record is not None and not record.cloudlets:
            record = self._means.records.claim(record, [each.uuid for each in offer.cloudlets])
        staying = self._staying(record, offer)
        if record is not None:
            self._asking.trusted = record.targets
        found = self._ask(staying, offer)
        if not found:
            self._give_up(record)
        if record is not None:
            found = self._settle(record, found, staying)
        else:
            self._asking.release(self._asking.surplus)
        return Deployed([self._told(*each) for each in found], offer.fallback)

    def _look_up(self, uuids: Sequence[UUID]) -> list[Cloudlet]:
        """The rows of these cloudlets; what is not known yet is read from the table."""
        unknown = [uuid for uuid in uuids if uuid not in self._rows]
        self._remember(self._means.selection.find(unknown))
        return [self._rows[uuid] for uuid in uuids if uuid in self._rows]

    def _remember(self, rows: Iterable[Cloudlet]) -> None:
        self._rows.update({row.uuid: row for row in rows})

    def _staying(self, record: Record | None, offer: Offer) -> list[Cloudlet]:
        """Whom to ask first because of what the record says."""
        if record is None:
            return []
        if not record.targets:
            may_serve = self._means.selection.may_serve
            rows = self._look_up(record.claimed)
            return [row for row in rows if may_serve(self._app, self._client, row)]
        good = self._means.selection.still_good(self._client, offer.fresh or offer.stale)
        return [self._rows[uuid] for uuid in record.targets if uuid in good]

    def _ask(self, staying: Sequence[Cloudlet], offer: Offer) -> list[Success]:
        """Those that stay, the others that live, and after all of them those whose lease has ended."""
        is_stale = self._means.selection.is_stale
        fresh, stale = (
            [row for row in staying if not is_stale(row)],
            [row for row in staying if is_stale(row)],
        )
        found = self._asking.ask([*fresh, *_without(offer.fresh, staying)], self._results, offer)
        return found or self._asking.ask([*stale, *_without(offer.stale, staying)], self._results)

    def _give_up(self, record: Record | None) -> None:
        """Let nobody follow a claim that led nowhere, and say what happened."""
        if record is not None and not record.targets:
            with suppress(Unavailable):  # a claim expires by itself
                self._means.records.forget(record)
        failures = self._asking.failures
        raise DeployFailed(f"{len(failures)} cloudlets were asked: {'; '.join(failures)}")

    def _settle(self, record: Record, found: list[Success], staying: Sequence[Cloudlet]) -> list[Success]:
        """Write down where it runs, or go to where somebody else wrote that it runs."""
        targets = self._targets(record, found, staying)
        for _ in range(_MOST_TURNS):
            standing, ours = self._means.records.settle(record, targets)
            if standing is None:  # the table is away: nobody knows better
                break
            if ours:
                self._write_down(found, record.targets)
                self._release(record.targets, standing)
                break
            theirs = self._follow(standing, found) if standing.targets else []
            if theirs:
                self._release([row.uuid for row, _ in found], standing)
                return theirs
            record = standing
        return found

    def _targets(
        self, record: Record, found: Sequence[Success], staying: Sequence[Cloudlet]
    ) -> tuple[UUID, ...]:
        """Where it runs: where it did and was not asked now or succeeded again, and where else it was found.

        What is being replaced stays until the new backend is ready, so that a device never is without one.
        """
        now = [row.uuid for row, _ in found]
        lost = self._asking.lost
        kept = [row.uuid for row in staying if record.targets and row.uuid not in lost]
        ready = all(deployment.status == "Ready" for _, deployment in found)
        replaced = [] if ready else [uuid for uuid in record.targets if uuid not in lost]
        return tuple(dict.fromkeys([*kept, *now, *replaced]))[:MOST_TARGETS]

    def _follow(self, standing: Record, found: list[Success]) -> list[Success]:
        """What another deploy of the same device was led to; what was found here if that is among it."""
        if {row.uuid for row, _ in found} <= set(standing.targets):
            return found
        self._asking.extend(_FOLLOW_SECONDS)
        rows = self._look_up(standing.targets)
        return self._asking.ask(rows, min(self._results, len(rows)))

    def _write_down(self, found: Sequence[Success], before: Collection[UUID]) -> None:
        app, key = self._app, self._client.publickey
        for cloudlet, deployment in found:
            if cloudlet.uuid not in before:
                self._ledger.began(app.tenant, app.uuid, cloudlet.uuid, key, deployment.name)

    def _release(self, uuids: Iterable[UUID], standing: Record) -> None:
        """Have removed, of these and of those that answered besides, what the record does not name. What the
        device is leaving it still uses, until it has moved.
        """
        surplus = [row.uuid for row in self._asking.surplus]
        left_alone = {*standing.targets, *self._asking.lost, *self._client.avoid}
        leaving = [uuid for uuid in dict.fromkeys([*uuids, *surplus]) if uuid not in left_alone]
        self._asking.release(self._look_up(leaving))

    def _told(self, cloudlet: Cloudlet, deployment: Deployment) -> Deployment:
        stale = self._means.selection.is_stale(cloudlet)
        return deployment.at(cloudlet.uuid, cloudlet.name, stale=stale)


def _without(rows: Iterable[Cloudlet], others: Iterable[Cloudlet]) -> list[Cloudlet]:
    left_out = {row.uuid for row in others}
    return [row for row in rows if row.uuid not in left_out]
