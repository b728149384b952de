"""Invitations and allow lists: which cloudlets may register, as their tenants say.

Called by `fleet/admission.py` when a cloudlet registers, and by `views/admissions.py`. An invitation reads
`si_<id>_<secret>` and is for one cloudlet, which may show it again each time it registers. Its hash is kept.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from chalicelib.accounts.documents import Document, DocumentKey, Documents, tenant_partition, time_text
from chalicelib.accounts.tenants import TenantBook
from chalicelib.errors import Conflict, NotFound
from chalicelib.fields import Fields

_INVITED, _LISTED = "invitation#", "cloudlet#"
_NUMBER = r"[0-9a-f]{16}"
_CODE = re.compile(rf"si_({_NUMBER})_([A-Za-z0-9_-]{{32}})")
_ID_BYTES, _SECRET_BYTES = 8, 24
_WEEK_SECONDS = 7 * 86400
_LONGEST_SECONDS = 366 * 86400
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class InvitationRequest:
    """An invitation that somebody wants made. `seconds`: within which it is to be used."""

    name: str | None = None
    seconds: int = _WEEK_SECONDS

    @classmethod
    def from_json(cls, value: object) -> "InvitationRequest":
        """From `InvitationRequest` of the contract."""
        fields = Fields(value, "body")
        return cls(
            name=fields.label("name", 128, 1) if fields.has("name") else None,
            seconds=fields.integer("valid_seconds", 60, _LONGEST_SECONDS)
            if fields.has("valid_seconds")
            else _WEEK_SECONDS,
        )


def parse_allowance(value: object) -> str | None:
    """From `AllowRequest` of the contract: what the cloudlet is called on the list."""
    fields = Fields(value, "body")
    return fields.label("name", 128, 1) if fields.has("name") else None


class Admissions:
    """`fleet.admission.AdmissionBook`, and what changes it. `clock`: seconds since 1970."""

    def __init__(
        self,
        documents: Documents,
        tenants: TenantBook,
        clock: Callable[[], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._documents = documents
        self._tenants = tenants
        self._clock = clock
        self._random = random_bytes

    def policy(self, tenant: str) -> str:
        """Who may register, as it was at most ten seconds ago. Raises `NotFound`, `Unavailable`."""
        return self._tenants.known(tenant).admission

    def listed(self, tenant: str, cloudlet: UUID) -> bool:
        """Whether the cloudlet is on the allow list. Raises `Unavailable`."""
        return self._documents.read(_listed_key(tenant, cloudlet)) is not None

    def spend(self, tenant: str, invitation: str, cloudlet: UUID) -> bool:
        """Use an invitation up; True also where this very cloudlet used it before. Raises `Unavailable`."""
        found = _CODE.fullmatch(invitation)
        for _ in range(_ATTEMPTS if found else 0):
            document = self._documents.read(_invited_key(tenant, found[1] if found else ""))
            if document is None or not hmac.compare_digest(document.body["sha256"], _hash(invitation)):
                return False
            if "cloudlet" in document.body:
                return bool(document.body["cloudlet"] == str(cloudlet))
            if document.expires_at is None or document.expires_at <= self._clock():
                return False
            used = {**document.body, "cloudlet": str(cloudlet), "used": int(self._clock())}
            if self._documents.write(replace(document, body=used, expires_at=None)):
                return True
        return False

    def invite(self, tenant: str, request: InvitationRequest) -> dict[str, Any]:
        """A new invitation as `NewInvitation` of the contract, with the code that is shown once."""
        number = self._random(_ID_BYTES).hex()
        secret = base64.urlsafe_b64encode(self._random(_SECRET_BYTES)).decode()
        code = f"si_{number}_{secret}"
        now = int(self._clock())
        body: dict[str, Any] = {"sha256": _hash(code), "created": now}
        if request.name is not None:
            body["name"] = request.name
        document = Document(_invited_key(tenant, number), body, expires_at=now + request.seconds)
        quota = self._tenants.get(tenant).quotas.invitations
        if not self._tenants.claim(tenant, document, quota):
            raise Conflict("Chance made an id that is taken; try again.")
        return {**_invitation_json(document), "code": code}

    def invitations(self, tenant: str, limit: int, after: str) -> tuple[list[dict[str, Any]], str | None]:
        """A tenant's invitations as `Invitation` of the contract, and where the next page begins."""
        documents, end = self._page(tenant, _INVITED, limit, after)
        now = self._clock()
        living = [each for each in documents if each.expires_at is None or each.expires_at > now]
        return [_invitation_json(each) for each in living], end

    def uninvite(self, tenant: str, number: str) -> None:
        """Take an invitation back: whoever used it is not let in again with it. Raises `NotFound`."""
        key = _invited_key(tenant, number)
        if not re.fullmatch(_NUMBER, number) or self._documents.read(key) is None:
            raise NotFound("There is no such invitation.")
        self._documents.erase(key)

    def allow(self, tenant: str, cloudlet: UUID, name: str | None) -> dict[str, Any]:
        """Put a cloudlet on the list, or name it anew; as `AllowedCloudlet` of the contract."""
        key = _listed_key(tenant, cloudlet)
        body: dict[str, Any] = {"created": int(self._clock())}
        if name is not None:
            body["name"] = name
        document = Document(key, body)
        if not self._tenants.claim(tenant, document, self._tenants.get(tenant).quotas.cloudlets):
            standing = self._documents.read(key)
            if standing is not None:
                body["created"] = standing.body["created"]
                document = replace(standing, body=body)
            if not self._documents.write(document):
                raise Conflict("The cloudlet is being listed by somebody else; try again.")
        return _listed_json(document)

    def allowed(self, tenant: str, limit: int, after: str) -> tuple[list[dict[str, Any]], str | None]:
        """The allow list as `AllowedCloudlet` of the contract, and where the next page begins."""
        documents, end = self._page(tenant, _LISTED, limit, after)
        return [_listed_json(each) for each in documents], end

    def disallow(self, tenant: str, cloudlet: UUID) -> None:
        """Take a cloudlet off the list: it can't register again. Raises `NotFound`."""
        if not self.listed(tenant, cloudlet):
            raise NotFound("There is no such cloudlet on the list.")
        self._documents.erase(_listed_key(tenant, cloudlet))

    def _page(self, tenant: str, prefix: str, limit: int, after: str) -> tuple[list[Document], str | None]:
        start = prefix + after if after else ""
        page = self._documents.page(tenant_partition(tenant), prefix, limit, start)
        end = page.documents[-1].key.name.removeprefix(prefix) if page.more and page.documents else None
        return page.documents, end


def _invited_key(tenant: str, number: str) -> DocumentKey:
    return DocumentKey(tenant_partition(tenant), _INVITED + number)


def _listed_key(tenant: str, cloudlet: UUID) -> DocumentKey:
    return DocumentKey(tenant_partition(tenant), f"{_LISTED}{cloudlet}")


def _hash(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()


def _invitation_json(document: Document) -> dict[str, Any]:
    body = document.body
    shown: dict[str, Any] = {
        "id": document.key.name.removeprefix(_INVITED),
        "created": time_text(body["created"]),
    }
    if "name" in body:
        shown["name"] = body["name"]
    if "cloudlet" in body:
        shown |= {"cloudlet": body["cloudlet"], "used": time_text(body["used"])}
    elif document.expires_at is not None:
        shown["expires_at"] = time_text(document.expires_at)
    return shown


def _listed_json(document: Document) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "uuid": document.key.name.removeprefix(_LISTED),
        "created": time_text(document.body["created"]),
    }
    if "name" in document.body:
        shown["name"] = document.body["name"]
    return shown
