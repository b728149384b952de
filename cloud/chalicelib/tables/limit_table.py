"""Counters of allowances on DynamoDB, one item per allowance and window.

Called by `accounts/limits.py` through its Protocol `AllowanceStore`. Soft state: losing it only lets callers
begin their windows anew.
"""

from collections.abc import Callable
from typing import Any

from chalicelib.tables.dynamo import TTL_ATTRIBUTE, ConditionFailed, DynamoTable, Meter

KEYS = ("allowance", "window")
_USED = "used"


class DynamoLimitTable:
    """`AllowanceStore` in one table."""

    def __init__(self, name: str, *, region: str, url: str | None = None, meter: Meter | None = None) -> None:
        self._table = DynamoTable(name, keys=KEYS, region=region, url=url, meter=meter)

    def create(self, pause: Callable[[float], object]) -> None:
        """Make the table where there is none; in the cloud `infra/` does it."""
        self._table.create(pause)

    def reserve(self, name: str, window: int, count: int, most: int, expires_at: int) -> int:
        """Take up to `count` of what is left of `most`; how many were taken. One conditional write."""
        try:
            answer = self._table.call("update_item", name, str(window), **_adding(count, most, expires_at))
        except ConditionFailed:
            return 0
        used = int(answer["Attributes"][_USED]["N"])
        return count - max(0, used - most)  # the counter may pass the limit; what was given never does


def _adding(count: int, most: int, expires_at: int) -> dict[str, Any]:
    from pynamodb.expressions.operand import Path, Value
    from pynamodb.expressions.update import AddAction, SetAction

    return {
        "actions": [
            AddAction(Path(_USED), Value({"N": str(count)})),
            SetAction(Path(TTL_ATTRIBUTE), Value({"N": str(expires_at)})),
        ],
        "condition": Path(_USED).does_not_exist() | (Path(_USED) < Value({"N": str(most)})),
        "return_values": "ALL_NEW",
    }
