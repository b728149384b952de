"""`sinfonia-agent check`: which checks there are for the settings that `run` would have. Called by
`__main__.py`; calls the other modules of this room, which change nothing that stays.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Network
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

from edge_agent.checking import cluster, findings, kilo, machine, network
from edge_agent.checking.findings import Check, Finding
from edge_agent.deployments.site import Entrance
from edge_agent.drain import runs
from edge_agent.errors import SettingsError
from edge_agent.identity import public_key_in, uuid_of
from edge_agent.on_kubernetes.api import Api, context_namespace, open_api
from edge_agent.on_kubernetes.cluster import own_namespace
from edge_agent.on_kubernetes.kilo import KiloGateway
from edge_agent.on_kubernetes.rights import KILO_RIGHTS, RIGHTS
from edge_agent.recipes.charts import Helm, find_helm
from edge_agent.recipes.recipes import Recipes
from edge_agent.recipes.repositories import Downloads, open_repository
from edge_agent.roots.prometheus import Prometheus
from edge_agent.sessions import make_session
from edge_agent.settings import Settings
from edge_agent.tunnels.gateway_settings import GatewaySettings
from edge_agent.tunnels.kilo_settings import KiloSettings
from edge_agent.tunnels.peer_metrics import PeerMetrics

_OfCluster = Callable[[Api], Iterable[Finding]]
_NOBODY = {"uuid": str(UUID(int=0)), "name": "check"}


def look(settings: Settings, helm: str | None) -> list[Finding]:
    """Everything that was found; `helm` is the program, None for the one that is found."""
    checks = [*_machine(settings, helm), *_runtime(settings), *_recipes(settings, helm), *_network(settings)]
    return list(findings.run(checks))


def _machine(settings: Settings, helm: str | None) -> Iterator[tuple[str, Check]]:
    programs = machine.Programs()
    tunnels, podman = settings.gateway.kilo is None, settings.runtime == "podman"
    names = ["ip", *(["wg", "nft"] if tunnels else []), *(["podman"] if podman else [])]
    running = runs(settings.state)
    ports = [
        *_tunnel_ports(settings.gateway),
        *(("TCP", one.host, one.port, "--listen") for one in settings.serving.listen),
    ]
    metrics = settings.serving.metrics
    if metrics:
        ports.append(("TCP", metrics.host, metrics.port, "--metrics"))
    yield "machine: programs", lambda: programs.installed(names)
    yield "machine: helm", lambda: programs.helm(_found(helm))
    if tunnels:
        yield "machine: rights", machine.rights
        yield "machine: WireGuard", programs.wireguard
        yield "machine: packet rules", programs.packet_rules
        yield "machine: forwarding", machine.forwarding
    for kind, host, number, option in ports:
        yield f"machine: {kind} port {number}", _port(kind, host, number, option, running=running)
    yield "machine: state", lambda: machine.state(settings.state)
    if podman:
        yield "machine: podman's runtime", lambda: programs.podman(settings.podman_options)


def _tunnel_ports(gateway: GatewaySettings) -> list[tuple[str, str, int, str]]:
    if gateway.kilo is None:
        return [("UDP", "0.0.0.0", gateway.port, "--wireguard-port")]  # noqa: S104 - where WireGuard binds
    status, names = gateway.kilo.status, gateway.kilo.names
    return [
        ("TCP", status.host, status.port, "--kilo-status"),
        ("UDP", names.host, names.port, "--kilo-names"),
    ]


def _port(kind: str, host: str, number: int, option: str, *, running: bool) -> Check:
    return lambda: machine.port(kind, host, number, option, running=running)


def _found(helm: str | None) -> str | None:
    try:
        return find_helm(helm)
    except SettingsError:
        return helm


def _runtime(settings: Settings) -> Iterator[tuple[str, Check]]:
    if settings.runtime != "kubernetes":
        return
    own = own_namespace() if settings.kubeconfig is None else None
    own = own or context_namespace(settings.kubeconfig)
    kept: list[Api] = []

    def api() -> Api:
        if not kept:
            sleep = threading.Event().wait
            kept.append(open_api(settings.kubeconfig, clock=time.monotonic, sleep=sleep))
        return kept[0]

    def server() -> Iterable[Finding]:
        found = list(cluster.server(api()))
        answers.append(True)
        return found

    answers: list[bool] = []

    def then(check: _OfCluster) -> Check:
        return lambda: check(api()) if answers else ()  # one line says that the server is away

    yield "cluster: server", server
    table = (*RIGHTS, *(KILO_RIGHTS if settings.gateway.kilo else ()))
    yield "cluster: rights", then(lambda api: cluster.rights(api, own, table))
    yield "cluster: nodes", then(lambda api: cluster.nodes(api, settings.placement))
    for check in (cluster.more_than_needed, cluster.network_policy, cluster.names):
        yield f"cluster: {check.__name__.replace('_', ' ')}", then(check)
    given, network = settings.gateway.kilo, settings.gateway.network
    if given and network:
        yield from _kilo(given, network, settings.state, then)
        url = settings.resources.prometheus
        told = PeerMetrics(url, make_session(time.monotonic), time.monotonic).activity if url else None
        yield "Kilo: signs of life", lambda: kilo.signs_of_life(told)


def _kilo(
    given: KiloSettings, network: IPv4Network, state: Path, then: Callable[[_OfCluster], Check]
) -> Iterator[tuple[str, Check]]:
    agent = _agent(state)

    def look(api: Api) -> Entrance:
        gateway = KiloGateway(agent or UUID(int=0), api, given, None, time.monotonic)
        gateway.up()
        return gateway.entrance()

    yield "Kilo: Peers", then(lambda api: kilo.peers(api, str(agent), network))
    yield "Kilo: entrance", then(lambda api: kilo.entrance(lambda: look(api)))
    yield "Kilo: addresses", then(lambda api: kilo.pods(api, network))
    yield "Kilo: masquerading", then(lambda api: kilo.masquerading(api, network))


def _agent(state: Path) -> UUID | None:
    """The UUID of the agent of this state folder, None for one that never ran."""
    try:
        return uuid_of(public_key_in(state))
    except (OSError, SettingsError):
        return None


def _recipes(settings: Settings, helm: str | None) -> Iterator[tuple[str, Check]]:
    def render() -> Iterator[Finding]:
        with TemporaryDirectory(prefix="sinfonia-check-") as folder:
            downloads = Downloads(Path(folder), make_session(time.monotonic), time.monotonic)
            repository = open_repository(settings.recipes, downloads)
            recipes = Recipes(repository, Helm(find_helm(helm), _NOBODY), time.monotonic)
            yield from network.recipes(settings.recipes, lambda app: recipes.prepare(app))

    yield "recipes: recipes", render


def _network(settings: Settings) -> Iterator[tuple[str, Check]]:
    session = make_session(time.monotonic)
    for url in settings.roots.urls:
        yield f"roots: {url}", lambda url=url: network.root(url, session, time.time)  # type: ignore[misc]
    prometheus = settings.resources.prometheus
    if prometheus:
        source = Prometheus(prometheus, session, time.monotonic, settings.resources.queries)
        yield "metrics: Prometheus", lambda: network.prometheus(prometheus, session, source.measure)
