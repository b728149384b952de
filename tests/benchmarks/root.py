"""A root in this process over dynalite, for the benchmarks: its handler is called as Lambda calls it.

dynalite counts read and write units as DynamoDB does, and its own CPU is not this process's.
"""

import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from app import app
from chalicelib.root import build_root
from chalicelib.settings import Settings
from chalicelib.stores import create_tables, dynamo_stores

from tests.lab import engines

APP = "00000000-0000-0000-0000-000000000000"
READS = ("query", "get_item", "scan")


class Bench:
    """The root and what its calls cost."""

    def __init__(self, url: str, recipes: str) -> None:
        self.units: list[tuple[str, float]] = []
        self.url = url
        self.table_name = "cloudlets"
        self._settings = Settings(
            lease_secret=b"0" * 32,
            recipes=recipes,
            open=True,
            table=self.table_name,
            dynamodb_url=url,
            calls_per_address=1e6,
        )
        pause = threading.Event().wait
        self._stores = dynamo_stores(self._settings, pause, lambda *units: self.units.append(units))
        create_tables(self._stores, pause)
        self.table = self._stores.cloudlets
        self.forget()

    def forget(self) -> None:
        """Begin with empty caches, as a container that has just started does."""
        app.serve(build_root(self._settings, self._stores, chance=random.Random(0)))

    def call(self, method: str, resource: str, parameters=None, body=None, **headers) -> tuple[dict, float]:
        """The handler's answer to an event, and the CPU time of this process in milliseconds."""
        event = {
            "headers": {name.replace("_", "-"): value for name, value in headers.items()},
            "multiValueQueryStringParameters": None,
            "pathParameters": parameters or {},
            "stageVariables": None,
            "requestContext": {
                "resourcePath": resource,
                "httpMethod": method,
                "identity": {"sourceIp": "193.0.2.7"},  # somebody's, so that signposts are looked for
            },
            "body": body,
            "isBase64Encoded": False,
        }
        begun = time.process_time()
        answer = app(event, None)
        return answer, (time.process_time() - begun) * 1000

    def made(self, *operations: str) -> int:
        """How many operations of these names there were since `spent` was last asked."""
        return sum(operation in operations for operation, _ in self.units)

    def spent(self, *operations: str) -> float:
        """Units of the operations of these names since this was last asked."""
        units = sum(count for operation, count in self.units if operation in operations)
        self.units.clear()
        return units


@contextmanager
def bench(engine: Callable[[], AbstractContextManager[str]] = engines.dynalite) -> Iterator[Bench]:
    """A root with one app over an engine, until the end of the block."""
    os.environ.update(engines.CREDENTIALS)
    with tempfile.TemporaryDirectory() as folder, engine() as url:
        (Path(folder) / f"{APP}.yaml").write_text("chart: helloworld\nversion: 0.1.0\n")
        yield Bench(url, folder)
