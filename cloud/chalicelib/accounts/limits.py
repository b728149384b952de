"""How fast and how much: callers are told to come back later before they cost much.

Called by the views; calls `tables/limit_table.py`. Two kinds of limit. *Pace*, per client address and per
app, is kept in the memory of each container: it costs nothing, and holds whoever hammers. *Allowance*, the
deploys that an app or a tenant may make per minute or day, is shared by all containers: each reserves a block
of it with one write. A large limit costs some thirty writes a window, a small one less than a write a deploy,
and nothing is written where nothing is limited.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from math import ceil
from typing import Protocol
from uuid import UUID

from chalicelib.errors import TooMany, Unavailable
from chalicelib.fields import Address

_MOST_REMEMBERED = 16384  # callers per container: 4 MB
_BURST_SECONDS = 10.0  # of its pace, that a caller may be ahead
_BLOCKS = 20  # a container reserves at most a 20th of an allowance at once
_ROUNDING_SECONDS = 1e-6  # of sums of fractions
_IPV6_PREFIX = 64  # what one household or phone has
_GUESSES = 10  # wrong secrets for one token that an address may try at once, and in ...
_GUESS_SECONDS = 100.0
_REPORTS_PER_SECOND = 0.2  # 64 entries each: 7,000 deployments are told of within ten minutes
_REPORTS_AT_ONCE = 12.0
_MINUTE = 60
_DAY = 86400
_log = logging.getLogger(__name__)


class Pace:
    """Token buckets, one per caller, as the moment when each will be full again. Safe between threads.

    Bounded: of too many callers the one that has been quiet for longest is forgotten. Who kept quiet long
    enough has a full bucket anyway.
    """

    def __init__(
        self,
        per_second: float,
        burst: float,
        monotonic: Callable[[], float],
        remembered: int = _MOST_REMEMBERED,
    ) -> None:
        self._remembered = remembered
        self._seconds_each = 1 / per_second
        self._slack_seconds = max(burst - 1, 0) / per_second
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def take(self, caller: Hashable) -> float:
        """0 if the caller may go on; otherwise nothing is taken, and the seconds until it may."""
        now = self._monotonic()
        with self._lock:
            full_at = max(self._full_at.get(caller, now), now)
            ahead = self._ahead(full_at, now)
            if ahead == 0:
                self._full_at[caller] = full_at + self._seconds_each
            self._full_at.move_to_end(caller)
            if len(self._full_at) > self._remembered:
                self._full_at.popitem(last=False)
            return ahead

    def wait(self, caller: Hashable) -> float:
        """The seconds until the caller may go on; takes nothing."""
        now = self._monotonic()
        with self._lock:
            return self._ahead(self._full_at.get(caller, now), now)

    def _ahead(self, full_at: float, now: float) -> float:
        seconds = full_at - now - self._slack_seconds
        return seconds if seconds > _ROUNDING_SECONDS else 0.0


@dataclass(frozen=True, slots=True)
class Paces:
    """Calls per second that one container takes of each kind, from one address and for one app."""

    per_address: float
    per_app: float


@dataclass(frozen=True, slots=True)
class DeployQuota:
    """How many deploy calls a tenant may have, all its apps together. None: any number."""

    per_minute: int | None = None
    per_day: int | None = None


class QuotaBook(Protocol):
    """What tenants may have."""

    def deploy_quota(self, tenant: str) -> DeployQuota:
        """A tenant's. Raises `Unavailable`."""


class LimitedApp(Protocol):
    """An app, as far as it matters here."""

    @property
    def uuid(self) -> UUID:
        """Its UUID."""

    @property
    def tenant(self) -> str:
        """Whose it is; "" is the root's own, which has no quota."""

    @property
    def deploys_per_minute(self) -> int | None:
        """Its own limit."""


class AllowanceStore(Protocol):
    """The part of the limit table that allowances need."""

    def reserve(self, name: str, window: int, count: int, most: int, expires_at: int) -> int:
        """Take up to `count` of what is left of `most` in a window; how many were taken.

        The window's counter may go after `expires_at`. Raises `Unavailable`.
        """


@dataclass(slots=True)
class _Share:
    """What this container holds of one allowance in one window."""

    window: int
    left: int = 0
    block: int = 1
    empty: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


class Allowances:
    """Counts shared by all containers, in fixed windows of a minute or a day. Safe between threads.

    A container's blocks grow from one to a 20th of the limit, so that many containers with little to do share
    a small limit, and a busy one uses a large limit up with some thirty writes. Where the table is away, each
    container holds the limit for itself.
    """

    def __init__(self, store: AllowanceStore, clock: Callable[[], float]) -> None:
        """`clock`: seconds since 1970."""
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._shares: OrderedDict[str, _Share] = OrderedDict()

    def take(self, name: str, most: int, window_seconds: int) -> float:
        """0 if there is one left; else the seconds until the next window."""
        now = self._clock()
        window = int(now) // window_seconds
        share = self._share(name, window)
        with share.lock:  # this name's callers wait for its reservation, nobody else's
            if share.left == 0 and not share.empty:
                self._reserve(name, share, most, (window + 2) * window_seconds)
            if share.left > 0:
                share.left -= 1
                return 0.0
        return (window + 1) * window_seconds - now

    def _share(self, name: str, window: int) -> _Share:
        with self._lock:
            share = self._shares.get(name)
            if share is None or share.window != window:
                share = self._shares[name] = _Share(window)
            self._shares.move_to_end(name)
            while len(self._shares) > _MOST_REMEMBERED:
                self._shares.popitem(last=False)
            return share

    def _reserve(self, name: str, share: _Share, most: int, expires_at: int) -> None:
        count = max(1, min(share.block, ceil(most / _BLOCKS)))
        try:
            share.left = self._store.reserve(name, share.window, count, most, expires_at)
        except Unavailable:
            _log.warning("the limit is this container's own for now", extra={"limit": name})
            share.left, share.empty = most, True
            return
        share.block = count * 2
        share.empty = share.left < count


class Limits:
    """What the views ask before they do anything. Every refusal is a `TooMany`."""

    def __init__(
        self,
        paces: Paces,
        allowances: Allowances,
        quotas: QuotaBook,
        monotonic: Callable[[], float],
    ) -> None:
        self._addresses = Pace(paces.per_address, paces.per_address * _BURST_SECONDS, monotonic)
        self._apps = Pace(paces.per_app, paces.per_app * _BURST_SECONDS, monotonic)
        self._reports = Pace(_REPORTS_PER_SECOND, _REPORTS_AT_ONCE, monotonic)
        self._guesses = Pace(_GUESSES / _GUESS_SECONDS, _GUESSES, monotonic)
        self._allowances = allowances
        self._quotas = quotas

    def call(self, kind: str, address: Address) -> None:
        """A client makes a call. Each kind has a bucket of its own, so that none can block another."""
        _check(self._addresses.take((kind, prefix_of(address))), "calls from this address")

    def app(self, kind: str, app: UUID) -> None:
        """A call is about an app that exists."""
        _check(self._apps.take((kind, app)), "calls for this app")

    def deploy(self, app: LimitedApp) -> None:
        """A deploy call for an app: its pace, its own limit, and its tenant's quota."""
        self.app("deploy", app.uuid)
        if app.deploys_per_minute is not None:
            self._take(f"app {app.uuid} minute", app.deploys_per_minute, _MINUTE, "deploys of this app")
        if not app.tenant:
            return
        quota = self._quotas.deploy_quota(app.tenant)
        if quota.per_minute is not None:
            self._take(f"tenant {app.tenant} minute", quota.per_minute, _MINUTE, "deploys of this tenant")
        if quota.per_day is not None:
            self._take(f"tenant {app.tenant} day", quota.per_day, _DAY, "deploys of this tenant today")

    def report(self, cloudlet: UUID) -> None:
        """A cloudlet reports usage; each entry costs a write."""
        _check(self._reports.take(cloudlet), "reports of this cloudlet")

    def before_guess(self, address: Address, token: str) -> None:
        """Somebody shows a token: refused if too many with its id were wrong from there.

        By id, so that who guesses behind a carrier's address locks nobody else out who is behind it too; that
        he takes another id each time is held by the pace of calls.
        """
        self.call("token", address)
        _check(self._guesses.wait(_guess(address, token)), "wrong tokens from this address")

    def wrong_guess(self, address: Address, token: str) -> None:
        """The token was wrong."""
        self._guesses.take(_guess(address, token))

    def _take(self, name: str, most: int, window_seconds: int, what: str) -> None:
        _check(self._allowances.take(name, most, window_seconds), what)


def prefix_of(address: Address) -> Hashable:
    """What counts as one caller: an IPv4 address, or the /64 that an IPv6 address is in."""
    if isinstance(address, IPv6Address):
        return int(address) >> (128 - _IPV6_PREFIX), 6
    return int(address), 4


def _guess(address: Address, token: str) -> Hashable:
    """Whose secret somebody tries: a token reads `sf_<id>_<secret>`."""
    return prefix_of(address), tuple(token[:128].split("_", 2)[:2])


def _check(wait_seconds: float, what: str) -> None:
    if wait_seconds > 0:
        raise TooMany(f"Too many {what}; try again in {ceil(wait_seconds)} s.", wait_seconds)
