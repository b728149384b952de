"""What this cloudlet tells devices about a deployment: pure, called by `deploy.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from uuid import UUID

from edge_agent.deployments.addresses import Plan
from edge_agent.deployments.records import Record, State
from edge_agent.deployments.requirements import Offer
from edge_agent.wire import Deployment, TunnelConfig, TunnelIPv6

DOMAIN = "sinfonia.internal"
"""Names of backends end so; `internal` is reserved for such private use (ICANN, 2024)."""


@dataclass(frozen=True)
class Entrance:
    """Where tunnels lead in. `endpoint` is the gateway's literal IPv4 address and UDP port, `endpoint6` an
    IPv6 one, in brackets, if it has that too; `address` is where it serves status and names in the tunnel.
    """

    public_key: bytes
    endpoint: str
    address: IPv4Address
    endpoint6: str | None = None


@dataclass(frozen=True)
class Site:
    """The cloudlet as devices see it. `entrance` raises `Unavailable` while there is none."""

    uuid: UUID
    name: str | None
    plan: Plan
    entrance: Callable[[], Entrance]
    offer: Offer = field(default_factory=Offer)

    def describe(self, record: Record, state: State, reason: str) -> Deployment:
        """The deployment as it goes over the wire; raises `Unavailable`."""
        entrance = self.entrance()
        gateway = entrance.address
        tunnel = TunnelConfig(
            public_key=entrance.public_key,
            allowed_ips=(f"{gateway}/32", *_blocks(record)),
            endpoint=entrance.endpoint,
            address=(f"{record.device}/32",),
            dns=(str(gateway), f"{record.name}.{DOMAIN}"),
            ipv6=self._ipv6(record, entrance.endpoint6),
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

    def _ipv6(self, record: Record, endpoint: str | None) -> TunnelIPv6 | None:
        """The addresses that mirror the deployment's, and where else the gateway is."""
        plan = self.plan
        if plan.network6 is None:
            return TunnelIPv6(endpoint) if endpoint else None
        return TunnelIPv6(
            endpoint=endpoint,
            allowed_ips=(f"{plan.gateway6}/128", str(plan.twin_block(record.block))),
            address=(f"{plan.twin(record.device)}/128",),
            dns=(str(plan.gateway6),),
        )


def _blocks(record: Record) -> list[str]:
    """Where the device's services are: in its block, or each at an address of its own."""
    if record.addresses is None:
        return [str(record.block)]
    return [f"{address}/32" for _, address in sorted(record.addresses.items())]
