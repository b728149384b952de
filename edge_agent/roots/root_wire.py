"""What the agent and its roots say to each other, of its own accord: the rest of `openapi.yaml`.

As in `wire.py`, `from_json` raises `InvalidRequest` and ignores unknown fields. Called by `roots.py`,
`mailbox.py`, `commands.py` and `usage.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from edge_agent.deployments.requirements import Hardware
from edge_agent.errors import InvalidRequest
from edge_agent.fields import as_object, integer, number, text
from edge_agent.serving.signatures import MAX_CHARACTERS, PublicKey, read_keys
from edge_agent.wire import Location, Resources, present

MAX_INCARNATION = (1 << 53) - 1
"""The greatest integer that every JSON reader keeps exactly (RFC 8259, 6)."""
MAX_CACHED = 16
MAX_COMMANDS = 8
_MAX_COMMAND_BODY = 8192
_TOKEN = re.compile(r"[!-~]+")
_COMMAND_ID = re.compile(r"[A-Za-z0-9_-]{22}")
_COMMAND_PATH = re.compile(r"/[!-~]*")


@dataclass(frozen=True)
class Registration:
    """What the agent registers with; networks are CIDR texts, the interval is in seconds.

    `endpoint` None: roots can't call it. `price` is per hour, in the root's currency; `invitation` is a
    secret.
    """

    endpoint: str | None
    incarnation: int
    name: str | None = None
    interval_seconds: float | None = None
    location: Location | None = None
    local_networks: tuple[str, ...] = ()
    accepted_clients: tuple[str, ...] = ()
    rejected_clients: tuple[str, ...] = ()
    resources: Resources | None = None
    tenant: str | None = None
    invitation: str | None = None
    price: float | None = None
    jurisdiction: str | None = None
    hardware: Hardware = field(default_factory=Hardware)
    cached: tuple[UUID, ...] = ()
    draining: bool = False

    def to_json(self) -> dict[str, Any]:
        """The `Registration` object."""
        return present(
            name=self.name,
            endpoint=self.endpoint,
            callable=None if self.endpoint else False,
            incarnation=self.incarnation,
            interval_seconds=self.interval_seconds,
            location=self.location.to_json() if self.location else None,
            local_networks=list(self.local_networks) or None,
            accepted_clients=list(self.accepted_clients) or None,
            rejected_clients=list(self.rejected_clients) or None,
            resources=self.resources.to_json() if self.resources else None,
            tenant=self.tenant,
            invitation=self.invitation,
            price=self.price,
            jurisdiction=self.jurisdiction,
            hardware=self.hardware.to_json() or None,
            cached=[str(app) for app in self.cached] or None,
            draining=self.draining or None,
        )


@dataclass(frozen=True)
class Keepalive:
    """Still here; `sequence` grows within an incarnation. `draining`, `cached`: None is as before."""

    sequence: int
    resources: Resources
    draining: bool | None = None
    cached: tuple[UUID, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """The `Keepalive` object."""
        return present(
            sequence=self.sequence,
            resources=self.resources.to_json(),
            draining=self.draining,
            cached=None if self.cached is None else [str(app) for app in self.cached],
        )


@dataclass(frozen=True)
class Usage:
    """What went through a deployment's tunnel: seconds since 1970 by the root's clock, bytes as seen from
    here.
    """

    deployment: str
    app: UUID
    since: int
    until: int
    bytes_in: int
    bytes_out: int

    def to_json(self) -> dict[str, Any]:
        """The `UsageReport` object."""
        times = {"from": self.since, "to": self.until}
        moved = {"bytes_in": self.bytes_in, "bytes_out": self.bytes_out}
        return {"deployment": self.deployment, "app": str(self.app), **times, **moved}


@dataclass(frozen=True)
class Command:
    """A call that a root can't make, and the cloudlet fetches: `path` is `/<app>/<key>` with its query,
    `body` the text that was signed with it.
    """

    id: str
    method: str
    path: str
    signature: str
    body: str = ""

    @classmethod
    def from_json(cls, value: Any) -> Command:
        """Check a `Command` object. Its client and location count only as the signature has them."""
        data = as_object(value, "command")
        name, method = text(data, "id", 22) or "", text(data, "method", 8) or ""
        path, signature = text(data, "path", 256) or "", text(data, "signature", MAX_CHARACTERS)
        if not _COMMAND_ID.fullmatch(name):
            raise InvalidRequest("id: must be 22 characters of base64url")
        if method not in ("POST", "GET", "DELETE"):
            raise InvalidRequest("method: must be POST, GET or DELETE")
        if not _COMMAND_PATH.fullmatch(path):
            raise InvalidRequest("path: must be a path with its query")
        if not text(data, "client_ip", 45) or not signature:
            raise InvalidRequest("command: needs client_ip and signature")
        if "location" in data:
            Location.from_json(data["location"])
        return cls(name, method, path, signature, text(data, "body", _MAX_COMMAND_BODY) or "")


@dataclass(frozen=True)
class Lease:
    """A root's answer to a registration or keepalive; the token is present where it is new.

    `keys` and the `proof` that the root has the first of them come with a registration, `commands` with a
    keepalive of a cloudlet that can't be called.
    """

    interval_seconds: float
    lease_seconds: float
    lease_token: str | None = None
    keys: tuple[PublicKey, ...] = ()
    commands: tuple[Command, ...] = ()
    proof: str | None = None

    @classmethod
    def from_json(cls, value: Any) -> Lease:
        """Check a `Lease` object. No pace below a second or above a day is believed."""
        data = as_object(value, "lease")
        interval = number(data, "interval_seconds", 0.001, 86_400)
        lease = number(data, "lease_seconds", 0.001, 604_800)
        if interval is None or lease is None:
            raise InvalidRequest("lease: needs interval_seconds and lease_seconds")
        token = text(data, "lease_token", 1024)
        if token is not None and not _TOKEN.fullmatch(token):
            raise InvalidRequest("lease_token: must be visible ASCII without blanks")
        keys = read_keys(data["root_keys"]) if "root_keys" in data else ()
        commands, proof = read_commands(data.get("commands", [])), text(data, "root_proof", 2048)
        return cls(max(interval, 1.0), lease, token, keys, commands, proof)


def read_commands(value: Any) -> tuple[Command, ...]:
    """A `Commands` array."""
    if not isinstance(value, list) or len(value) > MAX_COMMANDS:
        raise InvalidRequest(f"commands: must be a list of at most {MAX_COMMANDS} commands")
    return tuple(Command.from_json(item) for item in value)


def standing_incarnation(value: Any) -> int | None:
    """The `incarnation` that a root's `stale` problem names, if it is one."""
    try:
        return integer(as_object(value, "problem"), "incarnation", 0, MAX_INCARNATION)
    except InvalidRequest:
        return None
