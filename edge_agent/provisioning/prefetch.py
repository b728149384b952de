"""Which apps' images are here, and fetching those that the operator wants ahead (`--prefetch`). Called by
`agent.py`, in a thread of its own, and asked by what tells roots and devices; calls `recipes.py` and the
runtime's images.

An app counts as cached while it runs here, or while the runtime lists every image of its chart. So neither a
restart nor somebody who tidies images up makes it say what isn't true.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol
from uuid import UUID

from edge_agent.deployments.live import Live, Phase
from edge_agent.deployments.records import Order
from edge_agent.errors import AgentError, Unavailable
from edge_agent.recipes.manifests import Backend

_LOG = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
_FETCH_SECONDS = 600.0
_MOST_APPS = 256
_MOST_TOLD = 16


class Stock(Protocol):
    """The runtime's images. Every method may raise `Unavailable`."""

    def present(self, images: Collection[str]) -> frozenset[str]:
        """Those that a deployment can start without pulling them."""

    def pull(self, image: str) -> None:
        """Fetch an image; raises `DeployFailed` with the reason where that can't be."""


class Backends(Protocol):
    """Where checked manifests come from: `recipes.Recipes`."""

    def prepare(self, app: UUID, order: Order) -> Backend:
        """The app's backend; makes nothing."""


class Running(Protocol):
    """What runs and ran here: `lives.Lives`."""

    def all(self) -> list[Live]:
        """Every deployment."""

    def ready_apps(self) -> tuple[UUID, ...]:
        """The apps that were ready in this run, the last one first."""


class Prefetch:
    """Knows the images of apps. `wanted` gives the apps to fetch ahead, `roots` the URLs of the roots that
    may have recipes for them; `clock` is monotonic. `cached` may be asked by any thread.
    """

    def __init__(
        self,
        backends: Backends,
        stock: Stock,
        running: Running,
        wanted: Callable[[], Iterable[UUID]],
        roots: Sequence[str],
        clock: Callable[[], float],
    ) -> None:
        self._backends = backends
        self._stock = stock
        self._running = running
        self._wanted = wanted
        self._roots = roots
        self._clock = clock
        self._images: dict[UUID, frozenset[str]] = {}
        self._present: frozenset[str] = frozenset()
        self._fetched_at = float("-inf")
        self._guard = threading.Lock()

    def cached(self) -> tuple[UUID, ...]:
        """The apps whose images are here, at most 16: what runs or ran last comes first."""
        ready = self._running.ready_apps()
        now = {live.record.app for live in self._running.all() if live.phase is Phase.READY}
        with self._guard:
            images, present = self._images, self._present
        lacking = {app for app, needed in images.items() if not needed <= present} - now
        others = [app for app in images if app not in lacking and app not in ready]
        return tuple([app for app in ready if app not in lacking] + others)[:_MOST_TOLD]

    def tick(self) -> None:
        """Look which images are here, and now and then fetch what is wanted and isn't."""
        due = self._clock() - self._fetched_at >= _FETCH_SECONDS
        wanted = list(self._wanted()) if due else []
        learned = {app: found for app in wanted if (found := self._find(app)) is not None}
        for live in self._running.all():
            if live.phase is Phase.READY and live.record.app not in self._images:
                record = live.record
                found = self._prepared(record.app, record.order)
                learned |= {} if found is None else {record.app: found}
        self._keep(learned)
        self._look()
        if due:
            self._fetched_at = self._clock()
            self._fetch(wanted)

    def _find(self, app: UUID) -> frozenset[str] | None:
        """The images of an app that is wanted: by the own recipe, else by that of the first root with one."""
        for root in ("", *self._roots):
            found = self._prepared(app, Order(root))
            if found is not None:
                return found
        return None

    def _prepared(self, app: UUID, order: Order) -> frozenset[str] | None:
        try:
            return self._backends.prepare(app, order).images
        except AgentError as error:
            _LOG.info(
                "its images are not known", extra={"app": str(app), "root": order.root, "reason": str(error)}
            )
            return None

    def _keep(self, learned: dict[UUID, frozenset[str]]) -> None:
        with self._guard:
            images = {**self._images, **learned}
            self._images = dict(list(images.items())[-_MOST_APPS:])

    def _look(self) -> None:
        needed = frozenset().union(*self._images.values())
        try:
            present = self._stock.present(needed) if needed else frozenset()
        except Unavailable as error:  # what was seen last counts
            _LOG.warning("the images can't be listed", extra={"reason": str(error)})
            return
        with self._guard:
            self._present = present

    def _fetch(self, wanted: Iterable[UUID]) -> None:
        """Pull what is missing, one image after the other."""
        for image in sorted({image for app in wanted for image in self._images.get(app, ())} - self._present):
            try:
                self._stock.pull(image)
            except AgentError as error:
                _LOG.warning("not fetched ahead", extra={"image": image, "reason": str(error)})
                continue
            _LOG.info("fetched ahead", extra={"image": image})
            with self._guard:
                self._present |= {image}
