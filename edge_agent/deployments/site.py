"""What this cloudlet tells devices about a deployment: pure, called by `deploy.py`."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from edge_agent.deployments.addresses import Plan
from edge_agent.deployments.records import Record, State
from edge_agent.deployments.requirements import Offer
from edge_agent.wire import Deployment, TunnelConfig, TunnelIPv6

DOMAIN = "sinfonia.internal"
"""Names of backends end so; `internal` is reserved for such private use (ICANN, 2024)."""


@dataclass(frozen=True)
class Site:
    """The cloudlet as devices see it. `endpoint` is the gateway's literal IPv4 address and UDP port,
    `endpoint6` an IPv6 one, in brackets, if it has that too.
    """

    uuid: UUID
    name: str | None
    public_key: bytes
    endpoint: str
    plan: Plan
    offer: Offer = field(default_factory=Offer)
    endpoint6: str | None = None

    def describe(self, record: Record, state: State, reason: str) -> Deployment:
        """The deployment as it goes over the wire."""
        gateway = self.plan.gateway
        tunnel = TunnelConfig(
            public_key=self.public_key,
            allowed_ips=(f"{gateway}/32", str(record.block)),
            endpoint=self.endpoint,
            address=(f"{record.device}/32",),
            dns=(str(gateway), f"{record.name}.{DOMAIN}"),
            ipv6=self._ipv6(record),
        )
        return Deployment(
            app=record.app,
            key=record.key,
            state=state,
            tunnel=tunnel,
            name=record.name,
            created=record.created.strftime("%Y-%m-%dT%H:%M:%SZ"),
            cloudlet=self.uuid,
            status_url=f"http://{gateway}/api/v1/deployment",
            services=record.services,
            cloudlet_name=self.name,
            reason=reason or None,
        )

    def _ipv6(self, record: Record) -> TunnelIPv6 | None:
        """The addresses that mirror the deployment's, and where else the gateway is."""
        plan = self.plan
        if plan.network6 is None:
            return TunnelIPv6(self.endpoint6) if self.endpoint6 else None
        return TunnelIPv6(
            endpoint=self.endpoint6,
            allowed_ips=(f"{plan.gateway6}/128", str(plan.twin_block(record.block))),
            address=(f"{plan.twin(record.device)}/128",),
            dns=(str(plan.gateway6),),
        )
