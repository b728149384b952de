"""Roots over the same tables in memory, with agents around a place: real HTTP servers that can misbehave."""

import random
import time
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from uuid import UUID

from chalicelib.choosing.matching import ClientInfo
from chalicelib.fleet.cloudlets import Cloudlet, row_key
from chalicelib.fleet.geo import Location
from chalicelib.root import Root, build_root
from chalicelib.settings import Settings

from tests.fakes.cloud_agent import Behaviour, FakeAgent, running_agent
from tests.fakes.cloud_stores import fake_stores
from tests.fakes.cloud_table import FakeTable

APP = UUID(int=0)
NOW = 1_795_000_000
KEY = bytes(range(32))
HERE = Location(40.44, -79.99)


def client(location: Location | None = HERE, address="198.51.100.7", key: bytes = KEY, **more) -> ClientInfo:
    return ClientInfo(key, ip_address(address), location, **more)


def names(deployments) -> list[str]:
    """On which cloudlets deployments are."""
    return [each.to_json()["Cloudlet"]["Name"] for each in deployments]


class Site:
    """The first agent is the nearest, the next a kilometre further away; `now` is the roots' clock."""

    def __init__(self, folder: Path, stack: ExitStack, **settings) -> None:
        (folder / f"{APP}.yaml").write_text("chart: helloworld\nversion: 0.1.0\n")
        self.table = FakeTable()
        self.stores = fake_stores(self.table)
        self.records = self.stores.records
        self.settings = Settings(
            lease_secret=b"0" * 16,
            recipes=str(folder),
            allow_private_endpoints=True,
            **{"matchers": ("network", "location", "load"), **settings},
        )
        self.now = NOW
        self.agents: list[FakeAgent] = []
        self.rows: list[Cloudlet] = []
        self._stack = stack

    def root(self, **settings) -> Root:
        """Another one, as another container would make it."""
        return build_root(
            replace(self.settings, **settings),
            self.stores,
            clock=lambda: self.now,
            monotonic=time.monotonic,
            chance=random.Random(0),
        )

    def run(self, *behaviours: Behaviour) -> None:
        """One more agent for each of these, registered as a cloudlet."""
        for behave in behaviours:
            agent = self._stack.enter_context(running_agent(behave))
            self.agents.append(agent)
            self.add(agent.url)

    def add(self, url: str, realm: str = "", **changed) -> Cloudlet:
        """One more cloudlet."""
        number = len(self.rows) + 1
        location = Location(HERE.latitude + number / 100, HERE.longitude)
        row = Cloudlet(
            key=row_key(UUID(int=number), location, realm),
            uuid=UUID(int=number),
            endpoint=url,
            incarnation=1,
            sequence=0,
            last_keepalive=NOW,
            expires_at=NOW + 50,
            name=f"number-{number}",
            location=location,
        )
        self.rows.append(row)
        self.change(number, **changed)
        self.table.occupy(row.key.cell, NOW + 1000)
        return self.rows[-1]

    def change(self, number: int, **changed) -> None:
        """Change the row of a cloudlet."""
        row = replace(self.rows[number - 1], **changed)
        self.rows[number - 1] = replace(row, sequence=row.sequence + 1)
        assert self.table.put(self.rows[number - 1])

    def record(self, key: bytes = KEY):
        """What is remembered."""
        return self.records.read(APP, key)
