"""What is remembered of a deploy: who is asked, then where it runs. One record per app and key.

Used by `deploy.py` and `release.py`; kept by `tables/deployment_table.py` through `RecordStore`. A record is
only ever changed by whoever saw its last version, so of two that deploy at once one leads and one follows:

1. A *claim* names the cloudlets in the order in which they are asked. Whoever comes second asks the same
   ones in the same order, and an agent that is asked twice has one backend.
2. The *targets* are where it runs. Whoever finds other targets than its own goes to those and releases its
   own.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol
from uuid import UUID

from chalicelib.errors import Unavailable

MOST_CLAIMED = 6
MOST_TARGETS = 3
CLAIM_SECONDS = 60  # longer than any deploy takes; after that the claimant is dead
RECORD_SECONDS = 86400
RENEW_SECONDS = 3600  # a repeated deploy renews a record that is older than this, so most cost no write
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Record:
    """`claimed` are asked in this order. `targets` are where it runs; none while that is being found out.

    `version` is another one after every change; 0 was never written. Times are seconds since 1970.
    """

    app_uuid: UUID
    application_key: bytes
    version: int = 0
    claimed: tuple[UUID, ...] = ()
    targets: tuple[UUID, ...] = ()
    expires_at: int = 0

    @property
    def cloudlets(self) -> tuple[UUID, ...]:
        """Where it runs or may be about to."""
        return self.targets or self.claimed


class RecordStore(Protocol):
    """What the records need of their table. Every method raises `Unavailable`."""

    def read(self, app_uuid: UUID, application_key: bytes) -> Record | None:
        """The record as it is now."""

    def write(self, record: Record, version: int, now: float) -> bool:
        """Keep it if `version` stands, or, for 0, nothing that is alive `now` (False else)."""

    def erase(self, record: Record) -> bool:
        """Remove it if its version stands or it is gone already (False else)."""


@dataclass(frozen=True, slots=True)
class Records:
    """The records of one root. `clock`: seconds since 1970; `fresh_version`: a number that was never used.

    A table that is away loses no answer: the deploy goes on as if there were no record, which is logged.
    Until it is back two deploys at once may lead to two backends, of which the agents' leases reclaim one.
    """

    store: RecordStore
    clock: Callable[[], float]
    fresh_version: Callable[[], int]

    def find(self, app_uuid: UUID, application_key: bytes) -> Record | None:
        """The living record, or one that was never written; None where the table is away."""
        try:
            record = self.store.read(app_uuid, application_key)
        except Unavailable:
            _log.warning("deploying without a record", extra={"app_uuid": str(app_uuid)})
            return None
        if record is None or record.expires_at <= self.clock():
            return Record(app_uuid, application_key)
        return record

    def claim(self, record: Record, cloudlets: Sequence[UUID]) -> Record | None:
        """Say who will be asked; what then stands: this, or what somebody else said before."""
        claimed = replace(record, claimed=tuple(cloudlets[:MOST_CLAIMED]))
        return self._write(claimed, CLAIM_SECONDS)[0]

    def settle(self, record: Record, targets: Sequence[UUID]) -> tuple[Record | None, bool]:
        """Say where it runs; what then stands, None where the table is away, and whether this call wrote it.

        Where it already says so, it is written again only to renew it.
        """
        kept = tuple(targets[:MOST_TARGETS])
        if record.targets == kept and record.expires_at > self.clock() + RECORD_SECONDS - RENEW_SECONDS:
            return record, True
        return self._write(replace(record, targets=kept, claimed=()), RECORD_SECONDS)

    def forget(self, record: Record) -> bool:
        """Remove it unless somebody changed it since."""
        return self.store.erase(record)

    def _write(self, record: Record, seconds: int) -> tuple[Record | None, bool]:
        """Keep it in the place of the version that it was made from; what stands, and whether it is this."""
        now = self.clock()
        written = replace(record, version=self.fresh_version(), expires_at=int(now) + seconds)
        try:
            if self.store.write(written, record.version, now):
                return written, True
        except Unavailable:
            _log.warning("a deploy was not recorded", extra={"app_uuid": str(record.app_uuid)})
            return None, False
        return self.find(record.app_uuid, record.application_key), False
