"""The life of a deployment, from its record to its removal: each step that changes something outside of the
agent.

Called by `deploy.py` (devices' wishes) and `upkeep.py` (time); calls `recipes.py` through `Backends`, a
runtime (`cluster.py`, `podman.py`) and the gateway (`gateway.py`) through the protocols below.

The runtime's records are the truth; what is kept here is a view of them, made anew at each start. A
deployment's record is made first and removed last, so that whatever crashes, the next start finds it.

    (none) ── begin ──> starting ──> watched <──> ready ──> resting ──> removing ──> (none)
                        ^ ^ └───────────┴── failed ──(told for a minute)─────┘
                        │ └──────────── wanted again ──────────┘
                     waiting, where the last one of the same name is still being removed
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from ipaddress import IPv4Network
from typing import Protocol
from uuid import UUID

from edge_agent.deployments.addresses import Plan
from edge_agent.deployments.following import Following
from edge_agent.deployments.leases import Leases
from edge_agent.deployments.live import Live, Phase
from edge_agent.deployments.lives import Lives
from edge_agent.deployments.records import Order, Record, deployment_name
from edge_agent.deployments.room import Full, Room
from edge_agent.deployments.routes import Routes
from edge_agent.deployments.runtime import Addressing, Runtime
from edge_agent.errors import AgentError, Conflict, Unavailable
from edge_agent.recipes.manifests import Backend

_LOG = logging.getLogger(__name__)


class Backends(Protocol):
    """Where checked manifests come from."""

    def prepare(self, app: UUID, order: Order) -> Backend:
        """The app's backend; raises `NotFound`, `RecipeUnusable` or `Unavailable`; makes nothing."""


class Lifecycle:
    """Makes, ends and routes deployments. Safe between threads.

    `later` does a step in the background and logs its errors; `now` is the time of day. `addressing` gives
    services their addresses; None where they follow from the deployment's block.
    """

    def __init__(
        self,
        plan: Plan,
        backends: Backends,
        runtime: Runtime,
        routes: Routes,
        lives: Lives,
        leases: Leases,
        later: Callable[[Callable[[], None]], None],
        now: Callable[[], datetime],
        room: Room,
        addressing: Addressing | None = None,
    ) -> None:
        self._addressing = addressing
        self._plan = plan
        self._backends = backends
        self._runtime = runtime
        self._routes = routes
        self._lives = lives
        self._leases = leases
        self._later = later
        self._now = now
        self._room = room
        self._following = Following(runtime, routes, lives)

    def prepare(self, app: UUID, order: Order) -> Backend:
        """The app's backend; raises `NotFound`, `RecipeUnusable` or `Unavailable`; makes nothing."""
        return self._backends.prepare(app, order)

    def can_follow(self, live: Live) -> bool:
        """Whether the next one of its name can begin while it is still being removed."""
        return self._addressing is None and self._following.possible(live)

    def begin(self, app: UUID, key: bytes, backend: Backend, order: Order, after: Live | None = None) -> Live:
        """Make the record and open the tunnel; the backend starts in the background, once the one `after`
        which it comes is gone.

        Raises `Unavailable` where there is no room, no runtime or no gateway; then nothing stays.
        """
        name = deployment_name(backend.chart, app, key)

        def make(block: IPv4Network) -> Record:
            created = self._now()
            facts = (backend.chart, backend.version, created, backend.ports, backend.workloads)
            return Record(name, app, key, block, *facts, order, None if self._addressing is None else {})

        live = self._reserve(order.root, int.from_bytes(key[:4]), make, after)
        try:
            if live.phase is not Phase.WAITING:
                self._runtime.create(live.record)
            if self._addressing is not None:
                live.record = self._addressing.address(live.record, backend.placed(live.record.home))
        except Conflict:
            return self._adopt(live)
        except BaseException:  # it may have been made all the same, or in part
            self.remove_later(live, "its record could not be made")
            raise
        try:
            self._routes.sync()
        except BaseException:
            self.remove_later(live, "the gateway refused it")
            raise
        _LOG.info("deploying", extra={"deployment": name, "app": str(app), "block": str(live.record.block)})
        if live.phase is Phase.WAITING:
            self.follow(live)
        else:
            self._tell(live, "Deploying", f"A device has the tunnel address {live.device}.")
            self._submit(self._start, live, backend)
        return live

    def follow(self, live: Live) -> None:
        """Start one that waits, if the last one of its name is gone by now."""
        self._lives.trying(live)
        self._submit(self._follow, live)

    def _follow(self, live: Live) -> None:
        if self._following.begin(live):
            self._tell(live, "Deploying", f"A device has the tunnel address {live.device}.")
            self._finish(live)

    def _reserve(
        self, root: str, seed: int, make: Callable[[IPv4Network], Record], after: Live | None
    ) -> Live:
        """A place and addresses for a new one; those that rest for the longest time make room."""
        while True:
            try:
                return self._lives.reserve(
                    self._plan, seed, make, lambda there: self._room.check(root, there), after
                )
            except Full as full:
                if not self._make_room(full.root):
                    raise
            except Unavailable as error:  # addresses are free only when their deployment is gone
                if any(live.phase is Phase.REMOVING for live in self._lives.all()) or self._make_room(None):
                    raise Unavailable(str(error)) from error
                raise

    def _make_room(self, root: str | None) -> bool:
        resting = self._lives.longest_resting(root)
        if resting is not None:
            self.remove_later(resting, "a new one needs its place")
        return resting is not None

    def _adopt(self, unborn: Live) -> Live:
        """Somebody else made the record: theirs counts, or it is a rest that has to go first."""
        self._lives.drop(unborn)
        for record in self._runtime.records():
            if (record.name, record.key) == (unborn.record.name, unborn.key):
                live = self.take_over(record)
                if live.usable:
                    self.resume(live)
                    self._routes.sync()
                    return live
        raise Unavailable("An earlier deployment of this name is still being removed.")

    def take_over(self, record: Record) -> Live:
        """Take in a record that is there, with a new lease; remove it where its addresses are not free."""
        age = self._now() - record.created
        live = self._lives.add(record, self._plan, age.total_seconds())
        self._leases.renew(record.name)
        if live.barred:
            self.remove_later(live, "its tunnel addresses are not free")
        elif record.unaddressed:
            self.remove_later(live, "it was never finished, nor told to anybody")
        elif (record.addresses is None) != (self._addressing is None):
            self.remove_later(live, "its addresses are those of another kind of gateway")
        return live

    def rest_later(self, live: Live) -> None:
        """Take its pods down in the background, until it is wanted again."""
        if live.phase is Phase.WAITING:
            self.remove_later(live, "idle")
            return
        if live.usable and live.phase is not Phase.RESTING:
            _LOG.info("resting", extra={"deployment": live.record.name})
            live.rested, live.endpoints = False, {}
            self._lives.turn(live, Phase.RESTING, "It rests until it is used again.")
            self._routes.dirty = True
            self._tell(live, "Resting", "Nobody uses it: its pods are down until somebody does.")
        self.queue_rest(live)

    def queue_rest(self, live: Live) -> None:
        """Let the pool take its pods down."""
        self._lives.trying(live)
        self._submit(self._rest, live)

    def _rest(self, live: Live) -> None:
        if self._routes.dirty:  # its pods' addresses may soon be somebody else's
            self._routes.sync()
        with live.work:
            if live.phase is Phase.RESTING and not live.rested:
                self._runtime.rest(live.record)
                live.rested = True

    def revive(self, live: Live) -> bool:
        """Wake one that rests, at a call; False where it has to be made anew, since its recipe changed.

        Raises as `prepare` does, and then it still rests.
        """
        backend = self.prepare(live.record.app, live.record.order)
        if not _same(live.record, backend):
            self.remove_later(live, "its recipe changed")
            return False
        self._lives.turn(live, Phase.STARTING)
        self._tell(live, "Deploying", "It is wanted again.")
        self._submit(self._start, live, backend)
        return True

    def wake(self, live: Live) -> None:
        """Wake one that rests, since its device was heard."""
        if live.phase is Phase.RESTING:
            self._tell(live, "Deploying", "Its device is back.")
            self.resume(live)

    def resume(self, live: Live) -> None:
        """Finish a deployment that may be half made."""
        self._lives.turn(live, Phase.STARTING)
        self._submit(self._finish, live)

    def _finish(self, live: Live) -> None:
        try:
            record = live.record
            backend = self._backends.prepare(record.app, record.order)
        except Unavailable as error:
            self._postpone(live, error)
        except AgentError as error:
            if live.taken_over:  # perhaps it runs, and only its recipe is away
                self._postpone(live, error)
            else:
                self.fail(live, str(error))
        else:
            if not _same(live.record, backend):
                self.remove_later(live, "its recipe changed")
            else:
                self._start(live, backend)

    def _start(self, live: Live, backend: Backend) -> None:
        with live.work:
            if live.phase is not Phase.STARTING:
                return
            try:
                self._runtime.apply(live.record, backend.placed(live.record.home), backend.limits)
            except Unavailable as error:
                self._postpone(live, error)
            except AgentError as error:
                self.fail(live, str(error))
            except Exception:
                self.fail(live, "The cloudlet could not start it; its log says more.")
                raise
            else:
                live.unapplied = ""
                self._lives.turn(live, Phase.WATCHED)

    def _postpone(self, live: Live, error: AgentError) -> None:
        _LOG.warning("not started now", extra={"deployment": live.record.name, "reason": str(error)})
        self._lives.postpone(live, str(error))

    def ready(self, live: Live) -> None:
        """It answers, and the gateway leads there."""
        if live.phase is not Phase.READY:
            self._lives.turn(live, Phase.READY)
            self._tell(live, "Ready", "Its ports answer.")

    def fail(self, live: Live, reason: str) -> None:
        """Remove what is there of it, and tell why for a while."""
        self._tell(live, "Failed", reason)
        _LOG.warning("deployment failed", extra={"deployment": live.record.name, "reason": reason})
        self._lives.turn(live, Phase.FAILED, reason)
        self._routes.dirty = True
        self.queue_removal(live)

    def remove_later(self, live: Live, why: str) -> None:
        """Remove it in the background; saying it twice is fine."""
        if live.phase is not Phase.REMOVING:
            _LOG.info("removing", extra={"deployment": live.record.name, "reason": why})
            self._tell(live, "Removing", f"Why: {why}.")
            self._lives.turn(live, Phase.REMOVING)
            self._routes.dirty = True
        self.queue_removal(live)

    def queue_removal(self, live: Live) -> None:
        """Let the pool remove it, unless it is to do so already."""
        if not live.removal_queued:
            live.removal_queued = True
            self._submit(self._remove, live)

    def _remove(self, live: Live) -> None:
        try:
            self._routes.close(live)
            with live.work:
                if not live.gone:
                    self._following.delete(live)
        finally:
            self._lives.tried(live)
        last = self._lives.removed(live)
        if last and live.phase is Phase.REMOVING:
            self._leases.forget(live.record.name)
        for next_one in [one for one in self._lives.all() if one.after is live]:
            self.follow(next_one)
        self._routes.sync_or_retry()

    def touch_later(self, live: Live) -> None:
        """Write down in the background that it is in use."""
        self._submit(self._runtime.touch, live.record)

    def _tell(self, live: Live, reason: str, text: str) -> None:
        self._submit(self._runtime.tell, live.record, reason, text)

    def _submit(self, job: Callable[..., None], *arguments: object) -> None:
        self._later(lambda: job(*arguments))


def _same(record: Record, backend: Backend) -> bool:
    """Whether the backend is still what the record promises."""
    return (backend.version, backend.ports) == (record.version, record.ports)
