"""The table of deployment records in memory: with the methods and rules of `DynamoDeploymentTable`."""

import threading
from uuid import UUID

from chalicelib.deploying.records import Record
from chalicelib.errors import Unavailable


class FakeRecordStore:
    """One call at a time. `away`: every call raises `Unavailable`. `operations` counts calls by name."""

    def __init__(self) -> None:
        self.away = False
        self.operations: list[str] = []
        self._lock = threading.Lock()
        self._records: dict[tuple[UUID, bytes], Record] = {}

    def read(self, app_uuid: UUID, application_key: bytes) -> Record | None:
        with self._called("get_item"):
            return self._records.get((app_uuid, application_key))

    def write(self, record: Record, version: int, now: float) -> bool:
        key = record.app_uuid, record.application_key
        with self._called("put_item"):
            standing = self._records.get(key)
            if version:
                fits = standing is not None and standing.version == version
            else:
                fits = standing is None or standing.expires_at <= int(now)
            if fits:
                self._records[key] = record
            return fits

    def erase(self, record: Record) -> bool:
        key = record.app_uuid, record.application_key
        with self._called("delete_item"):
            standing = self._records.get(key)
            if standing is not None and standing.version != record.version:
                return False
            self._records.pop(key, None)
            return True

    def _called(self, operation: str) -> threading.Lock:
        if self.away:
            raise Unavailable("The table of deployments can't be reached.")
        self.operations.append(operation)
        return self._lock
