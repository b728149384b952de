"""Who may register a cloudlet, for whom, and how far it is trusted then.

Called by `registry.py`; asks the accounts through `AdmissionBook`. A tenant (the root itself is "") is open
to everybody who signs, to who has an invitation, or to those on its list. Cloudlets that don't sign, like
the published Sinfonia's, are only ever shared ones, and only where the root's settings say so.
"""

from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from chalicelib.errors import Forbidden, NotFound, Unauthorized
from chalicelib.fleet.cloudlets import Trust

OPEN, INVITATION, ALLOW_LIST = "open", "invitation", "allow-list"
_KEY_VERSION = 8  # RFC 9562: UUIDs made of something, here of a key


class AdmissionBook(Protocol):
    """What tenants say of their own cloudlets. The tenant "" is the root's own; its cloudlets are shared."""

    def policy(self, tenant: str) -> str:
        """`OPEN`, `INVITATION` or `ALLOW_LIST`. Raises `NotFound`, `Unavailable`."""

    def spend(self, tenant: str, invitation: str, cloudlet: UUID) -> bool:
        """Use an invitation up; True also where this cloudlet has used it before. Raises `Unavailable`."""

    def listed(self, tenant: str, cloudlet: UUID) -> bool:
        """Whether the cloudlet is on the allow list. Raises `Unavailable`."""


@dataclass(frozen=True, slots=True)
class Applicant:
    """Who wants in. `signed`: the owner of the UUID's key asks; `tenant`: whose own it is to be."""

    cloudlet: UUID
    signed: bool
    tenant: str = ""
    invitation: str | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """Decides; `admits_unsigned` is the operator's word on cloudlets that can't sign."""

    book: AdmissionBook
    admits_unsigned: bool

    def admit(self, applicant: Applicant) -> Trust:
        """How far the cloudlet is trusted. Raises `Unauthorized` or `Forbidden`."""
        if not applicant.signed:
            return self._unsigned(applicant)
        policy = self._policy(applicant.tenant)
        if self.book.listed(applicant.tenant, applicant.cloudlet):
            return Trust.LISTED
        if policy == ALLOW_LIST:
            raise Forbidden(f"Cloudlet {applicant.cloudlet} is not on the list of those allowed here.")
        if applicant.invitation is not None:
            if not self.book.spend(applicant.tenant, applicant.invitation, applicant.cloudlet):
                raise Forbidden("The invitation is unknown, has expired or was used by another cloudlet.")
            return Trust.INVITED
        if policy != OPEN:
            raise Forbidden("A cloudlet needs an invitation to register here.")
        return Trust.SIGNED

    def _policy(self, tenant: str) -> str:
        try:
            return self.book.policy(tenant)
        except NotFound as error:
            raise Forbidden(f"This root has no tenant {tenant!r}.") from error

    def _unsigned(self, applicant: Applicant) -> Trust:
        if applicant.cloudlet.version == _KEY_VERSION:
            raise Unauthorized("This UUID belongs to a key: the registration must be signed with it.")
        if not self.admits_unsigned:
            raise Unauthorized("This root admits cloudlets that sign their registration only.")
        if applicant.tenant or applicant.invitation is not None:
            raise Unauthorized("A tenant's own or invited cloudlet must sign its registration.")
        if self._policy("") != OPEN:
            raise Forbidden("A cloudlet needs to be invited or listed here, and to sign its registration.")
        return Trust.UNSIGNED
