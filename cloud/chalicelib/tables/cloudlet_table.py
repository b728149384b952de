"""CloudletTable on DynamoDB.

Called by `registry.py` (writing) and `search.py` (searching) through the Protocols that they declare. The
PynamoDB model is the schema and makes the conditions; items are turned into `Cloudlet`s by
`cloudlet_rows.py`, because that costs a third of the time that model instances take.

Three kinds of item share the table: cloudlets, at most one write unit each; the directory, one tiny item per
occupied partition, so that a search of the whole world reads a list instead of thousands of empty cells; and
signposts, by which cloudlets are found from their own networks. Only the first kind is in the index.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from chalicelib.fleet.cloudlets import REALM_END, STALE_SECONDS, Cloudlet, Renewed, RowKey, Slice, Trust
from chalicelib.fleet.geo import Location
from chalicelib.fleet.pointers import Pointer
from chalicelib.tables.cloudlet_rows import RESOURCES, from_item, pack_apps, to_item
from chalicelib.tables.dynamo import ConditionFailed, DynamoTable, Meter
from chalicelib.tables.dynamo_reader import Item

DIRECTORY = "directory"
INDEX = "by-uuid"
KEYS = ("cell", "place")
_PAGE = 100  # partitions of a realm that one page looks into


class DynamoCloudletTable:
    """CloudletTable. Every method raises `Unavailable` when DynamoDB can't be reached or refuses."""

    def __init__(self, name: str, *, region: str, url: str | None = None, meter: Meter | None = None) -> None:
        """`meter` is told every operation's name and capacity units, as DynamoDB counted them."""
        self._table = DynamoTable(name, keys=KEYS, index=(INDEX, "uuid"), region=region, url=url, meter=meter)

    def create(self, pause: Callable[[float], object]) -> None:
        """Make the table where there is none. Emulators need it; in the cloud `infra/` does it.

        `pause` is given the seconds to let pass before it is looked at again; at most 10 seconds in all.
        """
        self._table.create(pause)

    def put(self, cloudlet: Cloudlet) -> bool:
        """Write the row unless a newer one stands at its key (False then).

        One that nobody signed gives way to a signed one, however new it says it is.
        """
        from chalicelib.tables.cloudlet_model import CloudletRow

        row = CloudletRow
        older = (row.incarnation < cloudlet.incarnation) | (
            (row.incarnation == cloudlet.incarnation) & (row.sequence <= cloudlet.sequence)
        )
        condition = row.cell.does_not_exist() | row.published.exists() | older
        if cloudlet.trust > Trust.UNSIGNED:
            condition |= row.trust.does_not_exist()
        return self._put(cloudlet, condition)

    def put_published(self, cloudlet: Cloudlet) -> bool:
        """Write the row unless one stands there that was registered properly (False then)."""
        from chalicelib.tables.cloudlet_model import CloudletRow

        return self._put(cloudlet, CloudletRow.cell.does_not_exist() | CloudletRow.published.exists())

    def renew(
        self,
        key: RowKey,
        incarnation: int,
        sequence: int,
        *,
        now: int,
        expires_at: int,
        resources: Mapping[str, float] | None,
        location: Location | None,
        draining: bool | None = None,
        cached: tuple[UUID, ...] | None = None,
    ) -> Renewed | None:
        """The keepalive: one conditional write. What is None stays as it is.

        None: the row is gone, newer than this, or has been stale for too long.
        """
        from chalicelib.tables.cloudlet_model import CloudletRow

        row = CloudletRow
        actions = [
            row.sequence.set(sequence),
            row.last_keepalive.set(now),
            row.expires_at.set(datetime.fromtimestamp(expires_at + STALE_SECONDS, UTC)),
        ]
        for name in RESOURCES.values() if resources is not None else ():
            attribute = getattr(row, name)
            value = (resources or {}).get(name)
            actions.append(attribute.remove() if value is None else attribute.set(value))
        if location is not None:
            actions += [row.latitude.set(location.latitude), row.longitude.set(location.longitude)]
        if draining is not None:
            actions.append(row.draining.set(1) if draining else row.draining.remove())
        if cached is not None:
            actions.append(row.cached.set(pack_apps(cached)) if cached else row.cached.remove())
        condition = (row.incarnation == incarnation) & (row.sequence < sequence)
        condition &= row.expires_at > datetime.fromtimestamp(now, UTC)
        try:
            answer = self._table.call(
                "update_item",
                key.cell,
                key.place,
                actions=[*actions, row.commands_wait.remove()],
                condition=condition,
                return_values="UPDATED_OLD",
            )
        except ConditionFailed:
            return None
        return Renewed(commands_wait="f" in answer.get("Attributes", {}))

    def flag(self, key: RowKey) -> bool:
        """Have the row's next renewal say that commands wait. False: there is no such row."""
        from chalicelib.tables.cloudlet_model import CloudletRow

        actions, exists = [CloudletRow.commands_wait.set(1)], CloudletRow.incarnation.exists()
        return self._conditionally("update_item", key, actions=actions, condition=exists)

    def count(self) -> int:
        """About how many items there are: DynamoDB counts them every six hours. No read units."""
        return int(self._table.call("describe_table").get("ItemCount", 0))

    def remove(self, key: RowKey, incarnation: int) -> bool:
        """Delete the row unless a newer incarnation stands there (False then)."""
        from chalicelib.tables.cloudlet_model import CloudletRow

        condition = CloudletRow.cell.does_not_exist() | (CloudletRow.incarnation <= incarnation)
        return self._conditionally("delete_item", key, condition=condition)

    def get(self, key: RowKey) -> Cloudlet | None:
        """The row as it is now (a consistent read)."""
        item = self._table.get(key.cell, key.place)
        return None if item is None else from_item(item)

    def find(self, uuid: UUID) -> list[Cloudlet]:
        """The rows of one cloudlet: one, none, or for moments two. The index may lag behind by a second."""
        answer = self._table.read(
            "query",
            IndexName=INDEX,
            KeyConditionExpression="#u = :u",
            ExpressionAttributeNames={"#u": "uuid"},
            ExpressionAttributeValues={":u": {"S": str(uuid)}},
            Limit=8,
        )
        rows = [self.get(_key(item)) for item in answer["Items"]]
        return [row for row in rows if row is not None]

    def read(self, cell: str, low: str, high: str, *, limit: int, forward: bool = True) -> Slice:
        """Up to `limit` rows of one partition whose place lies between `low` and `high`, both included."""
        items, more = self._between(cell, low, high, limit, forward=forward)
        rows = [from_item(item) for item in items]
        return Slice(rows if forward else rows[::-1], more)

    def page(
        self, limit: int, after: RowKey | None, realm: str | None = None
    ) -> tuple[list[Cloudlet], RowKey | None]:
        """Up to `limit` rows in no particular order, and where to go on (None at the end).

        Of all realms, or of one ("": the shared cloudlets). A page may be short or empty before the end.
        """
        if realm is not None:
            return self._page_of(realm, limit, after)
        start = {} if after is None else {"ExclusiveStartKey": _names(after)}
        answer = self._table.read("scan", Limit=limit, **start)
        last = answer.get("LastEvaluatedKey")
        rows = [from_item(item) for item in answer["Items"] if _is_row(item)]
        return rows, _key(last) if last else None

    def _page_of(self, realm: str, limit: int, after: RowKey | None) -> tuple[list[Cloudlet], RowKey | None]:
        before = f"{realm}{REALM_END}" if realm else ""
        cells = sorted(f"{before}{cell}" for cell in self.occupied(0.0, realm))
        cells = [cell for cell in cells if after is None or cell >= after.cell]
        for cell in cells[:_PAGE]:
            low = after.place + "!" if after is not None and cell == after.cell else "!"
            items, _ = self._between(cell, low, "~", limit, forward=True)
            if items:
                rows = [from_item(item) for item in items]
                return rows, rows[-1].key
            after = RowKey(cell, "~")
        return [], after if len(cells) > _PAGE else None

    def occupy(self, cell: str, expires_at: int) -> None:
        """Put a partition into the directory of its realm."""
        realm, end, place = cell.rpartition(REALM_END)
        directory = f"{realm}{end}{DIRECTORY}"
        self._table.call("put_item", directory, place, attributes={"expires_at": {"N": str(expires_at)}})

    def occupied(self, now: float, realm: str = "") -> list[str]:
        """The partitions in the directory of a realm, without its name."""
        directory = f"{realm}{REALM_END}{DIRECTORY}" if realm else DIRECTORY
        cells: list[str] = []
        start: dict[str, Any] = {}
        while True:
            answer = self._table.read(
                "query",
                KeyConditionExpression="cell = :c",
                ExpressionAttributeValues={":c": {"S": directory}},
                **start,
            )
            cells += [item["place"]["S"] for item in answer["Items"] if int(item["expires_at"]["N"]) > now]
            if "LastEvaluatedKey" not in answer:
                return cells
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def point(self, pointer: RowKey, row: RowKey, expires_at: int) -> None:
        """Put up a signpost that leads to a row."""
        attributes = {
            "expires_at": {"N": str(expires_at)},
            "to": {"S": f"{row.cell} {row.place}"},
        }
        self._table.call("put_item", pointer.cell, pointer.place, attributes=attributes)

    def unpoint(self, pointer: RowKey) -> None:
        """Take a signpost down."""
        self._table.call("delete_item", pointer.cell, pointer.place)

    def pointers(self, cell: str, low: str, high: str, *, limit: int) -> tuple[list[Pointer], bool]:
        """Up to `limit` signposts between two places, the last first, and whether there are more."""
        items, more = self._between(cell, low, high, limit, forward=False)
        return [Pointer(item["place"]["S"], RowKey(*item["to"]["S"].split(" "))) for item in items], more

    def _between(
        self, cell: str, low: str, high: str, limit: int, *, forward: bool
    ) -> tuple[list[Item], bool]:
        answer = self._table.read(
            "query",
            KeyConditionExpression="cell = :c AND place BETWEEN :l AND :h",
            ExpressionAttributeValues={":c": {"S": cell}, ":l": {"S": low}, ":h": {"S": high}},
            Limit=limit,
            ScanIndexForward=forward,
        )
        return answer["Items"], "LastEvaluatedKey" in answer

    def _put(self, cloudlet: Cloudlet, condition: Any) -> bool:
        return self._conditionally(
            "put_item", cloudlet.key, attributes=to_item(cloudlet), condition=condition
        )

    def _conditionally(self, operation: str, key: RowKey, **kwargs: Any) -> bool:
        try:
            self._table.call(operation, key.cell, key.place, **kwargs)
        except ConditionFailed:
            return False
        return True


def _is_row(item: Item) -> bool:
    return "i" in item


def _names(key: RowKey) -> dict[str, dict[str, str]]:
    return {"cell": {"S": key.cell}, "place": {"S": key.place}}


def _key(item: Item) -> RowKey:
    return RowKey(item["cell"]["S"], item["place"]["S"])
