"""Many rows into a table at once, by processes of their own: the measured one keeps its memory and caches.

Used by benchmarks. Writes 25 items a call, as DynamoDB's BatchWriteItem allows.
"""

import multiprocessing
import random
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

import botocore.config
import botocore.session
from chalicelib.fleet.cloudlets import Cloudlet
from chalicelib.tables.cloudlet_rows import to_item
from chalicelib.tables.cloudlet_table import DIRECTORY

_BATCH = 25
_CONNECTIONS = 8
_SECONDS = 1200
_ROUND = 2000
_T = TypeVar("_T")

Make = Callable[[int, random.Random], Iterable[Cloudlet]]


def load(url: str, table: str, make: Make, count: int, seed: int) -> None:
    """Put `make(count, Random(seed))` and their partitions into the table at `url`."""
    process = multiprocessing.get_context("spawn").Process(
        target=_load, args=(url, table, make, count, seed), daemon=True
    )
    process.start()
    process.join(_SECONDS)
    if process.exitcode != 0:
        process.kill()
        raise RuntimeError(f"loading {count} rows failed or took more than {_SECONDS} s")


def _load(url: str, table: str, make: Make, count: int, seed: int) -> None:
    client = botocore.session.get_session().create_client(
        "dynamodb",
        region_name="us-east-1",
        endpoint_url=url,
        config=botocore.config.Config(max_pool_connections=_CONNECTIONS, parameter_validation=False),
    )

    def write(items: list[dict[str, Any]]) -> None:
        left = {table: [{"PutRequest": {"Item": item}} for item in items]}
        for _ in range(10):
            left = client.batch_write_item(RequestItems=left)["UnprocessedItems"]
            if not left:
                return
        raise RuntimeError("the engine keeps leaving rows unwritten")

    cells: dict[str, str] = {}

    def items() -> Iterator[dict[str, Any]]:
        for row in make(count, random.Random(seed)):
            cells[row.key.cell] = str(row.expires_at)
            yield {**_key(row.key.cell, row.key.place), **to_item(row)}
        for cell, expires_at in cells.items():
            yield {**_key(DIRECTORY, cell), "expires_at": {"N": expires_at}}

    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        for some in _parts(items(), _ROUND):  # the pool takes a whole iterable at once: not a million rows
            list(pool.map(write, _parts(iter(some), _BATCH)))


def _key(cell: str, place: str) -> dict[str, dict[str, str]]:
    return {"cell": {"S": cell}, "place": {"S": place}}


def _parts(things: Iterator[_T], size: int) -> Iterator[list[_T]]:
    while part := list(islice(things, size)):
        yield part
