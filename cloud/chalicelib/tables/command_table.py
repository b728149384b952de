"""Commands that wait for cloudlets, and their answers, on DynamoDB: small items that are gone in seconds.

Called by `deploying/mailbox.py` through the Protocol `CommandStore`. One cloudlet's are one partition. A
command costs two write units, its answer as many as it has kilobytes, and one more to remove it.
"""

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any
from uuid import UUID

from chalicelib.deploying.commands import MOST_COMMANDS, Command, CommandAnswer
from chalicelib.fleet.geo import Location
from chalicelib.fleet.root_keys import Call
from chalicelib.tables.dynamo import TTL_ATTRIBUTE, ConditionFailed, DynamoTable, Meter
from chalicelib.tables.dynamo_reader import Item

KEYS = ("cloudlet_uuid", "id")
_MOST_READ = 64  # answered and expired ones among them
_TAKEN, _STATUS, _BODY = "t", "s", "b"


class DynamoCommandTable:
    """`CommandStore` in a table of its own."""

    def __init__(self, name: str, *, region: str, url: str | None = None, meter: Meter | None = None) -> None:
        self._table = DynamoTable(name, keys=KEYS, region=region, url=url, meter=meter)

    def create(self, pause: Callable[[float], object]) -> None:
        """Make the table where there is none; in the cloud `infra/` does it."""
        self._table.create(pause)

    def post(self, command: Command) -> None:
        """Let it wait."""
        call = command.call
        attributes: dict[str, Any] = {
            TTL_ATTRIBUTE: {"N": str(command.expires_at)},
            "m": {"S": call.method},
            "p": {"S": call.target},
            "a": {"S": str(call.client_ip)},
            "g": {"S": command.signature},
        }
        if call.body:
            attributes["d"] = {"S": call.body.decode()}
        if call.location is not None:
            attributes["y"] = {"N": repr(call.location.latitude)}
            attributes["x"] = {"N": repr(call.location.longitude)}
        self._table.call("put_item", str(call.cloudlet), command.id, attributes=attributes)

    def fetch(self, cloudlet: UUID, now: float) -> list[Command]:
        """Up to `MOST_COMMANDS` that wait for the cloudlet, each for the first who marks it as taken."""
        answer = self._table.read(
            "query",
            KeyConditionExpression="cloudlet_uuid = :c",
            ExpressionAttributeValues={":c": {"S": str(cloudlet)}},
            Limit=_MOST_READ,
        )
        waiting = [
            item for item in answer["Items"] if _TAKEN not in item and int(item[TTL_ATTRIBUTE]["N"]) > now
        ]
        return [_command(cloudlet, item) for item in waiting[:MOST_COMMANDS] if self._take(cloudlet, item)]

    def _take(self, cloudlet: UUID, item: Item) -> bool:
        from pynamodb.expressions.operand import Path, Value

        standing = Path("p").exists() & Path(_TAKEN).does_not_exist()
        actions = [Path(_TAKEN).set(Value({"N": "1"}))]
        return self._conditionally("update_item", cloudlet, item["id"]["S"], standing, actions=actions)

    def answer(self, cloudlet: UUID, command_id: str, answer: CommandAnswer, now: float) -> bool:
        """Keep the answer to a command that was fetched, has none yet and has not expired (False else)."""
        from pynamodb.expressions.operand import Path, Value

        open_ = Path(_TAKEN).exists() & Path(_STATUS).does_not_exist()
        open_ &= Path(TTL_ATTRIBUTE) > Value({"N": str(int(now))})
        actions = [
            Path(_STATUS).set(Value({"N": str(answer.status)})),
            Path(_BODY).set(Value({"S": answer.body.decode()})),
        ]
        return self._conditionally("update_item", cloudlet, command_id, open_, actions=actions)

    def answered(self, cloudlet: UUID, command_id: str) -> CommandAnswer | None:
        """The answer, once there is one."""
        item = self._table.get(str(cloudlet), command_id, consistent=False)
        if item is None or _STATUS not in item:
            return None
        return CommandAnswer(int(item[_STATUS]["N"]), item[_BODY]["S"].encode())

    def remove(self, cloudlet: UUID, command_id: str) -> None:
        """Forget the command and its answer."""
        self._table.call("delete_item", str(cloudlet), command_id)

    def _conditionally(
        self, operation: str, cloudlet: UUID, command_id: str, condition: Any, **arguments: Any
    ) -> bool:
        try:
            self._table.call(operation, str(cloudlet), command_id, condition=condition, **arguments)
        except ConditionFailed:
            return False
        return True


def _command(cloudlet: UUID, item: Item) -> Command:
    location = Location(float(item["y"]["N"]), float(item["x"]["N"])) if "y" in item else None
    body = item["d"]["S"].encode() if "d" in item else b""
    call = Call(cloudlet, item["m"]["S"], item["p"]["S"], ip_address(item["a"]["S"]), location, body)
    return Command(item["id"]["S"], call, item["g"]["S"], int(item[TTL_ATTRIBUTE]["N"]))
