"""Accounts in memory: with the methods and rules of `account_table.DynamoAccountTable`."""

import json
import threading
from collections.abc import Sequence
from dataclasses import replace

from chalicelib.accounts.documents import Document, DocumentKey, Page
from chalicelib.errors import Unavailable


class FakeDocuments:
    """One call at a time. `away`: every call raises `Unavailable`. `operations` lists calls by name."""

    def __init__(self) -> None:
        self.away = False
        self.operations: list[str] = []
        self._lock = threading.RLock()
        self._kept: dict[DocumentKey, Document] = {}

    def read(self, key: DocumentKey) -> Document | None:
        with self._called("read"):
            return self._kept.get(key)

    def read_many(self, keys: Sequence[DocumentKey]) -> list[Document]:
        assert len(keys) <= 100
        assert len(keys) == len(set(keys)), "DynamoDB refuses a key given twice"
        with self._called("read_many"):
            return [self._kept[key] for key in keys if key in self._kept]

    def write(self, document: Document) -> bool:
        with self._called("write"):
            standing = self._kept.get(document.key)
            if (0 if standing is None else standing.version) != document.version:
                return False
            body = json.loads(json.dumps(document.body))
            self._kept[document.key] = replace(document, body=body, version=document.version + 1)
            return True

    def erase(self, key: DocumentKey, version: int | None = None) -> bool:
        with self._called("erase"):
            standing = self._kept.get(key)
            if version is not None and (0 if standing is None else standing.version) != version:
                return False
            self._kept.pop(key, None)
            return True

    def page(self, partition: str, prefix: str, limit: int, after: str = "") -> Page:
        with self._called("page"):
            keys = sorted(
                key
                for key in self._kept
                if key.partition == partition and key.name.startswith(prefix) and key.name > after
            )
            # DynamoDB stops at the limit without looking whether something follows.
            return Page([self._kept[key] for key in keys[:limit]], len(keys) >= limit)

    def count(self, partition: str, prefix: str) -> int:
        with self._called("count"):
            return sum(key.partition == partition and key.name.startswith(prefix) for key in self._kept)

    def everything(self) -> list[Document]:
        """For tests: all that is kept."""
        return sorted(self._kept.values(), key=lambda document: document.key)

    def _called(self, operation: str) -> threading.RLock:
        if self.away:
            raise Unavailable("The accounts can't be reached.")
        self.operations.append(operation)
        return self._lock
