"""The agent's parts, joined: the composition root. Made by `__main__.py`; makes everything else.

The order at start: identity, API (answering 503), gateway, runtime with what an earlier run left, status and
names in the tunnel; only then, and once a backend could be started, roots and Zeroconf are told. The order
at the end is the reverse.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import Any

from edge_agent.arguments import own_version
from edge_agent.choices import (
    announced,
    make_bundles,
    make_capacity,
    make_check,
    make_gateway,
    make_offer,
    make_runtime,
    make_stock,
    utc_now,
)
from edge_agent.deployments.deploy import Deployments
from edge_agent.deployments.leases import Leases
from edge_agent.deployments.lifecycle import Lifecycle
from edge_agent.deployments.lives import Lives
from edge_agent.deployments.readiness import Readiness
from edge_agent.deployments.requirements import Hardware
from edge_agent.deployments.room import Room
from edge_agent.deployments.routes import Routes
from edge_agent.deployments.site import DOMAIN, Site
from edge_agent.deployments.upkeep import Upkeep
from edge_agent.drain import is_draining
from edge_agent.errors import Unavailable
from edge_agent.identity import Identity
from edge_agent.nearby.advertise import Advertiser
from edge_agent.nearby.trust import make_nearby
from edge_agent.option_values import Address
from edge_agent.provisioning.prefetch import LOOK_SECONDS, Prefetch
from edge_agent.recipes.charts import Helm
from edge_agent.recipes.recipes import Recipes
from edge_agent.recipes.repositories import Downloads, open_repository
from edge_agent.recipes.sources import Sources
from edge_agent.roots.hardware import completed
from edge_agent.roots.membership import Membership, Standing
from edge_agent.serving.api import make_api
from edge_agent.serving.metrics import Metrics, make_metrics_api
from edge_agent.serving.servers import WAITERS, serve, serve_names
from edge_agent.serving.signatures import PublicKey
from edge_agent.serving.tunnel_api import make_tunnel_api
from edge_agent.sessions import make_session
from edge_agent.settings import Settings
from edge_agent.tunnels.names import Names
from edge_agent.workers import Workers

_LOG = logging.getLogger(__name__)

_WORKERS = 8
_REMOVAL_SECONDS = 30.0
_STATUS_PORT = 80
_DNS_PORT = 53


class Agent:
    """All parts of a running agent. `start` them, `wait` for the end, `close` them."""

    def __init__(self, settings: Settings, helm: str) -> None:
        self.settings = settings
        self.stop = threading.Event()
        self.identity = Identity(settings.state, now_ms)
        uuid, offer = self.identity.uuid, make_offer(settings)
        self.gateway, plan, entrance = make_gateway(settings, self.identity, self._check_lock)
        self.site = Site(uuid, settings.site.name, plan, entrance, offer)
        self._closing = contextlib.ExitStack()
        guests = settings.guests
        sources = Sources(guests.allow_charts)
        downloads = Downloads(
            settings.state / "charts", make_session(time.monotonic), time.monotonic, sources
        )
        known = {"uuid": str(uuid), "name": settings.site.name or str(uuid)}
        self.metrics = Metrics(
            own_version(), settings.runtime, lambda: self.lives.all(), time.monotonic, self._is_offered
        )
        nearby = settings.nearby
        key = PublicKey(self.identity.public_key)
        sign, state = self.identity.sign, settings.state
        self.nearby = make_nearby(nearby.mode, nearby.keys, state, key, sign, time.monotonic, time.time)
        devices = self.nearby.trust
        self.membership = Membership(settings, self.identity, offer, time.time, self.metrics.said, devices)
        own = open_repository(settings.recipes, downloads)
        renderer, at_roots = Helm(helm, known), self.membership.recipes(own)
        self.bundles = make_bundles(settings, self.identity)
        recipes = Recipes(own, renderer, time.monotonic, at_roots, guests.ceiling, self.bundles)
        made = make_runtime(settings, self.identity)
        self._lock: Any = getattr(made, "lock", None)  # Podman's agents have their state's own
        runtime = self.metrics.timed("runtime", made)
        self.lives = Lives(time.monotonic, turned=self.metrics.turned)
        leases = Leases(settings.leases.idle_seconds, settings.leases.rest_seconds, time.monotonic)
        later = Workers(_WORKERS).submit
        routes = Routes(self.metrics.timed("gateway", self.gateway), self.lives)
        terms = settings.roots.terms()
        room = Room(settings.leases.max_deployments, terms.capacity)
        addressing: Any = runtime if settings.gateway.kilo else None
        lifecycle = Lifecycle(
            plan, recipes, runtime, routes, self.lives, leases, later, utc_now, room, addressing
        )
        self.prefetch = Prefetch(
            recipes,
            make_stock(settings, self.identity),
            self.lives,
            lambda: guests.wanted(settings.recipes),
            settings.roots.urls if at_roots else (),
            time.monotonic,
        )
        cached = self.prefetch.cached
        self.capacity = make_capacity(settings)
        self.readiness = Readiness(make_check(settings, self.identity, self.capacity), time.monotonic)
        self.deployments = Deployments(
            self.site,
            lifecycle,
            self.lives,
            leases,
            WAITERS,
            cached,
            terms,
            lambda: self.readiness.reason,
            self._hardware,
        )
        self._look_at_drain()
        self._api = make_api(self.deployments, self.membership.callers, self.nearby, self.bundles)
        self.upkeep = Upkeep(
            lifecycle,
            runtime,
            routes,
            self.lives,
            leases,
            time.monotonic,
            self.membership.usage.note,
            settings.leases.max_age_seconds,
        )

    def start(self) -> None:
        """Start everything; returns when it serves, or when it is told to stop."""
        serving = self.settings.serving
        if serving.metrics:
            probes = make_metrics_api(self.metrics, lambda: self.deployments.open)
            self._closing.callback(serve(probes, [serving.metrics], threads=2))
        self._closing.callback(serve(self.metrics.counted(self._api), serving.listen))
        if self._lock is not None:
            self._thread("lock", self._lock.keep)
            self._closing.callback(self._lock.release)
            self._until_possible(self._lock.claim)
        self._until_possible(self.gateway.up)
        self._closing.callback(self._leave)
        self._until_possible(self.upkeep.restore)
        if self.stop.is_set():
            return
        self._serve_tunnels()
        self._thread("upkeep", self._keep_up)
        self.deployments.open = True
        self._until_possible(self.readiness.require)
        if not self.stop.is_set():
            self._look_at_drain()
            self._thread("readiness", self.readiness.keep, self.stop)
            self._tell()

    def _serve_tunnels(self) -> None:
        """Status and names, on the gateway's addresses alone; behind Kilo, where its Service leads."""
        plan, kilo = self.site.plan, self.settings.gateway.kilo
        entrance = self.site.entrance()
        addresses = [address for address in (entrance.address, plan.gateway6) if address is not None]
        status = make_tunnel_api(self.deployments, time.monotonic)
        names = Names(self.deployments.zone, DOMAIN, plan.named, addresses)
        status_at = [kilo.status] if kilo else [Address(str(one), _STATUS_PORT) for one in addresses]
        names_at = [kilo.names] if kilo else [Address(str(one), _DNS_PORT) for one in addresses]
        for where in status_at:
            self._closing.callback(serve(status, [where]))
        for where in names_at:
            self._closing.callback(serve_names(names, where, self.metrics.asked))

    def wait(self) -> None:
        """Until somebody says stop."""
        while not self.stop.wait(0.5):  # Python runs a signal's handler only when this thread wakes up
            self._look_at_drain()

    def _check_lock(self) -> None:
        """Raise `Unavailable` where another agent of this identity works now."""
        if self._lock is not None:
            self._lock.check()

    def _is_offered(self) -> bool:
        return self.deployments.open and not self.deployments.is_draining()

    def _hardware(self) -> Hardware:
        """What the operator says, else what is found; on a cluster, that of its nodes."""
        said = self.site.offer.hardware
        return completed(said, self.capacity.hardware()) if self.capacity else said

    def _look_at_drain(self) -> None:
        draining = is_draining(self.settings.state)
        if draining != self.deployments.draining:
            _LOG.info("draining" if draining else "no longer draining")
            self.deployments.draining = draining

    def close(self) -> None:
        """Say goodbye and take everything down."""
        self.membership.usage.cut_all()
        self.stop.set()
        self.lives.wake()
        self._closing.close()
        self.identity.close()

    def _leave(self) -> None:
        """Remove everything; or keep everything, tunnels included, so that a restart disturbs nobody."""
        remove = self.settings.leases.remove_on_exit
        self.deployments.close(remove=remove, timeout=_REMOVAL_SECONDS)
        if remove:
            self.gateway.down()

    def _tell(self) -> None:
        """Tell roots and the network that we serve."""
        settings = self.settings
        drains = self.deployments.is_draining
        self._thread("images", self._keep_images)
        busy = self.capacity.measure if self.capacity else None
        standing = Standing(drains, self.prefetch.cached, self._hardware, busy)
        self.membership.join(self._api, standing, self._thread, self.stop)
        if settings.nearby.announce:
            name = settings.site.name or f"sinfonia {self.identity.uuid.hex[:8]}"
            told = {"trust": settings.nearby.mode, "key": PublicKey(self.identity.public_key).thumbprint}
            port = settings.serving.port
            advertiser = Advertiser(name, self.identity.uuid, lambda: announced(settings), port, told)
            self._closing.callback(advertiser.close)
            self._thread("announce", advertiser.keep, self.stop, lambda: not drains())

    def _keep_up(self) -> None:
        while not self.stop.is_set():
            try:
                self.metrics.round(self.upkeep.tick)
            except Exception:  # noqa: BLE001 - a fault in one tick must not end all later ones
                _LOG.exception("the upkeep failed; it goes on")
            self.lives.pause(self.stop.is_set)

    def _keep_images(self) -> None:
        while not self.stop.is_set():
            try:
                self.prefetch.tick()
                if self.bundles:
                    self.bundles.sweep({live.record.order.bundle for live in self.lives.all()})
            except Exception:  # noqa: BLE001 - as above
                _LOG.exception("looking at images failed; it goes on")
            self.stop.wait(LOOK_SECONDS)

    def _until_possible(self, step: Any) -> None:
        """Try a step until it works: what it needs may come up after us."""
        pause = 1.0
        while not self.stop.is_set():
            try:
                step()
            except Unavailable as error:
                _LOG.warning("waiting for what is needed", extra={"reason": str(error)})
                self.stop.wait(pause)
                pause = min(pause * 2, 30.0)
            else:
                return

    def _thread(self, name: str, target: Any, *arguments: Any) -> None:
        """A thread that is waited for at the end."""
        thread = threading.Thread(target=target, args=arguments, name=name, daemon=True)
        thread.start()

        def join() -> None:
            self.stop.set()
            self.lives.wake()
            thread.join(5)

        self._closing.callback(join)


def now_ms() -> int:
    """Milliseconds since 1970, for incarnations."""
    return time.time_ns() // 1_000_000
