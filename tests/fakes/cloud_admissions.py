"""What tenants say of their cloudlets, in memory: `fleet.admission.AdmissionBook`."""

from uuid import UUID

from chalicelib.errors import NotFound


class FakeAdmissionBook:
    """`policies` by tenant, `invitations` by tenant and code with who used it, `lists` by tenant."""

    def __init__(self) -> None:
        self.policies = {"": "open"}
        self.invitations: dict[tuple[str, str], UUID | None] = {}
        self.lists: set[tuple[str, UUID]] = set()

    def policy(self, tenant: str) -> str:
        if tenant not in self.policies:
            raise NotFound("There is no such tenant.")
        return self.policies[tenant]

    def spend(self, tenant: str, invitation: str, cloudlet: UUID) -> bool:
        key = tenant, invitation
        if self.invitations.get(key, cloudlet) not in (None, cloudlet) or key not in self.invitations:
            return False
        self.invitations[key] = cloudlet
        return True

    def listed(self, tenant: str, cloudlet: UUID) -> bool:
        return (tenant, cloudlet) in self.lists
