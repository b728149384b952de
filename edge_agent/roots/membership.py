"""What ties the agent to its roots, joined: trust, callers, usage, and for each root its threads. Made by
`__main__.py`; the order of reading is `roots.py`, `mailbox.py`, `commands.py`.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import UUID

from edge_agent.deployments.requirements import Hardware, Offer
from edge_agent.identity import Identity
from edge_agent.nearby.trust import DeviceTrust
from edge_agent.recipes.recipes import Repository
from edge_agent.recipes.repositories import Downloads
from edge_agent.recipes.root_recipes import RootRecipes
from edge_agent.recipes.sources import Sources
from edge_agent.roots.commands import Commands
from edge_agent.roots.mailbox import Mailbox
from edge_agent.roots.prometheus import Prometheus
from edge_agent.roots.resources import Proc
from edge_agent.roots.root_calls import RootCalls, Signer
from edge_agent.roots.root_trust import RootTrust
from edge_agent.roots.root_wire import Registration
from edge_agent.roots.roots import Root, Self
from edge_agent.roots.usage import UsageMeter
from edge_agent.serving.callers import Callers
from edge_agent.serving.signatures import PublicKey
from edge_agent.sessions import make_session
from edge_agent.settings import Settings
from edge_agent.wire import Resources
from edge_agent.workers import Workers

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

_COMMAND_WORKERS = 8


@dataclass(frozen=True)
class Standing:
    """What roots are told that may change at any time: `busy` is what a cluster's nodes are, None where this
    machine runs the backends.
    """

    draining: Callable[[], bool]
    cached: Callable[[], tuple[UUID, ...]]
    hardware: Callable[[], Hardware]
    busy: Callable[[], Resources] | None = None


class Membership:
    """The agent's roots. `now` is seconds since 1970; `said` counts what is said to each; `devices` may call
    too.
    """

    def __init__(
        self,
        settings: Settings,
        identity: Identity,
        offer: Offer,
        now: Callable[[], float],
        said: Callable[[str, str], None] = lambda *_: None,
        devices: DeviceTrust | None = None,
    ) -> None:
        self._said = said
        self._settings = settings
        self._offer = offer
        self._identity = identity
        self._now = now
        folder = settings.state / "roots"
        urls, clock = settings.roots.urls, time.monotonic
        self._trusts = {url: RootTrust(url, folder, clock, now, self._owner) for url in urls}
        self._roots: dict[str, Root] = {}
        trusts = list(self._trusts.values())
        only_roots = settings.roots.only
        self.callers = Callers(identity.uuid, trusts, time.monotonic, only_roots=only_roots, devices=devices)
        self.usage = UsageMeter({url: trust.now for url, trust in self._trusts.items()})

    def recipes(self, own: Repository) -> RootRecipes | None:
        """The roots as a source of recipes beside the `own`, if the operator wants that."""
        settings = self._settings
        if not settings.roots.recipes:
            return None
        public = not all(map(_is_private, settings.roots.urls))
        session = make_session(time.monotonic, public_only=public)
        sources = Sources(settings.guests.allow_charts, encrypted=public)
        downloads = Downloads(settings.state / "charts-of-roots", session, time.monotonic, sources)
        return RootRecipes(self._calls, lambda url: self._roots[url].token, time.monotonic, downloads, own)

    def join(
        self,
        api: WSGIApplication,
        standing: Standing,
        thread: Callable[..., None],
        stop: threading.Event,
    ) -> None:
        """Start to serve every root until `stop`; `thread(name, target, *arguments)` starts a thread that is
        waited for at the end.
        """
        later = None if self._settings.roots.callable else Workers(_COMMAND_WORKERS).submit
        for url in self._settings.roots.urls:
            commands = Commands(api, later, self._calls_of(url), self._token_of(url)) if later else None
            me = self._myself(url, standing)
            take = commands.take if commands else lambda _commands: None
            root = self._roots[url] = Root(self._calls(url), me, _chance(), self.usage, take, self._said)
            thread(f"root {url}", root.run, stop)
            if commands:
                mailbox = Mailbox(
                    self._calls(url), self._token_of(url), commands.take, time.monotonic, _chance()
                )
                # Not waited for at the end: the root may hold its answer for a while.
                threading.Thread(target=mailbox.run, args=(stop,), name=f"mailbox {url}", daemon=True).start()

    def _owner(self, kid: str) -> RootTrust | None:
        """What is held true of the root that a key of this name is pinned for."""
        return next((trust for trust in self._trusts.values() if trust.key(kid)), None)

    def _calls(self, url: str) -> RootCalls:
        """Calls to a root, for one thread."""
        signer = Signer(PublicKey(self._identity.public_key), self._identity.sign)
        session = make_session(time.monotonic)
        return RootCalls(url, self._identity.uuid, session, self._trusts[url], signer)

    def _calls_of(self, url: str) -> Callable[[], RootCalls]:
        return lambda: self._calls(url)

    def _token_of(self, url: str) -> Callable[[], str | None]:
        return lambda: self._roots[url].token

    def _now_ms(self) -> int:
        return int(self._now() * 1000)

    def _myself(self, url: str, told: Standing) -> Self:
        registration, measure = self._registration(url), self._source(told.busy)
        return Self(registration, measure, self._now_ms, told.draining, told.cached, told.hardware)

    def _source(self, busy: Callable[[], Resources] | None) -> Callable[[], Resources]:
        settings, clock = self._settings.resources, time.monotonic
        if settings.prometheus:
            return Prometheus(settings.prometheus, make_session(clock), clock, settings.queries).measure
        proc = Proc(clock)
        return partial(proc.beside, busy) if busy else proc.measure

    def _registration(self, url: str) -> Registration:
        """What a root is told: of terms, its own."""
        site, roots = self._settings.site, self._settings.roots
        mine = next(root for root in roots.each if root.url == url)
        offer = roots.terms().offer(url, self._offer)
        return Registration(
            endpoint=self._settings.serving.advertise_url if roots.callable else None,
            incarnation=self._identity.incarnation,
            name=site.name,
            interval_seconds=min(roots.interval_seconds, 3600.0),
            location=site.location,
            local_networks=site.local_networks,
            accepted_clients=site.accept,
            rejected_clients=site.reject,
            tenant=mine.tenant or roots.tenant,
            invitation=mine.invitation or roots.invitation,
            price=offer.price,
            jurisdiction=offer.jurisdiction,
            hardware=offer.hardware,
        )


def _is_private(url: str) -> bool:
    """Whether a root is at an address that is not public: then its charts may be there too."""
    host = urlsplit(url).hostname or ""
    try:
        return not ip_address(host).is_global
    except ValueError:
        return host == "localhost"


def _chance() -> random.Random:
    return random.Random()  # noqa: S311 - jitter, not a secret
