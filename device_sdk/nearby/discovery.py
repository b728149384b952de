"""Cloudlets on the device's own network, found by Zeroconf (just-in-time, JIT) over IPv4 and IPv6.

Called by `deploy.py`. The one module that knows `zeroconf`, which is optional. Services that died stay
visible for minutes, so each one found must answer before it counts; what a neighbour announces is not
trusted with anything else. A cloudlet counts once, at that address of its which answers first.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from device_sdk.background import Pending
from device_sdk.calls.st1 import Server, split_link
from device_sdk.errors import DeviceError, SinfoniaError
from device_sdk.nearby.links import name_of, number_of, own_links
from device_sdk.tunnels.routes import Address, Reached, without_link
from device_sdk.wire import Health

if TYPE_CHECKING:
    from zeroconf import ServiceInfo, Zeroconf

SERVICE_TYPE = "_sinfonia._tcp.local."
BROWSE_SECONDS = 0.5
#: How much longer to look after the first one answered: what is as near answers as soon.
AFTER_FIRST_SECONDS = 0.1
HEALTH_SECONDS = 1.0
#: What IPv4 has ahead where a cloudlet has both: operators' firewalls and endpoints are made for it.
IPV4_AHEAD_SECONDS = 0.05
MAX_CLOUDLETS = 16
#: Of one cloudlet, in each family; and of all cloudlets.
MAX_ADDRESSES = 4
MAX_ASKED = 32

Found = Callable[[str, Sequence[str], int], None]
"""Hears of a cloudlet: its announcement's name, its addresses (link-local ones of IPv6 with this device's
interface, as `fe80::1%eth0` or `fe80::1%2`), and its port. May be called repeatedly, and by several threads.
"""
Browse = Callable[[Found], Callable[[], None]]


@dataclass(frozen=True)
class Nearby:
    """A cloudlet on the device's own network that answered; `announced` are its addresses."""

    base_url: str
    health: Health
    announced: frozenset[Address] = frozenset()

    @property
    def reached(self) -> Reached | None:
        """How it was reached, where that was over IPv6."""
        url, link = split_link(self.base_url)
        host = urlsplit(url).hostname or ""
        try:
            address = IPv6Address(f"{host}%{number_of(link)}" if link else host)
        except (OSError, ValueError):  # the link is gone; a name, or IPv4
            return None
        return Reached(address, self.announced)


def discover(
    seconds: float = BROWSE_SECONDS,
    *,
    after_first: float = AFTER_FIRST_SECONDS,
    browse: Browse | None = None,
    health: Callable[[str], Health] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> list[Nearby]:
    """The healthy cloudlets nearby, the quickest to answer first; looks for at most `seconds`, and no longer
    than `after_first` once one has answered.

    Raises `DeviceError` where Zeroconf is not installed or this device has no network for it.
    """
    check = health or (lambda url: Server(url, what="cloudlet nearby", proxies=False).health(HEALTH_SECONDS))
    look = _Look(check)
    stop = (browse or _zeroconf)(look.found)
    try:
        return _collect(look.answers, seconds, after_first, clock)
    finally:
        stop()


def _collect(
    answers: queue.SimpleQueue[Nearby], seconds: float, after_first: float, clock: Callable[[], float]
) -> list[Nearby]:
    end = clock() + seconds
    nearby: list[Nearby] = []
    while (left := end - clock()) > 0:
        try:
            nearby.append(answers.get(timeout=left))
        except queue.Empty:
            break
        end = min(end, clock() + after_first)
    return nearby


@dataclass
class _Cloudlet:
    """One announcement: all its addresses, how many were asked in each family, and whether one answered."""

    announced: set[Address] = field(default_factory=set)
    asked: dict[int, int] = field(default_factory=lambda: {4: 0, 6: 0})
    answered: threading.Event = field(default_factory=threading.Event)


class _Look:
    """One look around: a cloudlet's addresses are asked side by side, each once, and the first answer counts:
    a dead address costs nothing but IPv4's start.
    """

    def __init__(self, check: Callable[[str], Health]) -> None:
        self.answers: queue.SimpleQueue[Nearby] = queue.SimpleQueue()
        self._check = check
        self._cloudlets: dict[str, _Cloudlet] = {}
        self._asked: set[str] = set()
        self._guard = threading.Lock()

    def found(self, name: str, addresses: Sequence[str], port: int) -> None:
        """Ask a cloudlet, where it was not asked before."""
        neighbours = [one for one in map(ip_address, addresses) if _is_neighbour(one)]
        with self._guard:
            if not neighbours or (name not in self._cloudlets and len(self._cloudlets) >= MAX_CLOUDLETS):
                return
            cloudlet = self._cloudlets.setdefault(name, _Cloudlet())
            cloudlet.announced |= set(map(without_link, neighbours))
            for address in sorted(neighbours, key=lambda one: one.version):
                url = _url(address, port)
                room = cloudlet.asked[address.version] < MAX_ADDRESSES and len(self._asked) < MAX_ASKED
                if room and url not in self._asked:
                    self._asked.add(url)
                    cloudlet.asked[address.version] += 1
                    waits = address.version == 6 and cloudlet.asked[4] > 0
                    self._start(cloudlet, url, IPV4_AHEAD_SECONDS if waits else 0.0)

    def _start(self, cloudlet: _Cloudlet, url: str, wait: float) -> None:
        Pending(lambda: self._ask(cloudlet, url, wait), "sinfonia-health")

    def _ask(self, cloudlet: _Cloudlet, url: str, wait: float) -> None:
        if cloudlet.answered.wait(wait):
            return
        try:
            health = self._check(url)
        except SinfoniaError:
            return  # announced, but dead or strange
        with self._guard:
            if not cloudlet.answered.is_set():
                cloudlet.answered.set()
                self.answers.put(Nearby(url, health, frozenset(cloudlet.announced)))


def _is_neighbour(ip: Address) -> bool:
    """Whether a neighbour may be there. Never this device: its services are not for neighbours to name."""
    nowhere = isinstance(ip, IPv6Address) and ip.is_link_local and not ip.scope_id
    return not (nowhere or ip.is_loopback or ip.is_multicast or ip.is_unspecified or ip.is_reserved)


def _url(address: Address, port: int) -> str:
    """Where the cloudlet's API is; a link by its name here (RFC 6874)."""
    if not isinstance(address, IPv6Address):
        return f"http://{address}:{port}"
    link = f"%25{name_of(address.scope_id)}" if address.scope_id else ""
    return f"http://[{without_link(address)}{link}]:{port}"


def _zeroconf(found: Found) -> Callable[[], None]:
    """Start to browse with `zeroconf`, on all links that have neighbours. Returns what ends it."""
    try:
        from zeroconf import Error, ServiceBrowser, ServiceInfo, ServiceStateChange, Zeroconf
    except ImportError as error:
        raise DeviceError("To find cloudlets nearby: pip install 'sinfonia-serverless[jit]'.") from error
    links = own_links()
    own: list[Any] = [address for link in links for address in link.addresses]
    names = [link.name for link in links if link.address6]
    try:
        zeroconf = Zeroconf(interfaces=own or ["127.0.0.1"])
    except (OSError, RuntimeError, Error) as error:
        raise DeviceError(f"There is no network in which to find cloudlets: {error}.") from error
    lookups: list[Pending[None]] = []

    # An announcement comes first with some addresses, then as an update with all.
    def changed(zeroconf: Zeroconf, service_type: str, name: str, state_change: Any) -> None:
        if state_change is ServiceStateChange.Removed:
            return
        known = ServiceInfo(service_type, name)
        if known.load_from_cache(zeroconf):
            _tell(found, known, names)
            return
        lookups[:] = [one for one in lookups if not one.done]
        if len(lookups) < MAX_CLOUDLETS:  # side by side: one that is gone must not hold up the others
            ask = partial(zeroconf.get_service_info, service_type, name, timeout=1000)
            lookups.append(Pending(lambda: _tell(found, ask(), names), "sinfonia-lookup"))

    ServiceBrowser(zeroconf, SERVICE_TYPE, handlers=[changed])
    return zeroconf.close


def _tell(found: Found, info: ServiceInfo | None, links: Sequence[str]) -> None:
    if info is not None and info.port:
        addresses = [one for text in info.parsed_scoped_addresses() for one in on_links(text, links)]
        found(info.name, addresses, info.port)


def on_links(address: str, links: Sequence[str]) -> list[str]:
    """A link-local address that was announced over IPv4 may be on any link."""
    if "%" in address or not (":" in address and ip_address(address).is_link_local):
        return [address]
    return [f"{address}%{link}" for link in links]
