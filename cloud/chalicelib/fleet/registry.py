"""Who is there: registration, goodbye, the published keepalive, and the list of cloudlets.

Called by `views/cloudlets.py`; calls the table through `CloudletStore`. The root's clock alone decides what
lives. Keepalives are in `keepalives.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Protocol
from uuid import UUID

from chalicelib.errors import Forbidden, NotFound, Stale, Unavailable
from chalicelib.fleet.admission import Admission, Applicant
from chalicelib.fleet.cloudlets import (
    STALE_SECONDS,
    Cloudlet,
    Renewed,
    RowKey,
    Trust,
    cached_room,
    check_size,
    row_key,
)
from chalicelib.fleet.geo import Location
from chalicelib.fleet.leases import LeaseClaim, LeaseSigner, lease_seconds
from chalicelib.fleet.notices import Notices
from chalicelib.fleet.plausibility import Plausibility
from chalicelib.fleet.pressure import Pressure
from chalicelib.fleet.wire import Lease, PublishedKeepalive, Registration

NO_CLOUDLET = "There is no such cloudlet."
_ATTEMPTS = 3


class CloudletStore(Protocol):
    """What the registry needs of the table; see `cloudlet_table.DynamoCloudletTable`."""

    def put(self, cloudlet: Cloudlet) -> bool:
        """Write the row unless a newer one stands at its key; the unsigned gives way to the signed."""

    def put_published(self, cloudlet: Cloudlet) -> bool:
        """Write the row unless a registered one stands there."""

    def renew(
        self,
        key: RowKey,
        incarnation: int,
        sequence: int,
        *,
        now: int,
        expires_at: int,
        resources: Mapping[str, float] | None,
        location: Location | None,
        draining: bool | None = None,
        cached: tuple[UUID, ...] | None = None,
    ) -> Renewed | None:
        """Renew the row if it has this incarnation, a lower sequence, and has not been stale for too long."""

    def remove(self, key: RowKey, incarnation: int) -> bool:
        """Delete the row unless a newer incarnation stands there."""

    def get(self, key: RowKey) -> Cloudlet | None:
        """The row as it is now."""

    def find(self, uuid: UUID) -> list[Cloudlet]:
        """The rows of one cloudlet."""

    def page(
        self, limit: int, after: RowKey | None, realm: str | None = None
    ) -> tuple[list[Cloudlet], RowKey | None]:
        """Rows of one realm, and where to go on."""

    def count(self) -> int:
        """About how many rows there are, as of some hours ago."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often keepalives come, in seconds; what a cloudlet asks for is brought between the bounds."""

    default: float
    least: float
    most: float

    def agree(self, asked: float | None) -> float:
        """The interval that a registration gets."""
        return min(max(self.default if asked is None else asked, self.least), self.most)


@dataclass(frozen=True, slots=True)
class Registry:
    """The use cases of cloudlets that come and go. `clock` gives seconds since 1970."""

    table: CloudletStore
    signer: LeaseSigner
    pace: Pace
    admission: Admission
    plausibility: Plausibility
    pressure: Pressure
    notices: Notices
    clock: Callable[[], float]

    def register(self, uuid: UUID, registration: Registration, *, signed: bool) -> Lease:
        """Write the row, and the notices that lead searches to it.

        A registration repeated with the same incarnation keeps the sequence, so that old keepalives stay old.
        Raises `Unauthorized`, `Forbidden`, `TooMany`, or `Stale` with the incarnation that stands if it is
        higher.
        """
        self.plausibility.check_registration(uuid)
        said = replace(registration, incarnation=self.plausibility.incarnation(registration.incarnation))
        trust = self.admission.admit(Applicant(uuid, signed, said.tenant, said.invitation))
        agreed = self.pace.agree(said.interval_seconds)
        interval = self.pressure.interval_seconds(agreed)
        row = replace(self._row(uuid, said, interval), trust=trust)
        check_size(row)
        row = replace(row, cached=row.cached[: cached_room(row)])
        row, others = self._write(row)
        for other in others:
            self.table.remove(other.key, other.incarnation)
            self.notices.take_down(other, row)
        self.notices.put_up(row)
        claim = LeaseClaim(uuid, row.key, row.incarnation, agreed, cached_room(row))
        return Lease(interval, lease_seconds(interval), self.signer.issue(claim))

    def _write(self, row: Cloudlet) -> tuple[Cloudlet, list[Cloudlet]]:
        """The row as written, and the older ones that have to go."""
        for _ in range(_ATTEMPTS):
            rows = self.table.find(row.uuid)
            standing = max(
                (each for each in rows if _counts(each, row)), key=lambda each: each.age, default=None
            )
            if standing is not None:
                if standing.incarnation > row.incarnation:
                    raise Stale("A newer incarnation of this cloudlet is registered.", standing.incarnation)
                repeated = standing.incarnation == row.incarnation
                row = replace(row, sequence=standing.sequence if repeated else 0)
                if standing.key != row.key:
                    self.plausibility.check_move(standing, row.location)
            if self.table.put(row):
                return row, [each for each in rows if each.key != row.key]
        raise Unavailable("Several registrations of this cloudlet are under way.")

    def withdraw(self, uuid: UUID, token: str | None) -> None:
        """Take the cloudlet off the table. Raises `Unauthorized`, or `Stale` for an old incarnation."""
        claim = self.signer.read(token, uuid)
        if claim.left is not None:
            self.table.remove(claim.left, claim.incarnation)
        if not self.table.remove(claim.key, claim.incarnation):
            raise Stale("A newer incarnation of this cloudlet is registered.")

    def admit_published(self, keepalive: PublishedKeepalive) -> None:
        """The published keepalive: one write that registers and renews.

        Raises `Unauthorized` or `Forbidden`.
        """
        if not self.admission.admits_unsigned:
            raise Forbidden("This root admits registered cloudlets only.")
        self.admission.admit(Applicant(keepalive.uuid, signed=False))
        interval = self.pressure.interval_seconds(self.pace.default)
        row = self._row(keepalive.uuid, keepalive.registration, interval)
        row = replace(row, published=True, sequence=int(self.clock() * 1000))
        check_size(row)
        if not self.table.put_published(row):
            raise Forbidden("This cloudlet is registered; its keepalives carry a lease token.")
        self.notices.keep_up(row)

    def evict(self, uuid: UUID) -> None:
        """Take a cloudlet off the table against its will: its next keepalive is told to register again."""
        for row in self.table.find(uuid):
            self.table.remove(row.key, row.incarnation)

    def find(self, uuid: UUID) -> Cloudlet:
        """The cloudlet as it is now, also for a while after its lease. Raises `NotFound`."""
        row = max(self.table.find(uuid), key=lambda each: each.age, default=None)
        if row is None or row.expires_at + STALE_SECONDS <= self.clock():
            raise NotFound(NO_CLOUDLET)
        return row

    def page(self, limit: int, after: RowKey | None, realm: str = "") -> tuple[list[Cloudlet], RowKey | None]:
        """A realm's living cloudlets in no particular order, and where the next page begins.

        A page may be short, or empty after many rows that are all dead, and not be the last.
        """
        now = self.clock()
        living: list[Cloudlet] = []
        for _ in range(10):
            rows, after = self.table.page(limit - len(living), after, realm)
            living += [row for row in rows if row.expires_at > now]
            if after is None or len(living) >= limit:
                break
        return living, after

    def _row(self, uuid: UUID, registration: Registration, interval: float) -> Cloudlet:
        now = int(self.clock())
        return Cloudlet(
            key=row_key(uuid, registration.location, registration.tenant),
            uuid=uuid,
            endpoint=registration.endpoint.rstrip("/"),
            incarnation=registration.incarnation,
            sequence=0,
            last_keepalive=now,
            expires_at=ceil(now + lease_seconds(interval)),
            name=registration.name,
            location=registration.location,
            local_networks=registration.local_networks,
            accepted_clients=registration.accepted_clients,
            rejected_clients=registration.rejected_clients,
            resources=registration.resources,
            price=registration.price,
            jurisdiction=registration.jurisdiction,
            hardware=registration.hardware,
            cached=registration.cached,
            draining=registration.draining,
            callable=registration.callable,
        )


def _counts(standing: Cloudlet, row: Cloudlet) -> bool:
    """Whether what stands has a say: nothing published, and nothing unsigned against what is signed."""
    return not standing.published and (standing.trust > Trust.UNSIGNED or row.trust == Trust.UNSIGNED)
