"""Telling roots that this cloudlet lives: register, keepalives, drain, usage, goodbye. One thread for each
root, made by `__main__.py`; calls `root_calls.py`.

Each root has a lease, a pace and a fate of its own; losing one changes nothing for the others, nor for
backends.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol
from uuid import UUID

from edge_agent.deployments.requirements import Hardware
from edge_agent.errors import InvalidRequest
from edge_agent.roots.root_calls import RootCalls, RootError
from edge_agent.roots.root_trust import KeysChanged
from edge_agent.roots.root_wire import MAX_INCARNATION, Command, Keepalive, Lease, Registration, Usage
from edge_agent.wire import Resources

_LOG = logging.getLogger(__name__)

_GOODBYE_TIMEOUT = (1.0, 2.0)
_FIRST_BACKOFF_SECONDS = 1.0
_LONGEST_BACKOFF_SECONDS = 60.0
_LONGEST_RETRY_AFTER_SECONDS = 3600.0
_LOOK_SECONDS = 0.25
"""So often a waiting thread looks whether something has to be said at once."""
PUBLISHED_INTERVAL_SECONDS = 15.0
_PUBLISHED_KEEPALIVES = 20
"""Then a root that knew no registration is asked for one again: a proxy before it may have spoken."""
_AHEAD_MS = 366 * 24 * 3600 * 1000
"""So far ahead of the clock a standing incarnation is believed: the clock may have gone back."""


@dataclass(frozen=True)
class Self:
    """What the agent tells a root about itself. `now_ms` is milliseconds since 1970.

    `draining`, `cached` (apps, the most used first) and `hardware` may change at any time, and from any
    thread.
    """

    registration: Registration
    measure: Callable[[], Resources]
    now_ms: Callable[[], int]
    draining: Callable[[], bool]
    cached: Callable[[], tuple[UUID, ...]]
    hardware: Callable[[], Hardware] | None = None
    """None: as in the registration."""


class Outbox(Protocol):
    """What is to be reported to roots: `usage.py`."""

    def pending(self, root: str) -> Sequence[Usage]:
        """The next entries for the root of this URL."""

    def done(self, root: str, entries: Sequence[Usage]) -> None:
        """They need not be told again."""


class Root:
    """The agent's standing with one root. `run` is the thread's body; `token` may be read by others.

    `command` takes what a root wants done and can't ask for itself; `said` counts the words to it, which were
    heard, refused, or met nobody (away). The incarnation may differ from root to
    root: one that a root names is passed there alone. The sequence of keepalives never starts anew, since
    roots keep theirs when the same incarnation registers again.
    """

    def __init__(
        self,
        calls: RootCalls,
        me: Self,
        chance: random.Random,
        outbox: Outbox,
        command: Callable[[Sequence[Command]], None],
        said: Callable[[str, str], None] = lambda *_: None,
    ) -> None:
        self.name = calls.name
        self._said = said
        self._calls = calls
        self._me = me
        self._registration = me.registration
        self._chance = chance
        self._outbox = outbox
        self._command = command
        self._lease: Lease | None = None
        self._sequence = 0
        self._told: tuple[bool, tuple[UUID, ...]] = (False, ())
        self._told_hardware = Hardware()
        self._draining = False  # as of the last word, heard or not
        self._published_left = 0
        self._backoff = _FIRST_BACKOFF_SECONDS

    @property
    def token(self) -> str | None:
        """The lease token, while there is a lease."""
        lease = self._lease
        return lease.lease_token if lease else None

    def run(self, stop: threading.Event) -> None:
        """Keep the lease until `stop`, then say goodbye."""
        pause = 0.0
        while not self._rested(stop, pause):
            try:
                pause = self.step()
            except Exception:  # noqa: BLE001 - a fault in one step must not end all later ones
                _LOG.exception("a word to the root failed; the next one is said", extra={"root": self.name})
                pause = _LONGEST_BACKOFF_SECONDS
        self.goodbye()

    def _rested(self, stop: threading.Event, seconds: float) -> bool:
        """Wait, less where the root has to hear of a drain; whether it is time to stop."""
        left = seconds
        while left > 0 and self._me.draining() == self._draining:
            if stop.wait(min(left, _LOOK_SECONDS)):
                return True
            left -= _LOOK_SECONDS
        return stop.is_set()

    def step(self) -> float:
        """Say what is due, and return the seconds until the next word."""
        publishing = self._published_left > 0
        self._draining = self._me.draining()
        try:
            if publishing:
                self._published_left -= 1
                self._publish()
            elif self._lease is None or self._outgrown():
                self._register()
            else:
                self._keep_alive(self._lease)
        except RootError as error:
            self._said(self.name, "refused" if error.status else "away")
            return self._after(error, publishing=publishing)
        self._said(self.name, "heard")
        self._backoff = _FIRST_BACKOFF_SECONDS
        interval = self._lease.interval_seconds if self._lease else PUBLISHED_INTERVAL_SECONDS
        return interval * self._chance.uniform(0.8, 1.0)

    def goodbye(self) -> None:
        """Tell the root that no more devices should be sent; a failure is only logged."""
        if self.token is None:
            return
        self._report(_GOODBYE_TIMEOUT)
        try:
            self._calls.call("DELETE", self._calls.path, token=self.token, timeout=_GOODBYE_TIMEOUT)
            _LOG.info("said goodbye", extra={"root": self.name})
        except RootError as error:
            _LOG.info("goodbye was not heard", extra={"root": self.name, "reason": str(error)})
        self._lease = None

    def _register(self) -> None:
        told = (self._me.draining(), self._me.cached())
        hardware = self._hardware()
        registration = replace(
            self._registration,
            resources=self._me.measure(),
            draining=told[0],
            cached=told[1],
            hardware=hardware,
        )
        said = registration.to_json()
        lease = _lease_of(self._calls.call("PUT", self._calls.path, said, signed=True))
        if lease.lease_token is None:
            raise RootError("it gave no lease token")
        self._trust(lease, said)
        self._lease, self._told, self._told_hardware = lease, told, hardware
        _LOG.info("registered", extra={"root": self.name, "interval_seconds": lease.interval_seconds})

    def _hardware(self) -> Hardware:
        return self._me.hardware() if self._me.hardware else self._registration.hardware

    def _outgrown(self) -> bool:
        """Whether a registration is due for what the cloudlet has now; not next to one that was refused, so
        that keepalives go on.
        """
        return self._backoff == _FIRST_BACKOFF_SECONDS and self._hardware() != self._told_hardware

    def _trust(self, lease: Lease, said: Any) -> None:
        """Pin the root's keys; a root that may be another than before is left, and told so."""
        try:
            if lease.keys:
                proven = lease.proof is not None and self._calls.proves(lease.proof, lease.keys, said)
                self._calls.trust.pin(lease.keys, proven=proven)
        except KeysChanged as error:
            _LOG.error("a root is not trusted", extra={"root": self.name, "reason": str(error)})
            self._calls.call("DELETE", self._calls.path, token=lease.lease_token, timeout=_GOODBYE_TIMEOUT)
            raise RootError(str(error)) from error

    def _keep_alive(self, lease: Lease) -> None:
        self._sequence += 1  # also where the last one failed: it may have arrived
        told = (self._me.draining(), self._me.cached())
        draining = told[0] if told[0] != self._told[0] else None
        cached = told[1] if told[1] != self._told[1] else None
        keepalive = Keepalive(self._sequence, self._me.measure(), draining, cached)
        answer = self._calls.call(
            "POST", f"{self._calls.path}/keepalive", keepalive.to_json(), token=lease.lease_token
        )
        fresh = _lease_of(answer)
        self._lease = replace(fresh, lease_token=fresh.lease_token or lease.lease_token)
        self._told = told
        if fresh.commands:
            self._command(fresh.commands)
        self._report()

    def _report(self, timeout: tuple[float, float] | None = None) -> None:
        """Tell of usage, where there is some to tell; what is not heard is told again."""
        entries = self._outbox.pending(self._calls.trust.url)
        if not entries:
            return
        body = [entry.to_json() for entry in entries]
        try:
            self._calls.call("POST", f"{self._calls.path}/usage", body, token=self.token, timeout=timeout)
        except RootError as error:
            _LOG.warning("usage was not heard", extra={"root": self.name, "reason": str(error)})
            if error.status not in (400, 404, 405, 413):  # else it will never be
                return
        self._outbox.done(self._calls.trust.url, entries)

    def _publish(self) -> None:
        """The published Sinfonia's keepalive, for roots that know no other; none while it drains."""
        if self._draining:
            return
        mine = self._registration
        body: dict[str, Any] = {
            "uuid": str(self._calls.uuid),
            "endpoint": mine.endpoint,
            "resources": self._me.measure().to_json(),
            "local_networks": list(mine.local_networks),
            "accepted_clients": list(mine.accepted_clients),
            "rejected_clients": list(mine.rejected_clients),
        }
        body = {name: value for name, value in body.items() if value != []}
        if mine.name:
            body["name"] = mine.name
        if mine.location:
            body["locations"] = [[mine.location.latitude, mine.location.longitude]]
        self._calls.call("POST", "/api/v1/cloudlets/", body)

    def _after(self, error: RootError, *, publishing: bool) -> float:
        """What a refusal changes, and the seconds until the next try."""
        self._published_left = 0
        _LOG.warning("root refused or is away", extra={"root": self.name, "reason": str(error)})
        if error.status in (401, 409, 410):  # our lease is no longer valid
            lost, self._lease = self._lease, None
            self._pass(error.standing)
            if lost is not None:
                return self._chance.uniform(0.0, 1.0)
        published = error.status in (404, 405) and self._registration.endpoint is not None
        if published and self._lease is None and not publishing:
            self._published_left = _PUBLISHED_KEEPALIVES
            return 0.0
        self._backoff = min(self._backoff * 2, _LONGEST_BACKOFF_SECONDS)
        wanted = min(error.retry_after or 0.0, _LONGEST_RETRY_AFTER_SECONDS)
        return max(wanted, self._backoff * self._chance.uniform(0.5, 1.0))

    def _pass(self, standing: int | None) -> None:
        """Go past the incarnation that stands at this root, unless it is too far ahead to be ours."""
        mine = self._registration.incarnation
        furthest = min(max(self._me.now_ms(), mine) + _AHEAD_MS, MAX_INCARNATION - 1)
        if standing is not None and mine <= standing <= furthest:
            self._registration = replace(self._registration, incarnation=standing + 1)


def _lease_of(answer: Any) -> Lease:
    try:
        return Lease.from_json(answer)
    except InvalidRequest as error:
        raise RootError(f"its answer makes no sense: {error}") from error
