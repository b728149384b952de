"""Tenants: who owns apps, recipes, tokens and cloudlets of their own on this root, and how many.

Called by `views/management.py`, and by whoever enforces a quota; kept as `documents.py` says. The root itself
is the tenant "" inside and "root" on the wire: its tokens are operators', its cloudlets are shared.

The name of a tenant that was removed is never given out again: its usage stays in the ledger, and its
cloudlets may hold leases for a while.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from chalicelib.accounts.documents import (
    SWEEP,
    TENANTS,
    Document,
    DocumentKey,
    Documents,
    Page,
    sweep,
    tenant_partition,
    time_text,
)
from chalicelib.accounts.fair_cache import FairCache
from chalicelib.accounts.limits import DeployQuota
from chalicelib.errors import Conflict, Forbidden, InvalidRequest, NotFound, QuotaExceeded, Stale
from chalicelib.fields import Fields
from chalicelib.fleet.admission import ALLOW_LIST, INVITATION, OPEN

ROOT = "root"
TENANT_ID = r"[a-z][a-z0-9-]{1,30}"
ADMISSIONS = (OPEN, INVITATION, ALLOW_LIST)
_RESERVED = frozenset({"directory", "net", "nowhere", "operator", "shared", "sinfonia", "tenant", "tenants"})
_FRESH_SECONDS = 10.0
_REMEMBERED = 1024
_MOST = 100_000  # of anything, whatever an operator types
_MOST_RECIPES = 1000  # an app's document lists them, and has to stay small
_UNKNOWN = "There is no such tenant."


@dataclass(frozen=True, slots=True)
class Quotas:
    """How many of each a tenant may have; `recipes` per app. Deploys: None is any number."""

    apps: int = 20
    recipes: int = 20
    tokens: int = 50
    invitations: int = 1000
    cloudlets: int = 1000
    deploys_per_minute: int | None = None
    deploys_per_day: int | None = None

    @classmethod
    def from_json(cls, value: object, where: str = "quotas") -> "Quotas":
        """From `Quotas` of the contract; what is not given is the default."""
        given = Fields(value, where)
        counts = ("apps", "recipes", "tokens", "invitations", "cloudlets")
        return cls(
            **{
                name: given.integer(name, 0, _MOST_RECIPES if name == "recipes" else _MOST)
                for name in counts
                if given.has(name)
            },
            **{
                name: given.integer(name, 1, 10**9)
                for name in ("deploys_per_minute", "deploys_per_day")
                if given.has(name)
            },
        )

    def to_json(self) -> dict[str, int]:
        """As `Quotas` of the contract."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class TenantSettings:
    """What a tenant is made of. `admission`: who may register a cloudlet as the tenant's own."""

    name: str | None = None
    admission: str = INVITATION
    quotas: Quotas | None = None

    @classmethod
    def from_json(cls, value: object) -> "TenantSettings":
        """From `TenantSettings` of the contract. Absent quotas are left as they are."""
        given = Fields(value, "body")
        admission = given.text("admission", 16) if given.has("admission") else INVITATION
        if admission not in ADMISSIONS:
            raise InvalidRequest(f"admission: must be one of {', '.join(ADMISSIONS)}")
        return cls(
            name=given.label("name", 128, 1) if given.has("name") else None,
            admission=admission,
            quotas=Quotas.from_json(given.get("quotas")) if given.has("quotas") else None,
        )


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant as it is kept. `id` is "" for the root's own; times are seconds since 1970."""

    id: str
    name: str | None = None
    admission: str = INVITATION
    quotas: Quotas = field(default_factory=Quotas)
    created: int = 0
    version: int = 0

    def to_json(self) -> dict[str, Any]:
        """As `Tenant` of the contract."""
        name = {} if self.name is None else {"name": self.name}
        return {
            "id": self.id or ROOT,
            **name,
            "admission": self.admission,
            "quotas": self.quotas.to_json(),
            "created": time_text(self.created),
        }


class TenantBook:
    """Tenants by their ids. `clock`: seconds since 1970."""

    def __init__(
        self, documents: Documents, clock: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        self._documents = documents
        self._clock = clock
        self._cache: FairCache[str, Tenant | NotFound] = FairCache(_REMEMBERED, monotonic)

    def get(self, tenant: str) -> Tenant:
        """The tenant as it is now. Raises `NotFound`."""
        found = self._standing(tenant)
        if found is None:
            raise NotFound(_UNKNOWN)
        return found

    def known(self, tenant: str) -> Tenant:
        """The tenant as it was at most ten seconds ago. Raises `NotFound`."""
        known = self._cache.get(tenant)
        if known is None:
            known = self._standing(tenant) or NotFound(_UNKNOWN)
            owner = "" if isinstance(known, NotFound) else tenant
            self._cache.put(tenant, known, owner, _FRESH_SECONDS)
        if isinstance(known, NotFound):
            raise NotFound(_UNKNOWN)
        return known

    def deploy_quota(self, tenant: str) -> DeployQuota:
        """How many deploys the tenant's apps may have together."""
        quotas = self.known(tenant).quotas
        return DeployQuota(quotas.deploys_per_minute, quotas.deploys_per_day)

    def put(
        self, tenant: str, settings: TenantSettings, *, by_operator: bool, version: int | None = None
    ) -> Tenant:
        """Make or change a tenant; only operators make one and set quotas.

        Raises `Stale` where another `version` stands, `Conflict` for the name of one that was removed.
        """
        standing = self._standing(tenant)
        if standing is None:
            if not by_operator:
                raise NotFound(_UNKNOWN)
            check_tenant_id(tenant)
            standing = Tenant(tenant, created=int(self._clock()))
        if version is not None and version != standing.version:
            raise Stale("The tenant was changed since.")
        quotas = settings.quotas or standing.quotas
        if quotas != standing.quotas and not by_operator:
            raise Forbidden("Only an operator sets quotas.")
        changed = replace(standing, name=settings.name, admission=settings.admission, quotas=quotas)
        if not self._documents.write(_to_document(changed)):
            if standing.version == 0 and self._standing(tenant) is None:
                raise Conflict("There was a tenant of this name; names are not given out again.")
            raise Stale("The tenant is being changed by somebody else.")
        self._cache.forget(tenant)
        return replace(changed, version=standing.version + 1)

    def page(self, limit: int, after: str) -> tuple[list[Tenant], str | None]:
        """Tenants by their ids, and where the next page begins (None at the end)."""
        page = self._documents.page(TENANTS, "", limit, after)
        end = page.documents[-1].key.name if page.more and page.documents else None
        return [_from_document(each) for each in page.documents if not each.body.get("removed")], end

    def remove(self, tenant: str, release: Callable[[str], None]) -> None:
        """Take a tenant away with all that it has; `release` frees an app's UUID.

        Tokens go first. Cut short, it can be done again. The name stays taken.
        """
        standing = self.get(tenant)
        if not tenant:
            raise Forbidden("The root can't be removed.")
        sweep(self._documents, tenant_partition(tenant), "token#")
        for uuid in self._names(tenant, "app#"):
            release(uuid)
        sweep(self._documents, tenant_partition(tenant), "")
        key = DocumentKey(TENANTS, tenant)
        removed = Document(key, {"removed": True, "created": standing.created}, standing.version)
        if not self._documents.write(removed):
            raise Stale("The tenant is being changed by somebody else.")
        self._cache.forget(tenant)

    def claim(self, tenant: str, document: Document, most: int) -> bool:
        """Keep a new document of the tenant's, unless it has `most` of its kind (`QuotaExceeded`).

        False if it is there already. Counted after writing: of several at once too many may be refused, but
        never too many stay.
        """
        if not self._documents.write(document):
            return False
        kind = document.key.name.partition("#")[0]
        if self._documents.count(tenant_partition(tenant), f"{kind}#") > most:
            self._documents.erase(document.key, document.version + 1)
            raise QuotaExceeded(f"This tenant may have {most} of these ({kind}s); remove one first.")
        return True

    def _standing(self, tenant: str) -> Tenant | None:
        if tenant == ROOT or (tenant and not re.fullmatch(TENANT_ID, tenant)):
            return None  # "root" is its name on the wire only; what is no name is not looked up
        document = self._documents.read(DocumentKey(TENANTS, tenant or ROOT))
        if document is None:
            return None if tenant else _ROOT
        return None if document.body.get("removed") else _from_document(document)

    def _names(self, tenant: str, prefix: str) -> list[str]:
        names: list[str] = []
        while True:
            after = prefix + names[-1] if names else ""
            page: Page = self._documents.page(tenant_partition(tenant), prefix, SWEEP, after)
            names += [each.key.name.removeprefix(prefix) for each in page.documents]
            if not page.more or not page.documents:
                return names


_ROOT = Tenant(
    "",
    admission=OPEN,
    quotas=Quotas(apps=10_000, recipes=100, tokens=1000, invitations=_MOST, cloudlets=_MOST),
)


def check_tenant_id(tenant: str) -> None:
    """Whether a new tenant may be called so. Raises `InvalidRequest`."""
    if not re.fullmatch(TENANT_ID, tenant) or tenant in _RESERVED or tenant == ROOT:
        raise InvalidRequest(
            "tenant: must be 2 to 31 lower case letters, digits and hyphens, the first a letter, "
            "and no reserved word"
        )


def _to_document(tenant: Tenant) -> Document:
    body: dict[str, Any] = {
        "admission": tenant.admission,
        "quotas": tenant.quotas.to_json(),
        "created": tenant.created,
    }
    if tenant.name is not None:
        body["name"] = tenant.name
    return Document(DocumentKey(TENANTS, tenant.id or ROOT), body, tenant.version)


def _from_document(document: Document) -> Tenant:
    name = document.key.name
    return Tenant(
        id="" if name == ROOT else name,
        name=document.body.get("name"),
        admission=document.body["admission"],
        quotas=Quotas.from_json(document.body["quotas"]),
        created=document.body["created"],
        version=document.version,
    )
