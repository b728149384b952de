"""The ledger of usage: what ran where, for whom, and how much went through it. Entries are added, never
changed.

Called by `deploying/deploy.py` (a backend began), `views/cloudlets.py` (a cloudlet reports) and
`views/management.py` (export); calls `tables/usage_table.py`. What a cloudlet reports is its own word: it is
checked for what can't be true, and kept with the cloudlet's name on it.
"""

import hashlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Protocol
from uuid import UUID

from chalicelib.accounts.usage import BEGAN, SHARDS, USED, Cursor, Partition, Report, Usage, checked_name
from chalicelib.errors import InvalidRequest, NotFound, RecipeUnusable, Unavailable

MOST_DAYS = 366  # in one export
_MOST_PARTITIONS_READ = 32  # for one page, so that a page takes a bounded time
_CLOCK_SLACK_SECONDS = 600  # a report may be this far ahead of the root's clock
_OLDEST_SECONDS = 7 * 86400  # agents keep what they could not report for less than this
_LONGEST_SECONDS = 86400  # of one report: a day's usage is not told in one lump
_MOST_BYTES_PER_SECOND = 12.5e9  # 100 Gbit/s, more than any gateway carries
_log = logging.getLogger(__name__)


class UsageStore(Protocol):
    """The part of the usage table that the ledger needs. Every method raises `Unavailable`."""

    def add(self, entry: Usage) -> bool:
        """Write the entry unless it stands (False then)."""

    def read(self, partition: Partition, after: str, limit: int) -> list[Usage]:
        """Up to `limit` entries of a partition, by `order`, behind `after`."""


class Owned(Protocol):
    """An app, as far as it matters here."""

    @property
    def tenant(self) -> str:
        """Whose it is."""


class AppFinder(Protocol):
    """Who owns an app."""

    def find(self, uuid: UUID) -> Owned:
        """The app. Raises `NotFound`, `RecipeUnusable` or `Unavailable`."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A report that can't be true, or is about an app that this root does not have."""

    report: Report
    why: str

    def to_json(self) -> dict[str, Any]:
        """As `UsageReceipt` of the contract has it."""
        return {"deployment": self.report.deployment, "from": self.report.since, "detail": self.why}


class Ledger:
    """Adds to the ledger and reads from it. `clock`: seconds since 1970."""

    def __init__(self, store: UsageStore, apps: AppFinder, clock: Callable[[], float]) -> None:
        self._store = store
        self._apps = apps
        self._clock = clock

    def began(self, tenant: str, app: UUID, cloudlet: UUID, key: bytes, name: str | None) -> None:
        """A backend was started for the device with this key; `name` is what its cloudlet calls it.

        Never fails: a device does not wait for bookkeeping that is away. That is logged instead, with
        all that an operator needs to add the entry.
        """
        device = hashlib.sha256(app.bytes + key).hexdigest()[:16]
        now = int(self._clock())
        entry = Usage(BEGAN, tenant, app, cloudlet, checked_name(name) or device, now, now, device=device)
        try:
            self._store.add(entry)
        except Unavailable:
            _log.error("usage not recorded", extra={"tenant": tenant, "usage": entry.to_json()})

    def report(self, cloudlet: UUID, realm: str, reports: tuple[Report, ...]) -> list[Refused]:
        """Add what a cloudlet reports; told again, it changes nothing. Returns what was refused.

        `realm`: the tenant that the cloudlet belongs to, or "". Raises `Unavailable`; then the cloudlet tells
        it all again.
        """
        refused = []
        for report in reports:
            why, tenant = self._judge(report, realm)
            if why:
                refused.append(Refused(report, why))
                continue
            self._store.add(
                Usage(
                    event=USED,
                    tenant=tenant,
                    app=report.app,
                    cloudlet=cloudlet,
                    deployment=report.deployment,
                    since=report.since,
                    until=report.until,
                    bytes_in=report.bytes_in,
                    bytes_out=report.bytes_out,
                )
            )
        return refused

    def page(
        self, tenant: str, first: date, last: date, after: Cursor | None, limit: int
    ) -> tuple[list[Usage], Cursor | None]:
        """Up to `limit` entries of the days from `first` to `last`, and where to go on (None at the end).

        Days come in order, the entries of one shard too. A page may have fewer entries than `limit`, or none,
        and not be the last.
        """
        if not first <= last or last - first >= timedelta(days=MOST_DAYS):
            raise InvalidRequest(f"to: must be from `from` on, at most {MOST_DAYS} days in all")
        entries: list[Usage] = []
        start = after if after is not None and after.day >= first else Cursor(first, 0)
        for number, cursor in enumerate(_from(start, last)):
            if len(entries) == limit or number == _MOST_PARTITIONS_READ:
                return entries, cursor
            wanted = limit - len(entries)
            found = self._store.read(Partition(tenant, cursor.day, cursor.shard), cursor.after, wanted)
            entries += found
            if len(found) == wanted:
                return entries, Cursor(cursor.day, cursor.shard, found[-1].order)
        return entries, None

    def _judge(self, report: Report, realm: str) -> tuple[str, str]:
        """What is wrong with a report, if anything, and whose app it is about."""
        now = self._clock()
        seconds = report.until - report.since
        if report.until > now + _CLOCK_SLACK_SECONDS:
            return "to: is in the future; check the clock", ""
        if report.since < now - _OLDEST_SECONDS:
            return "from: is more than seven days ago", ""
        if not 0 <= seconds <= _LONGEST_SECONDS:
            return "to: must be from `from` on, at most a day later", ""
        if max(report.bytes_in, report.bytes_out) > _MOST_BYTES_PER_SECOND * (seconds + 1):
            return "bytes_in, bytes_out: are more than a gateway can carry in that time", ""
        try:
            tenant = self._apps.find(report.app).tenant
        except (NotFound, RecipeUnusable):
            return "app: is not an app of this root", ""
        if realm and tenant != realm:
            return "app: is not one that this cloudlet serves", ""
        return "", tenant


def _from(start: Cursor, last: date) -> Iterator[Cursor]:
    """Every partition from a cursor to the end of a day."""
    day, shard, after = start.day, start.shard, start.after
    while day <= last:
        yield Cursor(day, shard, after)
        after = ""
        shard = (shard + 1) % SHARDS
        if shard == 0:
            if day == date.max:
                return
            day += timedelta(days=1)
