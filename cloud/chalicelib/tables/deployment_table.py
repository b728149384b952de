"""The records of deployments on DynamoDB: one small item for each app and key, gone a day after the last
deploy.

Called by `deploying/records.py` through its Protocol `RecordStore`. The device's key is the partition, so
that an app that everybody uses makes no partition hot.
"""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from chalicelib.deploying.records import Record
from chalicelib.keys import path_form
from chalicelib.tables.dynamo import TTL_ATTRIBUTE, ConditionFailed, DynamoTable, Meter

KEYS = ("application_key", "app_uuid")
_VERSION = "v"
_CLAIMED = "c"
_TARGETS = "t"


class DynamoDeploymentTable:
    """`RecordStore` in a table of its own."""

    def __init__(self, name: str, *, region: str, url: str | None = None, meter: Meter | None = None) -> None:
        self._table = DynamoTable(name, keys=KEYS, region=region, url=url, meter=meter)

    def create(self, pause: Callable[[float], object]) -> None:
        """Make the table where there is none; in the cloud `infra/` does it."""
        self._table.create(pause)

    def read(self, app_uuid: UUID, application_key: bytes) -> Record | None:
        """The record as it is now: one consistent read of one unit."""
        key = path_form(application_key)
        item = self._table.get(key, str(app_uuid))
        if item is None:
            return None
        return Record(
            app_uuid=app_uuid,
            application_key=application_key,
            version=int(item[_VERSION]["N"]),
            claimed=_unpack(item, _CLAIMED),
            targets=_unpack(item, _TARGETS),
            expires_at=int(item[TTL_ATTRIBUTE]["N"]),
        )

    def write(self, record: Record, version: int, now: float) -> bool:
        """Keep it if `version` stands, or, for 0, nothing that is alive `now` (False else)."""
        from pynamodb.expressions.operand import Path, Value

        if version:
            condition = Path(_VERSION) == Value({"N": str(version)})
        else:  # DynamoDB deletes late what expired
            expired = Path(TTL_ATTRIBUTE) <= Value({"N": str(int(now))})
            condition = Path(_VERSION).does_not_exist() | expired
        attributes: dict[str, Any] = {
            _VERSION: {"N": str(record.version)},
            TTL_ATTRIBUTE: {"N": str(record.expires_at)},
        }
        for name, uuids in ((_CLAIMED, record.claimed), (_TARGETS, record.targets)):
            if uuids:
                attributes[name] = {"B": b"".join(uuid.bytes for uuid in uuids)}
        return self._conditionally("put_item", record, condition, attributes=attributes)

    def erase(self, record: Record) -> bool:
        """Remove it if its version stands or it is gone already (False else)."""
        from pynamodb.expressions.operand import Path, Value

        standing = Path(_VERSION) == Value({"N": str(record.version)})
        return self._conditionally("delete_item", record, Path(_VERSION).does_not_exist() | standing)

    def _conditionally(self, operation: str, record: Record, condition: Any, **kwargs: Any) -> bool:
        keys = path_form(record.application_key), str(record.app_uuid)
        try:
            self._table.call(operation, *keys, condition=condition, **kwargs)
        except ConditionFailed:
            return False
        return True


def _unpack(item: Mapping[str, Mapping[str, Any]], name: str) -> tuple[UUID, ...]:
    packed = bytes(item[name]["B"]) if name in item else b""
    return tuple(UUID(bytes=packed[at : at + 16]) for at in range(0, len(packed), 16))
