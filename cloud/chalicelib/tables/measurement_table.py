"""Tallies of what devices measured, on DynamoDB: one item per network of clients, hour and cloudlet.

Called by `choosing/measurements.py` through its Protocol `MeasurementStore`. An item counts reports by
class: `r17` is how many round trips fell into class 17, `t12` the same of throughput, `n` is all of them.
Soft state.
"""

from collections.abc import Callable
from uuid import UUID

from chalicelib.choosing.measurements import DAY_HOURS, HOUR, Tally
from chalicelib.tables.dynamo import TTL_ATTRIBUTE, ConditionFailed, DynamoTable, Meter
from chalicelib.tables.dynamo_reader import Item

KEYS = ("network", "entry")
MOST_TALLIES = 256  # of a network, the latest: at most 64 KB, mostly one read unit
MOST_REPORTS = 1000  # an hour, of one network and cloudlet: more would tell nothing new
_ALL = "n"
_HOUR_DIGITS = 7


class DynamoMeasurementTable:
    """`MeasurementStore` in one table."""

    def __init__(self, name: str, *, region: str, url: str | None = None, meter: Meter | None = None) -> None:
        self._table = DynamoTable(name, keys=KEYS, region=region, url=url, meter=meter)

    def create(self, pause: Callable[[float], object]) -> None:
        """Make the table where there is none; in the cloud `infra/` does it."""
        self._table.create(pause)

    def add(self, network: str, hour: int, cloudlet: UUID, rtt: int, throughput: int | None) -> None:
        """Count one report, unless there are enough. One conditional write of one unit."""
        from pynamodb.expressions.operand import Path, Value
        from pynamodb.expressions.update import AddAction, SetAction

        one = Value({"N": "1"})
        classes = [f"r{rtt}"] if throughput is None else [f"r{rtt}", f"t{throughput}"]
        expires_at = str((hour + DAY_HOURS + 1) * HOUR)
        try:
            self._table.call(
                "update_item",
                network,
                f"{hour:0{_HOUR_DIGITS}}#{cloudlet}",
                actions=[
                    *(AddAction(Path(name), one) for name in (_ALL, *classes)),
                    SetAction(Path(TTL_ATTRIBUTE), Value({"N": expires_at})),
                ],
                condition=Path(_ALL).does_not_exist() | (Path(_ALL) < Value({"N": str(MOST_REPORTS)})),
            )
        except ConditionFailed:
            return

    def read(self, network: str, since_hour: int) -> list[Tally]:
        """The tallies of a network from an hour on, the latest first, at most `MOST_TALLIES`. One query."""
        answer = self._table.read(
            "query",
            KeyConditionExpression="#n = :n AND #e >= :e",
            ExpressionAttributeNames={"#n": KEYS[0], "#e": KEYS[1]},
            ExpressionAttributeValues={
                ":n": {"S": network},
                ":e": {"S": f"{since_hour:0{_HOUR_DIGITS}}"},
            },
            Limit=MOST_TALLIES,
            ScanIndexForward=False,
        )
        return [_tally(item) for item in answer["Items"]]


def _tally(item: Item) -> Tally:
    def counts(kind: str) -> dict[int, int]:
        return {
            int(name[1:]): int(value["N"])
            for name, value in item.items()
            if name[0] == kind and name[1:].isdecimal()
        }

    return Tally(UUID(item[KEYS[1]]["S"].partition("#")[2]), counts("r"), counts("t"))
