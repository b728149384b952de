"""Commands to cloudlets that a root can't call: a call, signed, that waits to be fetched, and its answer.

Used by `mailbox.py`, the views and the table; the shapes are those of `openapi.yaml`.
"""

import json
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from chalicelib.errors import InvalidRequest
from chalicelib.fields import Fields
from chalicelib.fleet.root_keys import Call

COMMAND_ID = "[A-Za-z0-9_-]{22}"
MOST_COMMANDS = 8  # fetched at once


@dataclass(frozen=True, slots=True)
class Command:
    """A call that waits for its cloudlet until `expires_at`, in seconds since 1970."""

    id: str
    call: Call
    signature: str
    expires_at: int

    def to_json(self) -> dict[str, Any]:
        """As `Command` of the contract."""
        place = self.call.location
        location = (
            {} if place is None else {"location": {"latitude": place.latitude, "longitude": place.longitude}}
        )
        return {
            "id": self.id,
            "method": self.call.method,
            "path": self.call.target,
            "client_ip": str(self.call.client_ip),
            **location,
            "signature": self.signature,
            **({"body": self.call.body.decode()} if self.call.body else {}),
        }


@dataclass(frozen=True, slots=True)
class CommandAnswer:
    """What the cloudlet's API would have answered; `body` is JSON, or nothing."""

    status: int
    body: bytes = b""

    @classmethod
    def from_json(cls, value: object) -> "CommandAnswer":
        """From the body of POST /cloudlets/{uuid}/commands/{id}."""
        fields = Fields(value, "body")
        status, body = fields.integer("status", 200, 599), fields.get("body")
        if not fields.has("body"):
            return cls(status)
        if not isinstance(body, list | dict):
            raise InvalidRequest("body.body: must be an array or an object")
        try:
            return cls(status, json.dumps(body, allow_nan=False).encode())
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"body.body: is no JSON ({error})") from error


def parse_command_id(text: str) -> str:
    """A command's id as a path has it."""
    return Fields({"command_id": text}, "body").text("command_id", 22, 22, COMMAND_ID)


class CommandStore(Protocol):
    """Where commands wait; see `tables/command_table.py`. Every method raises `Unavailable`."""

    def post(self, command: Command) -> None:
        """Let it wait."""

    def fetch(self, cloudlet: UUID, now: float) -> list[Command]:
        """Up to `MOST_COMMANDS` that wait for the cloudlet. Each is fetched once."""

    def answer(self, cloudlet: UUID, command_id: str, answer: CommandAnswer, now: float) -> bool:
        """Keep the answer to a command that was fetched, has none yet and has not expired (False else)."""

    def answered(self, cloudlet: UUID, command_id: str) -> CommandAnswer | None:
        """The answer, once there is one."""

    def remove(self, cloudlet: UUID, command_id: str) -> None:
        """Forget the command and its answer."""
