"""Tokens: who may manage what, and whose devices may deploy.

Called by `views/management.py` (make, list, revoke) and by whatever has to know who calls. A token reads
`sf_<id>_<secret>`; of the secret only a hash is kept. The id names the tenant, so that one read finds it, in
that tenant's own partition. A revoked token works for at most `FRESH_SECONDS` more, where it was just seen.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from chalicelib.accounts.documents import Document, DocumentKey, Documents, tenant_partition, time_text
from chalicelib.accounts.fair_cache import FairCache
from chalicelib.accounts.tenants import TenantBook
from chalicelib.errors import Conflict, InvalidRequest, NotFound, Unauthorized
from chalicelib.fields import Fields

FRESH_SECONDS = 10.0
_REMEMBERED = 4096
_PREFIX = "token#"
_ID_BYTES, _SECRET_BYTES = 8, 32
_NUMBER = r"[0-9a-f]{16}"
_TOKEN = re.compile(rf"sf_(?:([a-z][a-z0-9-]{{1,30}})\.)?({_NUMBER})_([A-Za-z0-9_-]{{43}})")
_LONGEST_SECONDS = 10 * 366 * 86400
_INVALID = "The token is not valid here."


class Scope(StrEnum):
    """What a token is for: the whole root, a tenant's affairs, or deploying a tenant's apps."""

    OPERATOR = "operator"
    TENANT = "tenant"
    DEPLOY = "deploy"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls. `tenant` is "" for the root's own."""

    tenant: str
    scope: Scope

    @property
    def is_operator(self) -> bool:
        """Whether everything is open to it."""
        return self.scope is Scope.OPERATOR

    def may_manage(self, tenant: str) -> bool:
        """Whether it may see and change what this tenant has."""
        return self.is_operator or (self.scope is Scope.TENANT and self.tenant == tenant != "")

    def may_deploy(self, tenant: str) -> bool:
        """Whether it may deploy this tenant's apps that want a token."""
        return self.is_operator or self.tenant == tenant


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A token that somebody wants made. `seconds`: how long it works, None for ever."""

    scope: Scope
    name: str | None = None
    seconds: int | None = None

    @classmethod
    def from_json(cls, value: object) -> "TokenRequest":
        """From `TokenRequest` of the contract."""
        fields = Fields(value, "body")
        scope = fields.text("scope", 16)
        if scope not in set(Scope):
            raise InvalidRequest(f"scope: must be one of {', '.join(Scope)}")
        return cls(
            scope=Scope(scope),
            name=fields.label("name", 128, 1) if fields.has("name") else None,
            seconds=fields.integer("valid_seconds", 60, _LONGEST_SECONDS)
            if fields.has("valid_seconds")
            else None,
        )


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is kept. `id` is unique within its tenant. Times are seconds since 1970."""

    tenant: str
    id: str
    scope: Scope
    sha256: str
    created: int
    name: str | None = None
    expires_at: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As `Token` of the contract: nothing that would work."""
        shown: dict[str, Any] = {"id": self.id, "scope": self.scope.value, "created": time_text(self.created)}
        if self.name is not None:
            shown["name"] = self.name
        if self.expires_at is not None:
            shown["expires_at"] = time_text(self.expires_at)
        return shown


class Tokens:
    """All tenants' tokens. `clock`: seconds since 1970; `random_bytes`: so many that nobody can guess."""

    def __init__(
        self,
        documents: Documents,
        tenants: TenantBook,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._documents = documents
        self._tenants = tenants
        self._clock = clock
        self._random = random_bytes
        self._cache: FairCache[bytes, Identity | Unauthorized] = FairCache(_REMEMBERED, monotonic)

    def identify(self, bearer: str | None) -> Identity:
        """Who shows this token. Raises `Unauthorized` for one that never was, was revoked or has ended."""
        found = _TOKEN.fullmatch(bearer) if bearer else None
        if bearer is None or found is None:
            raise Unauthorized(_INVALID if bearer else "A token is needed: Authorization: Bearer sf_…")
        shown = hashlib.sha256(bearer.encode()).digest()  # no cache keeps what would work
        known = self._cache.get(shown)
        if known is None:
            tenant = found[1] or ""
            known, seconds = self._look_up(tenant, found[2], found[3])
            owner = tenant if isinstance(known, Identity) else "?"
            self._cache.put(shown, known, owner, seconds)
        if isinstance(known, Identity):
            return known
        raise Unauthorized(_INVALID)

    def _look_up(self, tenant: str, number: str, secret: str) -> tuple[Identity | Unauthorized, float]:
        """Who shows it, and for how many seconds that may be remembered."""
        document = self._documents.read(_key(tenant, number))
        token = None if document is None else _from_document(tenant, document)
        if token is None or not hmac.compare_digest(token.sha256, _hash(secret)):
            return Unauthorized(_INVALID), FRESH_SECONDS
        left = FRESH_SECONDS if token.expires_at is None else token.expires_at - self._clock()
        if left <= 0:
            return Unauthorized(_INVALID), FRESH_SECONDS
        return Identity(tenant, token.scope), min(left, FRESH_SECONDS)

    def make(self, tenant: str, request: TokenRequest) -> tuple[Token, str]:
        """A new token, and its text, which can't be had again. Raises `QuotaExceeded`."""
        if (request.scope is Scope.OPERATOR) != (tenant == "") and request.scope is not Scope.DEPLOY:
            raise InvalidRequest(
                "scope: must be operator or deploy for the root, tenant or deploy for a tenant"
            )
        now = int(self._clock())
        secret = base64.urlsafe_b64encode(self._random(_SECRET_BYTES)).decode().rstrip("=")
        token = Token(
            tenant=tenant,
            id=self._random(_ID_BYTES).hex(),
            scope=request.scope,
            sha256=_hash(secret),
            created=now,
            name=request.name,
            expires_at=None if request.seconds is None else now + request.seconds,
        )
        quota = self._tenants.get(tenant).quotas.tokens
        if not self._tenants.claim(tenant, _to_document(token), quota):
            raise Conflict("Chance made an id that is taken; try again.")
        return token, f"sf_{tenant}{'.' if tenant else ''}{token.id}_{secret}"

    def page(self, tenant: str, limit: int, after: str) -> tuple[list[Token], str | None]:
        """A tenant's tokens by their ids, and where the next page begins (None at the end)."""
        start = _PREFIX + after if after else ""
        page = self._documents.page(tenant_partition(tenant), _PREFIX, limit, start)
        tokens = [_from_document(tenant, each) for each in page.documents]
        return tokens, tokens[-1].id if page.more and tokens else None

    def revoke(self, tenant: str, number: str) -> None:
        """Let a token work no longer: here at once, elsewhere within `FRESH_SECONDS`. Raises `NotFound`."""
        key = _key(tenant, number)
        if not re.fullmatch(_NUMBER, number) or self._documents.read(key) is None:
            raise NotFound("There is no such token.")
        self._documents.erase(key)
        self._cache.clear()


def _key(tenant: str, number: str) -> DocumentKey:
    return DocumentKey(tenant_partition(tenant), _PREFIX + number)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _to_document(token: Token) -> Document:
    body: dict[str, Any] = {"scope": token.scope.value, "sha256": token.sha256, "created": token.created}
    if token.name is not None:
        body["name"] = token.name
    return Document(_key(token.tenant, token.id), body, expires_at=token.expires_at)


def _from_document(tenant: str, document: Document) -> Token:
    body = document.body
    return Token(
        tenant=tenant,
        id=document.key.name.removeprefix(_PREFIX),
        scope=Scope(body["scope"]),
        sha256=body["sha256"],
        created=body["created"],
        name=body.get("name"),
        expires_at=document.expires_at,
    )
