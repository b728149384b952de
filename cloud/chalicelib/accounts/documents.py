"""What the accounts of a root are kept as: small JSON documents with versions, in partitions.

Everything in this room reads and writes through `Documents`; `tables/account_table.py` stores them. Each
tenant has a partition of its own, so that one tenant's crowd never slows another's.

partition         name                      what
"tenants"         <tenant>                  a tenant: its quotas, its admission policy
"app#<uuid>"      "app"                     an app; who writes it first has the UUID
"tenant#<tenant>" "app#<uuid>"              that this tenant has this app
"tenant#<tenant>" "recipe#<uuid>#<number>"  one version of an app's recipe
"tenant#<tenant>" "token#<id>"              a token's hash and scope
"tenant#<tenant>" "invitation#<id>"         an invitation for one cloudlet
"tenant#<tenant>" "cloudlet#<uuid>"         a cloudlet on the allow list
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

TENANTS = "tenants"
SWEEP = 100  # documents read at a time


@dataclass(frozen=True, slots=True, order=True)
class DocumentKey:
    """Where a document is kept."""

    partition: str
    name: str


@dataclass(frozen=True, slots=True)
class Document:
    """A document. `version`: how often it was written, 0 for one that is not kept yet.

    `expires_at`: seconds since 1970; it may stay for days after that, so readers look.
    """

    key: DocumentKey
    body: Mapping[str, Any]
    version: int = 0
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Documents in the order of their names. `more`: others may follow the last one."""

    documents: list[Document]
    more: bool


class Documents(Protocol):
    """Where documents are kept. Every method raises `Unavailable` when that is away."""

    def read(self, key: DocumentKey) -> Document | None:
        """The document as it is now."""

    def read_many(self, keys: Sequence[DocumentKey]) -> list[Document]:
        """Those of at most 100 documents that there are, in any order."""

    def write(self, document: Document) -> bool:
        """Keep it with the next version, unless another version than its own stands (False then)."""

    def erase(self, key: DocumentKey, version: int | None = None) -> bool:
        """Remove it, given a version only if that stands (else False). What is not there is removed."""

    def page(self, partition: str, prefix: str, limit: int, after: str = "") -> Page:
        """Up to `limit` documents whose names begin with `prefix` and follow `after`."""

    def count(self, partition: str, prefix: str) -> int:
        """How many documents have names that begin with `prefix`, as it is now."""


def tenant_partition(tenant: str) -> str:
    """The partition of what a tenant has; the root's own is that of the tenant ""."""
    return f"tenant#{tenant}"


def sweep(documents: Documents, partition: str, prefix: str) -> None:
    """Remove every document whose name begins with `prefix`."""
    while found := documents.page(partition, prefix, SWEEP).documents:
        for document in found:
            documents.erase(document.key)


def time_text(seconds: int) -> str:
    """A time as answers have it (RFC 3339)."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
