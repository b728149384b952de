"""A DynamoDB table with a partition key and a sort key: made, reached, and its errors translated.

Called by the tables of this room. What is only read goes by `dynamo_reader.py`. PynamoDB, which does the
rest, is imported when it is first needed: it takes a quarter of a second, which a cold start that only reads
should not pay.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from chalicelib.errors import Throttled, Unavailable
from chalicelib.tables.dynamo_reader import Answer, Item, reader_of, with_bytes

if TYPE_CHECKING:
    from pynamodb.connection import TableConnection

CONNECT_SECONDS = 2.0
READ_SECONDS = 3.0
CONNECTIONS = 64  # as many as a local root has threads, and more
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
_THROTTLED = {"ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException"}
TTL_ATTRIBUTE = "expires_at"
_READS = {"get_item": "GetItem", "query": "Query", "scan": "Scan"}

Meter = Callable[[str, float], None]


class ConditionFailed(Exception):
    """The conditional write was refused."""


class DynamoTable:
    """One table, named by what it holds. `meter` is told every operation's name and capacity units."""

    def __init__(
        self,
        name: str,
        *,
        keys: tuple[str, str],
        index: tuple[str, str] | None = None,
        region: str,
        url: str | None = None,
        meter: Meter | None = None,
    ) -> None:
        """`keys`: the names of the partition key and the sort key, both strings.

        `index`: the name and the partition key of an index of keys only, where there is one.
        """
        self.name = name
        self._keys = keys
        self._index = index
        self._reader = reader_of(region, url)
        self._region = region
        self._url = url
        self._meter = meter or (lambda _operation, _units: None)

    @property
    def _schema(self) -> dict[str, Any]:
        names = self._keys if self._index is None else (*self._keys, self._index[1])
        schema: dict[str, Any] = {
            "KeySchema": [
                {"AttributeName": name, "KeyType": kind}
                for name, kind in zip(self._keys, ("HASH", "RANGE"), strict=True)
            ],
            "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in names],
        }
        if self._index is not None:
            keys = [{"AttributeName": self._index[1], "KeyType": "HASH"}]
            schema["GlobalSecondaryIndexes"] = [{"IndexName": self._index[0], "KeySchema": keys}]
        return schema

    @cached_property
    def connection(self) -> "TableConnection":
        """PynamoDB's, for everything that `call` does not do. Nothing is sent yet."""
        from pynamodb.connection import TableConnection
        from pynamodb.connection.base import MetaTable

        return TableConnection(
            self.name,
            region=self._region,
            host=self._url,
            connect_timeout_seconds=CONNECT_SECONDS,
            read_timeout_seconds=READ_SECONDS,
            max_retry_attempts=2,
            max_pool_connections=CONNECTIONS,
            meta_table=MetaTable({"TableName": self.name, **self._schema}),
        )

    def call(self, operation: str, *keys: str, **arguments: Any) -> Mapping[str, Any]:
        """An operation of the connection (`put_item`, `query`, …), metered.

        Raises `ConditionFailed`, or `Unavailable` when DynamoDB can't be reached or refuses.
        """
        with self._translated():
            answer: Mapping[str, Any] = getattr(self.connection, operation)(*keys, **arguments)
        if not isinstance(answer, Mapping):
            raise Unavailable(f"The table {self.name} can't be reached.")
        self._count(operation, answer)
        return answer

    def read(self, operation: str, **request: Any) -> Answer:
        """A `get_item`, `query` or `scan` with a request as DynamoDB's API has it, at little CPU, metered.

        Binary values are base64 text. Raises `Unavailable`.
        """
        request = {"TableName": self.name, "ReturnConsumedCapacity": "TOTAL", **request}
        answer = self._reader.call(_READS[operation], request)
        self._count(operation, answer)
        return answer

    def get(self, *keys: str, consistent: bool = True) -> Item | None:
        """The item of a partition key and a sort key, its binary values as bytes. Raises `Unavailable`."""
        key = {name: {"S": value} for name, value in zip(self._keys, keys, strict=True)}
        answer = self.read("get_item", Key=key, ConsistentRead=consistent)
        return with_bytes(answer["Item"]) if "Item" in answer else None

    def _count(self, operation: str, answer: Mapping[str, Any]) -> None:
        consumed = answer.get("ConsumedCapacity", {})
        for each in consumed if isinstance(consumed, list) else [consumed]:  # a batch has a list
            self._meter(operation, each.get("CapacityUnits", 0.0))

    def create(self, pause: Callable[[float], object]) -> None:
        """Make the table where there is none. Emulators need it; in the cloud `infra/` does it.

        `pause` is given the seconds to let pass before it is looked at again; at most 10 seconds in all.
        """
        from pynamodb.exceptions import TableDoesNotExist, TableError

        with self._translated():
            try:
                self.connection.describe_table()
            except TableDoesNotExist:
                self.connection.create_table(
                    attribute_definitions=self._schema["AttributeDefinitions"],
                    key_schema=self._schema["KeySchema"],
                    global_secondary_indexes=self._new_indexes(),
                    billing_mode="PAY_PER_REQUEST",
                )
            for _ in range(100):
                if self.connection.describe_table().get("TableStatus") == "ACTIVE":
                    break
                pause(0.1)
            with suppress(TableError):  # some emulators know no TTL; reading filters anyway
                self.connection.connection.update_time_to_live(self.name, TTL_ATTRIBUTE)

    def _new_indexes(self) -> list[dict[str, Any]] | None:
        indexes = self._schema.get("GlobalSecondaryIndexes")
        return indexes and [
            {
                "index_name": each["IndexName"],
                "key_schema": each["KeySchema"],
                "projection": {"ProjectionType": "KEYS_ONLY"},
            }
            for each in indexes
        ]

    @contextmanager
    def _translated(self) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError
        from pynamodb.exceptions import PynamoDBException

        try:
            yield
        except PynamoDBException as error:
            if error.cause_response_code == "ConditionalCheckFailedException":
                raise ConditionFailed from error
            if error.cause_response_code in _THROTTLED:
                raise Throttled(f"The table {self.name} has too much to do.") from error
            raise Unavailable(f"The table {self.name} can't be reached.") from error
        except (BotoCoreError, ClientError) as error:
            raise Unavailable(f"The table {self.name} can't be reached.") from error
