"""The deploy use case: one backend for each app and key, and what its device may ask about it.

Called by `api.py`, `tunnel_api.py` and `names.py` (through `__main__.py`); calls `lifecycle.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from uuid import UUID

from edge_agent.deployments.leases import Leases
from edge_agent.deployments.lifecycle import Lifecycle
from edge_agent.deployments.live import Live, Phase
from edge_agent.deployments.lives import Lives
from edge_agent.deployments.records import NOTHING, Order
from edge_agent.deployments.requirements import Hardware, Requirements
from edge_agent.deployments.site import Site
from edge_agent.deployments.terms import Terms
from edge_agent.errors import Forbidden, NotFound, Unavailable
from edge_agent.recipes.manifests import Backend
from edge_agent.wire import Deployment

_STRIPES = 64
_REMOVAL_SECONDS = 20.0
_UNREADY_SECONDS = 15


class Deployments:
    """All deployments of this cloudlet, as devices and roots know them. Safe between threads.

    At most `waiters` calls are held back at a time; more are answered at once. While it is `draining`, what
    runs goes on, and nothing new is begun; nor while `unready` gives a reason. `cached` gives the apps whose
    images are here, `terms` what each root may have, `hardware` what the cloudlet has now.
    """

    def __init__(
        self,
        site: Site,
        lifecycle: Lifecycle,
        lives: Lives,
        leases: Leases,
        waiters: int,
        cached: Callable[[], Collection[UUID]] | None = None,
        terms: Terms | None = None,
        unready: Callable[[], str] = lambda: "",
        hardware: Callable[[], Hardware] | None = None,
    ) -> None:
        self._unready = unready
        self._cached = cached or lives.ready_apps
        self._terms = terms or Terms({})
        self.site = site
        self._hardware = hardware or (lambda: self.site.offer.hardware)
        self.open = False
        self.draining = False
        self._lifecycle = lifecycle
        self._lives = lives
        self._leases = leases
        self._waiters = threading.BoundedSemaphore(waiters)
        self._stripes = [threading.Lock() for _ in range(_STRIPES)]

    def deploy(self, app: UUID, key: bytes, wait: float, order: Order = NOTHING) -> Deployment:
        """The backend of this app and key, made if there is none; held back up to `wait` seconds until ready.

        The `order` counts where it is made now. Raises `NotFound`, `RecipeUnusable`, and `Forbidden` where
        who asks may not have this app, before all of it, `DeployFailed` for a backend that failed within
        `wait`, `Unavailable` where there is no room or no runtime, or nothing new is begun.
        """
        self.check_open()
        known = self._lives.of(app, key)
        backend = None if known is not None and known.usable else self._prepare(app, order)
        stripe = self._stripes[hash((app, key)) % _STRIPES]
        if not stripe.acquire(timeout=_REMOVAL_SECONDS):
            raise Unavailable("Another call is busy with this deployment.")
        try:
            live = self._usable(app, key)
            if live is None or not live.usable:
                live = self._lifecycle.begin(app, key, backend or self._prepare(app, order), order, live)
        finally:
            stripe.release()
        self._leases.renew(live.record.name)
        self._hold(live, wait)
        live.raise_if_failed()
        return self._describe(live)

    def check_offer(self, app: UUID, requirements: Requirements, root: str = "") -> None:
        """Raise `Unavailable` where the cloudlet does not have, for who asks, what a device demands."""
        usual = replace(self.site.offer, hardware=self._hardware())
        unmet = requirements.unmet(self._terms.offer(root, usual), app, self._cached())
        if unmet:
            raise Unavailable(f"The cloudlet does not meet what is required: {', '.join(unmet)}.", 60)

    def withdraw(self, app: UUID, key: bytes, root: str) -> None:
        """The root that asked for a deployment no longer needs it; none is fine, others' are `Forbidden`."""
        self.check_open()
        live = self._lives.of(app, key)
        if live is None:
            return
        if live.record.root != root:
            raise Forbidden("Another root, or the device itself, asked for this deployment.")
        self._lifecycle.remove_later(live, "released by its root")

    def find(self, app: UUID, key: bytes) -> Deployment:
        """The deployment that exists for this app and key; raises `NotFound`."""
        self.check_open()
        return self._describe(self._standing(self._lives.of(app, key), "app and key"))

    def follow(self, device: IPv4Address, wait: float) -> Deployment:
        """The deployment of the device with this tunnel address, after at most `wait` seconds; `NotFound`.

        One that rests is woken.
        """
        live = self._of(device)
        self._lifecycle.wake(live)
        self._hold(live, wait)
        return self._describe(self._of(device))

    def release(self, device: IPv4Address) -> None:
        """The device with this tunnel address no longer needs its deployment; `NotFound`."""
        self._lifecycle.remove_later(self._of(device), "released")

    def zone(self, device: IPv4Address) -> tuple[str, Mapping[str, IPv4Address]] | None:
        """The device's deployment name, and the addresses of its services by name; one that rests is woken,
        since a name is asked for to be used.
        """
        live = self._lives.at(device)
        if live is None or live.phase is Phase.REMOVING or live.record.unaddressed:
            return None
        self._lifecycle.wake(live)
        services = live.record.services
        return live.record.name, {service.name: IPv4Address(service.address) for service in services}

    def count(self) -> int:
        """How many deployments run, or are about to: those that rest or end not counted."""
        return sum(live.usable and live.phase is not Phase.RESTING for live in self._lives.all())

    def close(self, *, remove: bool, timeout: float) -> None:
        """Take no more calls; with `remove`, remove all deployments, waiting up to `timeout` seconds."""
        self.open = False
        if remove:
            for live in self._lives.all():
                self._lifecycle.remove_later(live, "the agent ends")
            self._lives.wait(timeout, lambda: not self._lives.all())

    def _prepare(self, app: UUID, order: Order) -> Backend:
        self._terms.check_app(order.root, app)
        self._check_begins()
        return self._lifecycle.prepare(app, order)

    def _check_begins(self) -> None:
        if self.draining:
            raise Unavailable("The cloudlet is draining: it begins nothing new.", 60)
        reason = self._unready()
        if reason:
            raise Unavailable(f"The cloudlet can begin nothing new now: {reason}", _UNREADY_SECONDS)

    def _usable(self, app: UUID, key: bytes) -> Live | None:
        """The deployment that there is, or one that ends and that the next one can follow."""
        live = self._lives.of(app, key)
        if live is None:
            return None
        if live.phase is Phase.RESTING:
            self._check_begins()
            if self._lifecycle.revive(live):
                return live
        elif live.usable:
            return live
        else:
            self._lifecycle.remove_later(live, "tried again")
        if self._lifecycle.can_follow(live):
            return live
        if not self._lives.wait(_REMOVAL_SECONDS, lambda: self._lives.of(app, key) is None):
            raise Unavailable("The earlier deployment is still being removed.")
        return None

    def _hold(self, live: Live, seconds: float) -> None:
        """Wait until it is no longer starting; where too many wait already, not at all."""
        if seconds > 0 and live.pending and self._waiters.acquire(blocking=False):
            try:
                self._lives.wait(seconds, lambda: not live.pending)
            finally:
                self._waiters.release()

    def _of(self, device: IPv4Address) -> Live:
        self.check_open()
        return self._standing(self._lives.at(device), "tunnel address")

    def _standing(self, live: Live | None, by: str) -> Live:
        if live is None or live.phase is Phase.REMOVING or live.record.unaddressed:
            raise NotFound(f"There is no deployment for this {by}.")
        return live

    def is_draining(self) -> bool:
        """Whether nothing new is begun."""
        return self.draining or bool(self._unready())

    def check_open(self) -> None:
        """Raise `Unavailable` while the agent can't serve."""
        if not self.open:
            raise Unavailable("The cloudlet is starting or ending.")

    def _describe(self, live: Live) -> Deployment:
        described = self.site.describe(live.record, live.state, live.reason)
        return replace(described, draining=self.draining)
