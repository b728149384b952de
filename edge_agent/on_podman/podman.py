"""Backends on Podman, without a cluster. Called through the `Runtime` protocol of `lifecycle.py`; calls
`podman_program.py`, and the modules beside it.

A deployment is a Podman network: its labels are the record, its name makes the record's creation atomic. The
pods are attached to it with addresses that follow from its subnet, so that two listings tell everything.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any
from uuid import UUID

from edge_agent.deployments.records import (
    AGENT_LABEL,
    DEPLOYMENT_LABEL,
    DamagedRecord,
    Observed,
    Record,
)
from edge_agent.errors import Conflict, DeployFailed, Unavailable
from edge_agent.on_podman.blueprints import draw, pod_address, targets
from edge_agent.on_podman.disk import STORAGE_LABEL, Disk
from edge_agent.on_podman.isolation import Fence, Isolation
from edge_agent.on_podman.making import Maker, statuses, written
from edge_agent.on_podman.names_files import NamesFiles
from edge_agent.on_podman.podman_program import Podman, PodmanError
from edge_agent.on_podman.pods import INDEX_LABEL, RESTING_LABEL, SERVES_LABEL, read_serves
from edge_agent.on_podman.watch import Watch
from edge_agent.recipes.limits import Limits
from edge_agent.recipes.manifests import Manifest

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Home:
    """A deployment's network."""

    record: Record
    subnet: IPv4Network
    bridge: str


class PodmanRuntime:
    """The runtime port on Podman. Guests are kept apart by `isolation`; `watch` looks at them, `disk` at what
    they write; what they know of each other lies in `folder`.
    """

    def __init__(
        self,
        agent: UUID,
        program: Podman,
        isolation: Isolation,
        folder: Path,
        disk: Disk,
        watch: Watch | None = None,
    ) -> None:
        self._agent = agent
        self._podman = program
        self._isolation = isolation
        self._watch = watch or Watch(program)
        self._disk = disk
        self._names = NamesFiles(folder)
        self._maker = Maker(program)
        self._alone = False
        self._resting: set[str] = set()

    def records(self) -> list[Record]:
        """The records of this agent. At the first call, what an earlier run began has its end awaited, and
        the guests that are there get their fences.
        """
        if not self._alone:
            self._podman.await_orphans()
        self._resting = self._noted_resting()
        homes = list(self._homes())
        if not self._alone:
            pods = self._pods()
            inhabited = {pod["Labels"].get(DEPLOYMENT_LABEL) for pod in pods}
            fences = {home.record.name: _fence(home, pods) for home in homes if home.record.name in inhabited}
            self._isolation.restore(fences)
            self._isolation.reflect({fence.bridge for fence in fences.values()})
            self._alone = True
        return [home.record for home in homes]

    def create(self, record: Record) -> None:
        """Make the network that is the record."""
        labels = {**record.labels(self._agent), **record.notes()}
        try:
            self._podman.call(
                "network", "create", "--disable-dns", "--opt", "isolate=true", *written(labels), record.home
            )
        except PodmanError as error:
            if "already" in str(error):
                raise Conflict(f"{record.home} exists already") from error
            raise Unavailable(f"Podman can't make a network: {error}") from error

    def apply(self, record: Record, manifests: Sequence[Manifest], limits: Limits) -> None:
        """Start the pods that are not running; one that is half made is made anew.

        What Podman can't do is refused before anything is made.
        """
        home = next((home for home in self._homes() if home.record.name == record.name), None)
        if home is None:
            raise DeployFailed("Its network is gone.")
        labels = record.labels(self._agent)
        noted = {**labels, STORAGE_LABEL: str(limits.storage_bytes)}
        blueprints = draw(record, manifests, limits, noted, home.subnet)
        pods = {pod["Name"]: pod for pod in self._pods(record.name)}
        self._wake(record)
        offers = [(blueprint.address, blueprint.pod.serves) for blueprint in blueprints]
        self._isolation.put(record.name, Fence(home.bridge, home.subnet, targets(record, offers)))
        for blueprint in blueprints:
            pod = pods.get(blueprint.pod.name)
            if pod is not None and set(statuses(pod).values()) == {"running"}:
                continue
            self._maker.remove_pods([pod] if pod is not None else [])
            if blueprint.volumes:
                self._maker.remove_volumes(record.name, note=False, pod=blueprint.pod.name)
            self._maker.make(blueprint, record.home, labels, self._names.write(record.name, blueprint))
        self._isolation.reflect({home.bridge})

    def observe(self, records: Sequence[Record]) -> Mapping[str, Observed]:
        """What two listings say, and what the guests answer."""
        self._isolation.mend()
        homes = {home.record.name: home for home in self._homes()}
        pods: dict[str, list[dict[str, Any]]] = {}
        listed = self._pods()
        for pod in listed:
            pods.setdefault(pod["Labels"].get(DEPLOYMENT_LABEL, ""), []).append(pod)
        self._watch.keep({pod["Id"] for pod in listed})
        self._disk.look(listed)
        return {
            record.name: self._seen(record, homes[record.name].subnet, pods.get(record.name, []))
            for record in records
            if record.name in homes
        }

    def _seen(self, record: Record, subnet: IPv4Network, pods: Sequence[Mapping[str, Any]]) -> Observed:
        if record.name in self._resting:
            return Observed("Resting")
        excess = self._disk.excess(pods)
        return Observed("Failed", excess) if excess else self._watch.look(record, subnet, pods)

    def rest(self, record: Record) -> None:
        """Remove the pods, and note it: by a volume, since a network's labels can't change."""
        if record.home not in {network.get("name") for network in self._listed_networks()}:
            return
        try:
            self._maker.remove_pods(self._pods(record.name))
            self._maker.remove_volumes(record.name, note=False)
            labels = {**record.labels(self._agent), RESTING_LABEL: record.name}
            if record.name not in self._noted_resting():
                self._podman.call("volume", "create", *written(labels), _resting_volume(record))
            self._resting.add(record.name)
            self._isolation.drop(record.name)
        except PodmanError as error:
            raise Unavailable(f"Podman can't let {record.home} rest: {error}") from error

    def tell(self, record: Record, reason: str, text: str) -> None:
        """Nothing: Podman has no place for it but the log, where the agent wrote it already."""

    def touch(self, record: Record) -> None:
        """Nothing: a Podman network's labels can't change, and the agent's own leases decide."""

    def delete(self, record: Record) -> None:
        """Remove pods, volumes, and at last the network; one that another agent made is left alone."""
        if record.home not in {network.get("name") for network in self._listed_networks()}:
            self._names.remove(record.name)
            return
        try:
            self._maker.remove_pods(self._pods(record.name))
            self._maker.remove_volumes(record.name, note=True)
            self._podman.call("network", "rm", "--force", record.home)
            self._isolation.drop(record.name)
            self._names.remove(record.name)
        except PodmanError as error:
            if "not found" not in str(error):
                raise Unavailable(f"Podman can't remove {record.home}: {error}") from error

    def sweep(self, kept: Collection[str]) -> None:
        """Remove pods of this agent that no record speaks of, and files."""
        self._names.keep(kept)
        stray = [pod for pod in self._pods() if pod["Labels"].get(DEPLOYMENT_LABEL) not in kept]
        if stray:
            _LOG.warning("removing stray pods", extra={"count": len(stray)})
            with suppress(PodmanError):  # they are in nobody's way
                self._maker.remove_pods(stray)

    def _noted_resting(self) -> set[str]:
        """The names of the deployments that rest."""
        mine = ("--filter", f"label={AGENT_LABEL}={self._agent}", "--filter", f"label={RESTING_LABEL}")
        volumes = self._podman.listing("volume", "ls", *mine)
        return {str((volume.get("Labels") or {}).get(RESTING_LABEL)) for volume in volumes}

    def _wake(self, record: Record) -> None:
        if record.name not in self._resting:
            return
        try:
            self._podman.call("volume", "rm", "--force", _resting_volume(record))
        except PodmanError as error:
            if "no such volume" not in str(error):
                raise Unavailable(f"Podman can't wake {record.home}: {error}") from error
        self._resting.discard(record.name)

    def _homes(self) -> Iterator[_Home]:
        for network in self._listed_networks():
            try:
                record, subnet = Record.read(network["labels"]), IPv4Network(network["subnets"][0]["subnet"])
                yield _Home(record, subnet, str(network["network_interface"]))
            except (DamagedRecord, LookupError, TypeError, ValueError) as error:
                name = network.get("name") if isinstance(network, dict) else network
                _LOG.warning("not a record of ours", extra={"network": name, "reason": str(error)})

    def _listed_networks(self) -> list[dict[str, Any]]:
        return self._podman.listing("network", "ls", "--filter", f"label={AGENT_LABEL}={self._agent}")

    def _pods(self, deployment: str | None = None) -> list[dict[str, Any]]:
        label = f"{DEPLOYMENT_LABEL}={deployment}" if deployment else f"{AGENT_LABEL}={self._agent}"
        pods = self._podman.listing("pod", "ps", "--filter", f"label={label}")
        return [pod for pod in pods if (pod.get("Labels") or {}).get(AGENT_LABEL) == str(self._agent)]


def _fence(home: _Home, pods: Sequence[Mapping[str, Any]]) -> Fence:
    """The fence around the pods of a deployment that are there."""
    offers = [
        (pod_address(home.subnet, int(pod["Labels"][INDEX_LABEL])), read_serves(pod["Labels"][SERVES_LABEL]))
        for pod in pods
        if pod["Labels"].get(DEPLOYMENT_LABEL) == home.record.name
    ]
    return Fence(home.bridge, home.subnet, targets(home.record, offers))


def _resting_volume(record: Record) -> str:
    """Named so that no volume of the app's can be: those have no underscore."""
    return f"{record.name}-_resting"
