"""The usage ledger on DynamoDB: items are put once, and neither changed nor deleted by this program.

Called by `accounts/ledger.py` through its Protocol `UsageStore`. A partition is one shard of a tenant's day,
so that neither a crowd nor time makes one of them hot or large without bound.
"""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from chalicelib.accounts.usage import Partition, Usage
from chalicelib.tables.dynamo import ConditionFailed, DynamoTable, Meter

KEYS = ("partition", "entry")
_NUMBERS = ("since", "until", "bytes_in", "bytes_out")

Item = Mapping[str, Mapping[str, Any]]


class DynamoUsageTable:
    """`UsageStore` in one table."""

    def __init__(self, name: str, *, region: str, url: str | None = None, meter: Meter | None = None) -> None:
        self._table = DynamoTable(name, keys=KEYS, region=region, url=url, meter=meter)

    def create(self, pause: Callable[[float], object]) -> None:
        """Make the table where there is none; in the cloud `infra/` does it."""
        self._table.create(pause)

    def add(self, entry: Usage) -> bool:
        """Write the entry unless it stands (False then)."""
        from pynamodb.expressions.operand import Path

        partition = _partition(Partition(entry.tenant, entry.day, entry.shard))
        attributes: dict[str, Any] = {name: {"N": str(getattr(entry, name))} for name in _NUMBERS}
        for name in ("event", "tenant", "app", "cloudlet", "deployment", "device"):
            if text := str(getattr(entry, name)):
                attributes[name] = {"S": text}
        absent = Path(KEYS[0]).does_not_exist()
        try:
            self._table.call("put_item", partition, entry.order, attributes=attributes, condition=absent)
        except ConditionFailed:
            return False
        return True

    def read(self, partition: Partition, after: str, limit: int) -> list[Usage]:
        """Up to `limit` entries of a partition, by `order`, behind `after`; fewer only at its end."""
        from pynamodb.expressions.operand import Path

        found: list[Usage] = []
        start: dict[str, Any] | None = None
        while True:
            answer = self._table.call(
                "query",
                _partition(partition),
                range_key_condition=Path(KEYS[1]) > after if after else None,
                limit=limit - len(found),
                exclusive_start_key=start,
            )
            found += [_usage(item) for item in answer["Items"]]
            start = answer.get("LastEvaluatedKey")
            if start is None or len(found) >= limit:
                return found


def _partition(partition: Partition) -> str:
    return f"{partition.tenant}#{partition.day}#{partition.shard}"


def _usage(item: Item) -> Usage:
    return Usage(
        event=item["event"]["S"],
        tenant=item["tenant"]["S"] if "tenant" in item else "",
        app=UUID(item["app"]["S"]),
        cloudlet=UUID(item["cloudlet"]["S"]),
        deployment=item["deployment"]["S"],
        device=item["device"]["S"] if "device" in item else "",
        since=int(item["since"]["N"]),
        until=int(item["until"]["N"]),
        bytes_in=int(item["bytes_in"]["N"]),
        bytes_out=int(item["bytes_out"]["N"]),
    )
