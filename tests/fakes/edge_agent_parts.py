"""The agent's inner parts joined with fakes, a clock that tests turn, and background steps that tests run."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Network
from typing import Any

from edge_agent.deployments.addresses import Plan, default_network6
from edge_agent.deployments.deploy import Deployments
from edge_agent.deployments.leases import Activity, Leases
from edge_agent.deployments.lifecycle import Backends, Lifecycle
from edge_agent.deployments.live import Live
from edge_agent.deployments.lives import Lives
from edge_agent.deployments.room import Room
from edge_agent.deployments.routes import Routes
from edge_agent.deployments.site import Entrance, Site
from edge_agent.deployments.terms import Terms
from edge_agent.deployments.upkeep import Upkeep
from edge_agent.workers import Workers, attempt
from tests.fakes.edge_agent_backends import Catalogue
from tests.fakes.edge_agent_gateway import FakeGateway
from tests.fakes.edge_agent_runtime import FakeRuntime, Store

AGENT = uuid.UUID("5f1c9a1e-7f35-4a39-9d52-3f1f8f0e6a11")
NETWORK = IPv4Network("100.71.0.0/16")
CREATED = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class Parts:
    """A whole agent but for its servers. Steps wait in `steps` for `work`; with `threads` they really run.

    A real `runtime` and `clock`, or another `gateway`, may stand in for the fakes. With `addressing` the
    runtime gives services their addresses.
    """

    def __init__(
        self,
        *,
        store: Store | None = None,
        catalogue: Backends | None = None,
        network: IPv4Network = NETWORK,
        idle_seconds: float = 300.0,
        rest_seconds: float = 0.0,
        max_age_seconds: float | None = None,
        room: Room | None = None,
        terms: Terms | None = None,
        threads: int = 0,
        opened: bool = True,
        runtime: Any = None,
        gateway: Any = None,
        clock: Any = None,
        agent: uuid.UUID = AGENT,
        addressing: bool = False,
    ) -> None:
        self.clock = clock or Clock()
        self.traffic: dict[str, Activity | None] = {}
        self.steps: list[Callable[[], None]] = []
        self.runtime = runtime or FakeRuntime(agent, store)
        self.gateway = gateway or FakeGateway()
        self.catalogue = catalogue or Catalogue()
        self.lives = Lives(self.clock)
        self.leases = Leases(idle_seconds, rest_seconds, self.clock)
        plan = Plan(network, default_network6(agent))
        later = Workers(threads).submit if threads else self.steps.append
        routes = Routes(self.gateway, self.lives)
        self.lifecycle = Lifecycle(
            plan,
            self.catalogue,
            self.runtime,
            routes,
            self.lives,
            self.leases,
            later,
            lambda: CREATED,
            room or Room(10_000, (terms or Terms({})).capacity),
            self.runtime if addressing else None,
        )
        entrance = Entrance(b"g" * 31 + b"\0", "192.0.2.7:51820", plan.gateway)
        self.site = Site(agent, "pittsburgh-1", plan, lambda: entrance)
        self.deployments = Deployments(self.site, self.lifecycle, self.lives, self.leases, 40, terms=terms)
        self.upkeep = Upkeep(
            self.lifecycle,
            self.runtime,
            routes,
            self.lives,
            self.leases,
            self.clock,
            self.counted,
            max_age_seconds,
        )
        self.deployments.open = opened

    def counted(self, lives: Iterable[Live], activity: Mapping[bytes, Activity]) -> None:
        """Keep what the upkeep shows of the traffic."""
        self.traffic = {live.record.name: activity.get(live.key) for live in lives}

    def work(self) -> None:
        """Do the background steps that wait, and those that they bring."""
        while self.steps:
            attempt(self.steps.pop(0))

    def settle(self, ticks: int = 3) -> None:
        """Work and watch for a few rounds, a little time apart."""
        for _ in range(ticks):
            self.work()
            self.upkeep.tick()
            self.clock.seconds += 0.1
        self.work()

    def keep_watching(self, stop: threading.Event) -> None:
        """The watching thread's body, for tests with threads."""
        while not stop.wait(0.01):
            self.upkeep.tick()
