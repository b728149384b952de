"""Accounts on DynamoDB: the documents of `accounts/documents.py`, one item each.

Called by the room `accounts` through its Protocol `Documents`. Conditions look at single items only: there
are no transactions, so what spans two items is written in an order in which a crash leaves nothing harmful.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chalicelib.accounts.documents import Document, DocumentKey, Page
from chalicelib.tables.dynamo import TTL_ATTRIBUTE, ConditionFailed, DynamoTable, Meter

KEYS = ("partition", "name")
_ROUNDS = 5  # a busy table leaves keys of a batch for the next round
_PAUSE_SECONDS = 0.05

Item = Mapping[str, Mapping[str, Any]]


class DynamoAccountTable:
    """`Documents` in one table. `pause`: how to wait a moment when DynamoDB asks for one."""

    def __init__(
        self,
        name: str,
        *,
        region: str,
        pause: Callable[[float], object],
        url: str | None = None,
        meter: Meter | None = None,
    ) -> None:
        self._table = DynamoTable(name, keys=KEYS, region=region, url=url, meter=meter)
        self._pause = pause

    def create(self, pause: Callable[[float], object]) -> None:
        """Make the table where there is none; in the cloud `infra/` does it."""
        self._table.create(pause)

    def read(self, key: DocumentKey) -> Document | None:
        """The document as it is now (a consistent read)."""
        item = self._table.get(key.partition, key.name)
        return None if item is None else _document(item)

    def read_many(self, keys: Sequence[DocumentKey]) -> list[Document]:
        """Those of at most 100 documents that there are, in any order."""
        found: list[Document] = []
        left = [dict(zip(KEYS, (key.partition, key.name), strict=True)) for key in keys]
        for round_ in range(_ROUNDS):
            if not left:
                break
            if round_:
                self._pause(_PAUSE_SECONDS * 2**round_)
            answer = self._table.call("batch_get_item", keys=left, consistent_read=True)
            found += [_document(item) for items in answer["Responses"].values() for item in items]
            left = [
                {name: value["S"] for name, value in key.items()}
                for request in answer.get("UnprocessedKeys", {}).values()
                for key in request["Keys"]
            ]
        return found

    def write(self, document: Document) -> bool:
        """Keep it with the next version, unless another version than its own stands (False then)."""
        attributes: dict[str, Any] = {
            "version": {"N": str(document.version + 1)},
            "body": {"S": json.dumps(document.body, separators=(",", ":"), ensure_ascii=False)},
        }
        if document.expires_at is not None:
            attributes[TTL_ATTRIBUTE] = {"N": str(document.expires_at)}
        return self._conditionally("put_item", document.key, document.version, attributes=attributes)

    def erase(self, key: DocumentKey, version: int | None = None) -> bool:
        """Remove it, given a version only if that stands (else False). What is not there is removed."""
        return self._conditionally("delete_item", key, version)

    def page(self, partition: str, prefix: str, limit: int, after: str = "") -> Page:
        """Up to `limit` documents whose names begin with `prefix` and follow `after`."""
        from pynamodb.expressions.operand import Path

        start = {"partition": {"S": partition}, "name": {"S": after}} if after else None
        answer = self._table.call(
            "query",
            partition,
            range_key_condition=Path("name").startswith(prefix) if prefix else None,
            limit=limit,
            exclusive_start_key=start,
            consistent_read=True,
        )
        return Page([_document(item) for item in answer["Items"]], "LastEvaluatedKey" in answer)

    def count(self, partition: str, prefix: str) -> int:
        """How many documents have names that begin with `prefix`, as it is now."""
        from pynamodb.expressions.operand import Path

        total, start = 0, None
        while True:
            answer = self._table.call(
                "query",
                partition,
                range_key_condition=Path("name").startswith(prefix),
                exclusive_start_key=start,
                consistent_read=True,
                select="COUNT",
            )
            total += int(answer["Count"])
            start = answer.get("LastEvaluatedKey")
            if start is None:
                return total

    def _conditionally(self, operation: str, key: DocumentKey, version: int | None, **kwargs: Any) -> bool:
        try:
            self._table.call(operation, key.partition, key.name, condition=_standing(version), **kwargs)
        except ConditionFailed:
            return False
        return True


def _standing(version: int | None) -> Any:
    """The condition that this version stands; 0 is none at all."""
    from pynamodb.expressions.operand import Path, Value

    if version is None:
        return None
    if version == 0:
        return Path("partition").does_not_exist()
    return Path("version") == Value({"N": str(version)})


def _document(item: Item) -> Document:
    return Document(
        key=DocumentKey(item["partition"]["S"], item["name"]["S"]),
        body=json.loads(item["body"]["S"]),
        version=int(item["version"]["N"]),
        expires_at=int(item[TTL_ATTRIBUTE]["N"]) if TTL_ATTRIBUTE in item else None,
    )
