"""Keepalives: one write each, and no read, as long as a cloudlet stays about where it is.

Called by `views/cloudlets.py`; calls the table through `CloudletStore`. A cloudlet that moves keeps its row
until it is `MOVE_KM` away from where the row is filed; then it gets a new one.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Protocol
from uuid import UUID

from chalicelib.errors import Gone, Stale, Throttled, Unavailable
from chalicelib.fleet.cloudlets import STALE_SECONDS, Cloudlet, has_left, row_key
from chalicelib.fleet.geo import Location
from chalicelib.fleet.leases import LeaseClaim, LeaseSigner, lease_seconds
from chalicelib.fleet.notices import Notices
from chalicelib.fleet.plausibility import Plausibility
from chalicelib.fleet.pressure import Pressure
from chalicelib.fleet.registry import CloudletStore
from chalicelib.fleet.wire import Keepalive, Lease

_OVERTAKEN = "A newer keepalive of this cloudlet was here before."
_ENDED = "The lease ended; register again."


class Commands(Protocol):
    """What waits for cloudlets that can't be called; see `deploying/mailbox.py`."""

    def waiting(self, cloudlet: UUID) -> tuple[dict[str, Any], ...]:
        """`Commands` of the contract. Raises `Unavailable`."""


@dataclass(frozen=True, slots=True)
class Keepalives:
    """The use case of cloudlets that are there. `clock` gives seconds since 1970."""

    table: CloudletStore
    signer: LeaseSigner
    plausibility: Plausibility
    pressure: Pressure
    notices: Notices
    commands: Commands
    clock: Callable[[], float]

    def keepalive(self, uuid: UUID, token: str | None, keepalive: Keepalive) -> Lease:
        """Renew the lease: one write, no read, unless the cloudlet moved or is refused.

        A lease that ended is renewed as well, for as long as the row is only stale. Raises `Unauthorized`,
        `Stale` (repeated or late), `Gone` (register again) or `TooMany`.
        """
        claim = self.signer.read(token, uuid)
        self.plausibility.check_keepalive(uuid)
        if keepalive.location is not None and has_left(claim.key, keepalive.location):
            return self._move(claim, keepalive, keepalive.location)
        now = int(self.clock())
        interval = self.pressure.interval_seconds(claim.interval_seconds)
        try:
            renewed = self.table.renew(
                claim.key,
                claim.incarnation,
                keepalive.sequence,
                now=now,
                expires_at=ceil(now + lease_seconds(interval)),
                resources=keepalive.resources,
                location=keepalive.location,
                draining=keepalive.draining,
                cached=_cached(keepalive, claim),
            )
        except Throttled:
            self.pressure.throttled()
            raise
        if renewed is None:
            self._standing(claim, keepalive)
            raise Unavailable("The row changed at the same moment; try again.")
        token = None
        if claim.left is not None:
            self.table.remove(claim.left, claim.incarnation)
            token = self.signer.issue(replace(claim, left=None))
        commands = self._waiting(uuid) if renewed.commands_wait else ()
        return Lease(interval, lease_seconds(interval), token, commands=commands)

    def _waiting(self, uuid: UUID) -> tuple[dict[str, Any], ...]:
        """The lease is renewed already: commands that can't be read now are left to the long poll."""
        try:
            return self.commands.waiting(uuid)
        except Unavailable:
            return ()

    def _move(self, claim: LeaseClaim, keepalive: Keepalive, location: Location) -> Lease:
        """The new row now, the old one away with the next keepalive: readers keep the newer of the two.

        A container that has just read the new place, and found nothing there, still knows the old one. Only
        a drain takes the old row away at once: it must not be offered at either place.
        """
        row = self._standing(claim, keepalive)
        self.plausibility.check_move(row, location)
        now = int(self.clock())
        interval = self.pressure.interval_seconds(claim.interval_seconds)
        cached = _cached(keepalive, claim)
        moved = replace(
            row,
            key=row_key(claim.uuid, location, claim.key.realm),
            sequence=keepalive.sequence,
            location=location,
            last_keepalive=now,
            expires_at=ceil(now + lease_seconds(interval)),
            resources=row.resources if keepalive.resources is None else keepalive.resources,
            draining=row.draining if keepalive.draining is None else keepalive.draining,
            cached=row.cached if cached is None else cached,
        )
        if not self.table.put(moved):
            raise Stale(_OVERTAKEN)
        left = None if moved.draining else claim.key
        for old in (claim.left, claim.key):
            if old not in {None, left, moved.key}:
                self.table.remove(old, claim.incarnation)
        self.notices.put_up(moved)
        token = self.signer.issue(replace(claim, key=moved.key, left=left))
        commands = () if row.callable else self._waiting(claim.uuid)
        return Lease(interval, lease_seconds(interval), token, commands=commands)

    def _standing(self, claim: LeaseClaim, keepalive: Keepalive) -> Cloudlet:
        """The row that a keepalive is for, if it is newer than the row."""
        row = self.table.get(claim.key)
        if row is None or row.incarnation < claim.incarnation:
            raise Gone(_ENDED)
        if row.age >= (claim.incarnation, keepalive.sequence):
            raise Stale(_OVERTAKEN)
        if row.expires_at + STALE_SECONDS <= self.clock():
            raise Gone(_ENDED)
        return row


def _cached(keepalive: Keepalive, claim: LeaseClaim) -> tuple[UUID, ...] | None:
    """As many as the row has room for, so that it never costs more than one write unit."""
    return None if keepalive.cached is None else keepalive.cached[: claim.cached_room]
