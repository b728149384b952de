"""A target: one deployed backend, and everything that is needed to reach it.

Made by `deploy.py` from what a root or a cloudlet answered, opened by `tunnel.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from device_sdk.fields import WireError
from device_sdk.keys import KeyPair
from device_sdk.tunnels.routes import (
    Reached,
    Route,
    StatusAddress,
    TunnelPlan,
    check_services,
    plan_tunnel,
    status_address,
)
from device_sdk.wire import CloudletName, Deployment, Service


class Tell(Protocol):
    """Tells the root a round trip in seconds, and megabits a second if known. Raises `SinfoniaError`."""

    def __call__(self, seconds: float, throughput_mbps: float | None = None, /) -> None:
        """Once for each cloudlet is enough."""


class Keep(Protocol):
    """Has a root let go of what it had deployed for the app and the device's key. Raises `SinfoniaError`."""

    def __call__(self, cloudlet: UUID | None, /) -> None:
        """All but what is on this cloudlet, which raises `NotFoundError` if it knows of nothing there."""


@dataclass(frozen=True)
class Target:
    """A backend on one cloudlet. `jit` says that the cloudlet was found on the device's own network.

    `plan` is the tunnel, judged harmless; `status_address` is where the gateway tells how far the backend
    is, None at published cloudlets, which do not tell. `trace_id`: of the call that found it. `measured`
    tells the root what was measured; None where nobody wants to know. `keep` is that of the root that named
    the target, None for one found nearby.
    """

    deployment: Deployment
    key: KeyPair
    plan: TunnelPlan
    status_address: StatusAddress | None
    jit: bool = False
    trace_id: str | None = None
    measured: Tell | None = field(default=None, compare=False, repr=False)
    keep: Keep | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(
        cls,
        deployment: Deployment,
        app_uuid: UUID,
        key: KeyPair,
        *,
        jit: bool = False,
        own: Sequence[Route] = (),
        reached: Reached | None = None,
    ) -> Target:
        """Judge `deployment`, an answer to a call for `app_uuid` and `key`; `own` are the networks that the
        device is in, `reached` says how a cloudlet there was asked. Raises `WireError`.
        """
        if deployment.app_uuid != app_uuid:
            raise WireError("UUID", "is not the app that was asked for")
        if deployment.application_key != key.public:
            raise WireError("ApplicationKey", "is not the key that was sent")
        if deployment.tunnel.public_key == key.public:
            raise WireError("TunnelConfig.publicKey", "is the device's own key")
        plan = plan_tunnel(deployment.tunnel, own, reached)
        check_services(deployment.services, plan)
        url = deployment.status_url
        return cls(deployment, key, plan, status_address(url, plan) if url else None, jit)

    @property
    def app_uuid(self) -> UUID:
        """The app."""
        return self.deployment.app_uuid

    @property
    def status(self) -> str:
        """Deploying, Ready or Failed, when the root answered."""
        return self.deployment.status

    @property
    def cloudlet(self) -> CloudletName | None:
        """Where the backend is, if the cloudlet said who it is."""
        return self.deployment.cloudlet

    @property
    def stale(self) -> bool:
        """Whether the root has not heard of the cloudlet for a while."""
        return bool(self.cloudlet and self.cloudlet.stale)

    @property
    def services(self) -> Mapping[str, Service]:
        """What the backend offers, by the names that the app can use. Empty at published cloudlets."""
        return {service.name: service for service in self.deployment.services}

    @property
    def status_url(self) -> str | None:
        """Where the gateway tells, through the tunnel, how far the backend is."""
        return self.deployment.status_url

    @property
    def place(self) -> str:
        """The cloudlet's name for people."""
        cloudlet = self.cloudlet
        return (cloudlet.name or str(cloudlet.uuid)) if cloudlet else self.deployment.tunnel.endpoint

    def same_backend(self, other: Target) -> bool:
        """Whether both lead to one backend: a cloudlet may be offered by a root and found nearby."""
        mine, theirs = self.plan, other.plan
        return (mine.public_key, mine.addresses[0]) == (theirs.public_key, theirs.addresses[0])

    def to_json(self) -> dict[str, Any]:
        """The contract's `Deployment`, `JIT`, and `TraceID` where there is one. Holds no secret."""
        trace = {"TraceID": self.trace_id} if self.trace_id else {}
        return {**self.deployment.to_json(), "JIT": self.jit, **trace}
