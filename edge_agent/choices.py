"""What an operator's settings choose among: the gateway and its network, the runtime, its images and what
tells of it, whether bundles are taken, what is offered, where it is announced. Called by `agent.py`.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from edge_agent.deployments.addresses import SHARED, Plan, default_network6
from edge_agent.deployments.requirements import Hardware, Offer
from edge_agent.deployments.routes import Gateway
from edge_agent.deployments.runtime import Runtime
from edge_agent.deployments.site import Entrance
from edge_agent.identity import Identity
from edge_agent.machine import addresses_of_links, has_ipv6, own_addresses, own_installation
from edge_agent.on_podman.disk import Disk
from edge_agent.on_podman.image_stock import PodmanStock
from edge_agent.on_podman.image_store import PodmanImages
from edge_agent.on_podman.isolation import Isolation
from edge_agent.on_podman.podman import PodmanRuntime
from edge_agent.on_podman.podman_program import Podman
from edge_agent.provisioning.blobs import Blobs
from edge_agent.provisioning.bundles import Bundles
from edge_agent.provisioning.prefetch import Stock
from edge_agent.roots import hardware
from edge_agent.sessions import make_session
from edge_agent.settings import Settings
from edge_agent.tunnels.gateway import WireGuardGateway
from edge_agent.tunnels.kilo_settings import KiloSettings
from edge_agent.tunnels.networks import choose_network, networks_here
from edge_agent.tunnels.peer_metrics import PeerMetrics
from edge_agent.tunnels.programs import Programs
from edge_agent.workers import Workers

if TYPE_CHECKING:
    from edge_agent.on_kubernetes.capacity import Capacity
    from edge_agent.on_kubernetes.kilo import KiloGateway

_LOADERS = 2  # of bundles' images: Podman unpacks them


def announced(
    settings: Settings, links: Callable[[], list[tuple[str, str]]] = addresses_of_links
) -> list[str]:
    """The addresses to announce, of those that this machine has now: the given ones, and those of interfaces
    where the API listens.
    """
    given, serves, here = settings.nearby, settings.serving.serves, links()
    chosen = {*given.interfaces, *(name for name, address in here if address in given.interfaces_of)}
    wanted = {address for name, address in here if name in chosen and serves(address)}
    return [address for _, address in here if address in wanted or address in given.addresses]


class AgentGateway(Gateway, Protocol):
    """The gateway as `agent.py` needs it besides."""

    def up(self) -> None:
        """Make it ready for peers; raises `Unavailable`."""

    def down(self) -> None:
        """Take it away, with all peers."""


_Tunnels = tuple[AgentGateway, Plan, Callable[[], Entrance]]


def make_gateway(settings: Settings, identity: Identity, check: Callable[[], None]) -> _Tunnels:
    """The gateway, the plan of the tunnels' addresses, whose network is nobody else's here, and what says
    where tunnels lead in. `check` raises `Unavailable` where another agent of this identity works now.
    """
    uuid, given = identity.uuid, settings.gateway
    if given.kilo and given.network:
        kilo = _make_kilo(settings, uuid, given.kilo, check)
        return kilo, Plan(given.network), kilo.entrance
    interface = f"sf-{uuid.hex[:8]}"
    here = networks_here(Programs(subprocess.run), interface)
    network6 = default_network6(uuid) if has_ipv6() else None
    plan = Plan(choose_network(settings.state, uuid, given.network, here), network6)
    key = identity.wireguard_private_key
    public = identity.wireguard_public_key
    entrance = Entrance(public, given.endpoint.told, plan.gateway, given.endpoint6)
    gateway = WireGuardGateway(
        interface, key, given.port, plan, time.monotonic, pace=given.pace, mtu=given.mtu
    )
    return gateway, plan, lambda: entrance


def _make_kilo(settings: Settings, uuid: UUID, given: KiloSettings, check: Callable[[], None]) -> KiloGateway:
    from edge_agent.on_kubernetes.api import open_api
    from edge_agent.on_kubernetes.kilo import KiloGateway

    api = open_api(settings.kubeconfig, clock=time.monotonic, sleep=threading.Event().wait)
    url = settings.resources.prometheus
    told = PeerMetrics(url, make_session(time.monotonic), time.monotonic).activity if url else None
    return KiloGateway(uuid, api, given, told, time.monotonic, check)


def make_offer(settings: Settings) -> Offer:
    """What the operator says, else what this machine has; the nodes of a cluster are not this machine."""
    said = settings.site.offer
    found = hardware.measure() if settings.runtime == "podman" else Hardware()
    return Offer(hardware.completed(said.hardware, found), said.jurisdiction, said.price)


def make_runtime(settings: Settings, identity: Identity) -> Runtime:
    """The runtime of `--runtime`; the Kubernetes client is imported only if it is used."""
    sleep = threading.Event().wait
    if settings.runtime == "podman":
        program = Podman(identity.uuid, settings.podman_options, clock=time.monotonic, sleep=sleep)
        disk = Disk(program, Workers(1).submit, time.monotonic)
        return PodmanRuntime(identity.uuid, program, Isolation(identity.uuid), settings.state / "names", disk)
    from edge_agent.on_kubernetes.cluster import connect

    listened = {one.host for one in settings.serving.listen if not one.anywhere}
    here = {settings.gateway.endpoint.host, *listened, *own_addresses()}
    return connect(
        identity.uuid,
        settings.kubeconfig,
        sorted(one for one in here if "%" not in one),  # a pod is behind no link of ours
        settings.leases.idle_seconds,
        clock=time.monotonic,
        sleep=sleep,
        now=utc_now,
        holder=own_installation(settings.state),
        placement=settings.placement,
        tunnels=settings.gateway.network or SHARED,
    )


def make_bundles(settings: Settings, identity: Identity) -> Bundles | None:
    """What devices bring along, where the operator takes it."""
    most, folder = settings.bundles.most_bytes, settings.state
    if not most:
        return None
    sleep = threading.Event().wait
    program = Podman(identity.uuid, settings.podman_options, clock=time.monotonic, sleep=sleep)
    blobs = Blobs(folder / "parts", most, time.time)
    later = Workers(_LOADERS).submit
    return Bundles(folder / "bundles", blobs, PodmanImages(program), most, later, time.time)


def make_stock(settings: Settings, identity: Identity) -> Stock:
    """The images of `--runtime`."""
    sleep = threading.Event().wait
    if settings.runtime == "podman":
        program = Podman(identity.uuid, settings.podman_options, clock=time.monotonic, sleep=sleep)
        return PodmanStock(program)
    from edge_agent.on_kubernetes.api import open_api
    from edge_agent.on_kubernetes.image_stock import KubernetesStock

    api = open_api(settings.kubeconfig, clock=time.monotonic, sleep=sleep)
    return KubernetesStock(
        identity.uuid, api, clock=time.monotonic, sleep=sleep, placement=settings.placement
    )


def make_capacity(settings: Settings) -> Capacity | None:
    """The nodes of `--runtime kubernetes`."""
    if settings.runtime == "podman":
        return None
    from edge_agent.on_kubernetes.api import open_api
    from edge_agent.on_kubernetes.capacity import Capacity

    sleep = threading.Event().wait
    api, metrics = (open_api(settings.kubeconfig, clock=time.monotonic, sleep=sleep) for _ in range(2))
    return Capacity(api, metrics, settings.placement, time.monotonic)


def make_check(settings: Settings, identity: Identity, capacity: Capacity | None) -> Callable[[], str]:
    """What says why nothing new could be started: the nodes; Podman by answering at all."""
    if capacity is not None:
        return capacity.check
    sleep = threading.Event().wait
    program = Podman(identity.uuid, settings.podman_options, clock=time.monotonic, sleep=sleep)

    def check() -> str:
        program.call("ps", "--quiet")
        return ""

    return check


def utc_now() -> datetime:
    """The time, for records."""
    return datetime.fromtimestamp(time.time(), UTC)
