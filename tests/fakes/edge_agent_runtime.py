"""A runtime in memory, without containers. It passes tests/ports/test_runtime.py as the real ones do."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from uuid import UUID

from edge_agent.deployments.records import Observed, Port, Record
from edge_agent.errors import Conflict, DeployFailed, Unavailable
from edge_agent.on_podman.pods import plan_pods
from edge_agent.recipes.limits import Limits
from edge_agent.recipes.manifests import WORKLOADS, Manifest, pod_template

SERVICES = IPv4Network("10.96.0.0/24")
GOOD_IMAGE = "localhost/sinfonia-helloworld:1"


class Store:
    """What outlives an agent: records, and what was applied for them, by agent."""

    def __init__(self) -> None:
        self.records: dict[str, tuple[UUID, dict[str, str]]] = {}
        self.applied: dict[str, list[Manifest]] = {}
        self.resting: set[str] = set()
        self.limits: dict[str, Limits] = {}
        self.lock = threading.Lock()


class FakeRuntime:
    """The runtime port on a `Store`. Tests turn `away` on, hold starts with `gate`, and change `pods`.

    `hiccups`: so many calls of `apply` fail. `loses_answers`: `create` works, and its answer gets lost.
    `stuck`: the names of what is deleted stay taken, as that of a namespace that ends slowly.
    """

    def __init__(self, agent: UUID, store: Store | None = None) -> None:
        self.agent = agent
        self.store = store or Store()
        self.away = False
        self.hiccups = 0
        self.loses_answers = False
        self.stuck = False
        self.ending: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.touched: list[str] = []
        self.told: list[tuple[str, str, str]] = []
        self.applies = 0
        self.pods = IPv4Address("10.0.0.0")

    def records(self) -> list[Record]:
        self._check()
        with self.store.lock:
            return self._read(self.agent)

    def create(self, record: Record) -> None:
        self._check()
        with self.store.lock:
            if record.home in self.store.records or record.home in self.ending:
                raise Conflict(record.home)
            notes = {**record.labels(self.agent), **record.notes()}
            self.store.records[record.home] = (self.agent, notes)
        if self.loses_answers:
            raise Unavailable("the answer got lost")

    def address(self, record: Record, manifests: Sequence[Manifest]) -> Record:  # noqa: ARG002
        self._check()
        with self.store.lock:
            if record.home not in self.store.records:
                raise Unavailable("its record is gone")
            used = {address for one in self._read() for address in (one.addresses or {}).values()}
            free = (address for address in SERVICES if address not in used)
            given = replace(record, addresses={name: next(free) for name in sorted(record.ports)})
            self.store.records[record.home][1].update(given.notes())
        return given

    def apply(self, record: Record, manifests: Sequence[Manifest], limits: Limits) -> None:
        self.gate.wait(10)
        self._check()
        self.applies += 1
        if self.hiccups:
            self.hiccups -= 1
            raise Unavailable("a hiccup")
        with self.store.lock:
            if record.home not in self.store.records:
                raise DeployFailed("its record is gone")
            self.store.resting.discard(record.home)
            self.store.applied[record.home] = list(manifests)
            self.store.limits[record.home] = limits

    def rest(self, record: Record) -> None:
        self._check()
        with self.store.lock:
            if record.home in self.store.records:
                self.store.resting.add(record.home)
                self.store.applied.pop(record.home, None)

    def observe(self, records: Sequence[Record]) -> Mapping[str, Observed]:
        self._check()
        with self.store.lock:
            standing = [record for record in records if record.home in self.store.records]
            return {record.name: self._observe(record) for record in standing}

    def touch(self, record: Record) -> None:
        self._check()
        self.touched.append(record.name)

    def tell(self, record: Record, reason: str, text: str) -> None:
        self.told.append((record.name, reason, text))

    def delete(self, record: Record) -> None:
        self._check()
        with self.store.lock:
            if self.store.records.get(record.home, (None,))[0] == self.agent:
                self.store.applied.pop(record.home, None)
                self.store.resting.discard(record.home)
                self.store.records.pop(record.home, None)
                self.ending.add(record.home)
            if not self.stuck:
                self.ending.discard(record.home)
            if record.home in self.ending:
                raise Unavailable(f"{record.home} is still being removed: a finalizer.")

    def sweep(self, kept: Collection[str]) -> None:
        self._check()
        with self.store.lock:
            mine = {home for home, (agent, _) in self.store.records.items() if agent == self.agent}
            for home in mine - {f"sinfonia-{name}" for name in kept}:
                self.store.applied.pop(home, None)

    def _read(self, agent: UUID | None = None) -> list[Record]:
        there = self.store.records.values()
        return [Record.read(notes) for whose, notes in there if agent in (None, whose)]

    def _observe(self, record: Record) -> Observed:
        if record.home in self.store.resting:
            return Observed("Resting")
        manifests = self.store.applied.get(record.home, [])
        workloads = [manifest for manifest in manifests if manifest["kind"] in WORKLOADS]
        for workload in workloads:
            for container in pod_template(workload)["spec"]["containers"]:
                if container["image"] != GOOD_IMAGE:
                    return Observed("Failed", f"image {container['image']} is not there")
                if container.get("command") == ["/bin/busybox", "false"]:
                    return Observed("Failed", "ends again and again, last with status 1")
        if len(workloads) < record.workloads:
            return Observed("Deploying", "its pods are being made")
        endpoints: dict[Port, tuple[IPv4Address, int]] = {}
        for plan in plan_pods(record, manifests, {}):
            address = self.pods + 10 + plan.index
            endpoints |= {key: (address, target) for key, target in plan.serves.items()}
        return Observed("Ready", "", endpoints)

    def _check(self) -> None:
        if self.away:
            raise Unavailable("the runtime is away")
