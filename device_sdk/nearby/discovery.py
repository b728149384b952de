"""Cloudlets on the device's own network, found by Zeroconf (just-in-time, JIT).

Called by `deploy.py`. The one module that knows `zeroconf`, which is optional. Services that died stay
visible for minutes, so each one found must answer before it counts; what a neighbour announces is not
trusted with anything else.
"""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from device_sdk.background import Pending
from device_sdk.calls.st1 import Server
from device_sdk.errors import DeviceError, SinfoniaError
from device_sdk.wire import Health

if TYPE_CHECKING:
    from zeroconf import Zeroconf

SERVICE_TYPE = "_sinfonia._tcp.local."
BROWSE_SECONDS = 0.5
#: How much longer to look after the first one answered: what is as near answers as soon.
AFTER_FIRST_SECONDS = 0.1
HEALTH_SECONDS = 1.0
MAX_CLOUDLETS = 16

Found = Callable[[str, int], None]
Browse = Callable[[Found], Callable[[], None]]


@dataclass(frozen=True)
class Nearby:
    """A cloudlet on the device's own network that answered."""

    base_url: str
    health: Health


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
    answers: queue.SimpleQueue[Nearby] = queue.SimpleQueue()
    asked: set[str] = set()

    def found(address: str, port: int) -> None:
        url = f"http://{address}:{port}"
        if _is_neighbour(address) and url not in asked and len(asked) < MAX_CLOUDLETS:
            asked.add(url)
            Pending(lambda: _check(url, check, answers), "sinfonia-health")

    stop = (browse or _zeroconf)(found)
    try:
        return _collect(answers, seconds, after_first, clock)
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


def _check(url: str, health: Callable[[str], Health], answers: queue.SimpleQueue[Nearby]) -> None:
    try:
        answers.put(Nearby(url, health(url)))
    except SinfoniaError:
        return  # announced, but dead or strange


def _is_neighbour(address: str) -> bool:
    """Whether a neighbour may be there. Never this device: its services are not for neighbours to name."""
    ip = ip_address(address)
    return ip.version == 4 and not (ip.is_loopback or ip.is_multicast or ip.is_unspecified or ip.is_reserved)


def _zeroconf(found: Found) -> Callable[[], None]:
    """Start to browse with `zeroconf`. Returns what ends it."""
    try:
        from zeroconf import Error, IPVersion, ServiceBrowser, ServiceStateChange, Zeroconf
    except ImportError as error:
        raise DeviceError("To find cloudlets nearby: pip install 'sinfonia-serverless[jit]'.") from error
    try:
        zeroconf = Zeroconf(ip_version=IPVersion.V4Only)
    except (OSError, Error) as error:
        raise DeviceError(f"There is no network in which to find cloudlets: {error}.") from error

    # An announcement comes first with some addresses, then as an update with all.
    def changed(zeroconf: Zeroconf, service_type: str, name: str, state_change: Any) -> None:
        if state_change is ServiceStateChange.Removed:
            return
        info = None
        with contextlib.suppress(Error):  # the search may end meanwhile
            info = zeroconf.get_service_info(service_type, name, timeout=1000)
        for address in info.parsed_addresses(IPVersion.V4Only) if info else ():
            if info is not None and info.port:
                found(address, info.port)

    ServiceBrowser(zeroconf, SERVICE_TYPE, handlers=[changed])
    return zeroconf.close
