"""Entries of the usage ledger, what cloudlets report, and where a page of them goes on.

Called by `ledger.py`, the views and `tables/usage_table.py`. The shapes are those of `openapi.yaml`.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from chalicelib.errors import InvalidRequest
from chalicelib.fields import Fields

SHARDS = 8  # partitions of a tenant's day; DynamoDB takes 1,000 writes a second in each
MOST_REPORTS = 64  # in one call
BEGAN = "began"
USED = "used"
_LARGEST_BYTES = 2**53 - 1  # what every JSON reader keeps exactly
_LARGEST_TIME = 2**33  # in the year 2242
_NAME = r"[A-Za-z0-9._-]{1,128}"


@dataclass(frozen=True, slots=True)
class Usage:
    """One entry. Times are seconds since 1970; `tenant` is "" for the root's own apps.

    `event` "began": the root had a backend started; `device` tells devices of one app apart and nobody.
    `event` "used": what the cloudlet says went through it from `since` to `until`.
    """

    event: str
    tenant: str
    app: UUID
    cloudlet: UUID
    deployment: str
    since: int
    until: int
    bytes_in: int = 0
    bytes_out: int = 0
    device: str = ""

    @property
    def day(self) -> date:
        """The day that it is filed under."""
        return datetime.fromtimestamp(self.since, UTC).date()

    @property
    def shard(self) -> int:
        """Which of a day's partitions it is in: the same for the same entry told again."""
        digest = hashlib.sha256(f"{self.cloudlet}{self.deployment}".encode()).digest()
        return digest[0] % SHARDS

    @property
    def order(self) -> str:
        """Its place within the partition; entries with one place are one entry."""
        return f"{self.since:011d}~{self.event}~{self.cloudlet}~{self.deployment}"

    def to_json(self) -> dict[str, Any]:
        """As `Usage` of the contract."""
        entry: dict[str, Any] = {
            "event": self.event,
            "app": str(self.app),
            "cloudlet": str(self.cloudlet),
            "deployment": self.deployment,
            "from": self.since,
        }
        if self.event == BEGAN:
            return entry | {"device": self.device}
        return entry | {"to": self.until, "bytes_in": self.bytes_in, "bytes_out": self.bytes_out}


@dataclass(frozen=True, slots=True)
class Report:
    """What a cloudlet says of one deployment, as it came."""

    deployment: str
    app: UUID
    since: int
    until: int
    bytes_in: int
    bytes_out: int

    @classmethod
    def from_json(cls, value: object, where: str = "body") -> "Report":
        """One element of the body of POST /cloudlets/{uuid}/usage."""
        fields = Fields(value, where)
        return cls(
            deployment=fields.text("deployment", 128, 1, _NAME),
            app=fields.uuid("app"),
            since=fields.integer("from", 0, _LARGEST_TIME),
            until=fields.integer("to", 0, _LARGEST_TIME),
            bytes_in=fields.integer("bytes_in", 0, _LARGEST_BYTES),
            bytes_out=fields.integer("bytes_out", 0, _LARGEST_BYTES),
        )


@dataclass(frozen=True, slots=True)
class Partition:
    """One shard of a tenant's day."""

    tenant: str
    day: date
    shard: int


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page goes on: after the entry `after` ("": from the start) of a day's shard."""

    day: date
    shard: int
    after: str = ""

    def to_text(self) -> str:
        """As the `after` parameter has it."""
        return f"{self.day}.{self.shard}.{self.after}"

    @classmethod
    def from_text(cls, text: str) -> "Cursor":
        """From the `after` parameter. Raises `InvalidRequest`."""
        found = re.fullmatch(r"(\d{4}-\d\d-\d\d)\.(\d)\.([0-9A-Za-z~._-]{0,256})", text, re.ASCII)
        if found is None or int(found[2]) >= SHARDS:
            raise InvalidRequest("after: must be what the page before gave")
        return cls(parse_day(found[1], "after"), int(found[2]), found[3])


def parse_day(text: str, where: str) -> date:
    """A day like 2026-11-24."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or day.isoformat() != text:  # Python also takes 20261124 and 2026-W48-2
        raise InvalidRequest(f"{where}: must be a day like 2026-11-24")
    return day


def parse_reports(value: object) -> tuple[Report, ...]:
    """The body of a cloudlet's report: an array."""
    return Fields({"body": value}, "body").each("body", MOST_REPORTS, Report.from_json)


def checked_name(name: str | None) -> str:
    """A cloudlet's name for a deployment if it is one that it could report under, else ""."""
    return name if name and re.fullmatch(_NAME, name) else ""
