"""The record of a deployment, and how it is written into a runtime as labels and annotations.

The record lives in the runtime and nowhere else: as the annotations of a namespace (Kubernetes) or the
labels of a network (Podman). It says everything that is needed to carry on after a restart: whose it is,
what it is, and which addresses it was promised. Used by
`lifecycle.py`, `live.py` and the runtimes; calls nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network
from typing import Literal
from uuid import UUID

from edge_agent.errors import AgentError, InvalidRequest
from edge_agent.fields import format_key, parse_application_key, parse_uuid
from edge_agent.wire import Service, ServicePort

State = Literal["Deploying", "Ready", "Failed"]
"""As it goes over the wire."""
Seen = Literal[State, "Resting"]
"""As a runtime sees it: one that rests has a record, and no pods until it is applied again."""
Port = tuple[str, str, int]
"""A service's port as devices see it: service name, `TCP` or `UDP`, port."""

MANAGED_BY = "app.kubernetes.io/managed-by"
AGENT_LABEL = "sinfonia/agent"
APP_LABEL = "sinfonia/app"
DEPLOYMENT_LABEL = "sinfonia/deployment"
ADDRESSES = "sinfonia/addresses"
PREFIX = "sinfonia-"
"""Before the deployment's name in namespaces and networks."""

MAX_SERVICES = 5
"""An aligned /29 has eight addresses: its own, the device's, five services, the last."""


class DamagedRecord(AgentError):
    """A record in the runtime can't be read; the object that holds it is not ours to use."""


@dataclass(frozen=True)
class Order:
    """What a deploy call asks for besides its app and key.

    `root`: the URL of the root that asks; empty for a device's own call. `values`: what the call sets of the
    recipe's settable values, as canonical JSON. `bundle`: the name of what the device handed over, for where
    there is no recipe. Empty: nothing.
    """

    root: str = ""
    values: str = ""
    bundle: str = ""


NOTHING = Order()


@dataclass(frozen=True)
class Record:
    """One deployment.

    `block` is an aligned /29: its first host is the device's tunnel address, the next ones the services' in
    the order of `ports`. `workloads` counts the pods' owners (Deployments, Pods …): fewer in the runtime
    means half made. `order` is what the call asked for that made it. `addresses` are the services' own by
    name, where the runtime gives them: empty while it has not, None where they follow from `block`.
    """

    name: str
    app: UUID
    key: bytes
    block: IPv4Network
    chart: str
    version: str
    created: datetime
    ports: Mapping[str, tuple[ServicePort, ...]]
    workloads: int
    order: Order = NOTHING
    addresses: Mapping[str, IPv4Address] | None = None

    @property
    def unaddressed(self) -> bool:
        """Whether it is so young that its services have no addresses: it can't be told to anybody."""
        return self.addresses is not None and not self.addresses

    @property
    def root(self) -> str:
        """The URL of the root that asked for it; empty for a device's own call."""
        return self.order.root

    @property
    def device(self) -> IPv4Address:
        """The device's address in the tunnel."""
        return self.block[1]

    @property
    def home(self) -> str:
        """The name of the namespace or network that holds everything of this deployment."""
        return PREFIX + self.name

    @property
    def services(self) -> tuple[Service, ...]:
        """What the device can reach, with the addresses that it has in the tunnel."""
        addresses = self.addresses
        if addresses is None:
            addresses = {name: self.block[2 + index] for index, name in enumerate(sorted(self.ports))}
        return tuple(
            Service(name, str(addresses[name]), ports)
            for name, ports in sorted(self.ports.items())
            if name in addresses
        )

    def labels(self, agent: UUID) -> dict[str, str]:
        """What runtimes select by; every value fits a Kubernetes label."""
        return {
            MANAGED_BY: "sinfonia",
            AGENT_LABEL: str(agent),
            APP_LABEL: str(self.app),
            DEPLOYMENT_LABEL: self.name,
        }

    def notes(self) -> dict[str, str]:
        """The rest of the record, as annotations."""
        return {
            "sinfonia/key": format_key(self.key),
            "sinfonia/block": str(self.block),
            "sinfonia/chart": self.chart,
            "sinfonia/version": self.version,
            "sinfonia/created": self.created.isoformat(),
            "sinfonia/services": _write_ports(self.ports),
            "sinfonia/workloads": str(self.workloads),
            "sinfonia/root": self.root,
            **({"sinfonia/values": self.order.values} if self.order.values else {}),
            **({"sinfonia/bundle": self.order.bundle} if self.order.bundle else {}),
            **({} if self.addresses is None else {ADDRESSES: write_addresses(self.addresses)}),
        }

    @classmethod
    def read(cls, notes: Mapping[str, str]) -> Record:
        """The record from its labels and annotations together; raises `DamagedRecord`."""
        try:
            block = IPv4Network(notes["sinfonia/block"])
            created = datetime.fromisoformat(notes["sinfonia/created"])
            if block.prefixlen != 29 or created.tzinfo is None:
                raise DamagedRecord("its block is not a /29, or its time has no zone")
            return cls(
                name=notes[DEPLOYMENT_LABEL],
                app=parse_uuid(notes[APP_LABEL], APP_LABEL),
                key=parse_application_key(notes["sinfonia/key"]),
                block=block,
                chart=notes["sinfonia/chart"],
                version=notes["sinfonia/version"],
                created=created.astimezone(UTC),
                ports=_read_ports(notes["sinfonia/services"]),
                workloads=int(notes["sinfonia/workloads"]),
                order=Order(  # older agents' records have less
                    notes.get("sinfonia/root", ""),
                    notes.get("sinfonia/values", ""),
                    notes.get("sinfonia/bundle", ""),
                ),
                addresses=_read_addresses(notes.get(ADDRESSES)),
            )
        except (KeyError, ValueError, InvalidRequest) as error:
            raise DamagedRecord(f"not a deployment's record: {error!r}") from error


@dataclass(frozen=True)
class Observed:
    """What the runtime sees of a deployment: its state, why, and where its ready ports are."""

    state: Seen
    reason: str = ""
    endpoints: Mapping[Port, tuple[IPv4Address, int]] | None = None


def deployment_name(chart: str, app: UUID, key: bytes) -> str:
    """`<slug of the chart's name>-<10 hexadecimal digits>`: fit for a host name, at most 51 characters."""
    stem = chart.rsplit("/", 1)[-1].removesuffix(".tgz").lower()
    slug = re.sub(r"[^a-z0-9]+", "-", stem)[:40].strip("-") or "app"
    return f"{slug}-{hashlib.sha256(app.bytes + key).hexdigest()[:10]}"


def write_addresses(addresses: Mapping[str, IPv4Address]) -> str:
    """`api=10.96.0.7;web=10.96.0.9`."""
    return ";".join(f"{name}={address}" for name, address in sorted(addresses.items()))


def _read_addresses(text: str | None) -> dict[str, IPv4Address] | None:
    if text is None:
        return None
    pairs = (item.partition("=") for item in text.split(";") if item)
    return {name: IPv4Address(address) for name, _, address in pairs}


def _write_ports(ports: Mapping[str, tuple[ServicePort, ...]]) -> str:
    """`web:TCP/80,UDP/53;api:TCP/8080`."""
    services = (
        f"{name}:" + ",".join(f"{port.protocol}/{port.port}" for port in served)
        for name, served in sorted(ports.items())
    )
    return ";".join(services)


def _read_ports(text: str) -> dict[str, tuple[ServicePort, ...]]:
    ports: dict[str, tuple[ServicePort, ...]] = {}
    for service in filter(None, text.split(";")):
        name, _, listed = service.partition(":")
        pairs = [item.split("/") for item in listed.split(",") if item]
        ports[name] = tuple(ServicePort(protocol, int(port)) for protocol, port in pairs)
    if len(ports) > MAX_SERVICES:
        raise ValueError("too many services")
    return ports
