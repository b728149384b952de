"""Whether a root and a backend can be reached from here, and if the clocks agree. Called by `doctor.py`."""

from __future__ import annotations

import contextlib
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from urllib.parse import urlsplit
from uuid import UUID

from device_sdk.background import Pending
from device_sdk.calls.call import Parts
from device_sdk.calls.deploy import deploy_backend
from device_sdk.calls.st1 import Server
from device_sdk.device.findings import Finding, State
from device_sdk.errors import (
    DeploymentError,
    NoCloudletError,
    NotFoundError,
    RequestError,
    SinfoniaError,
    TunnelError,
)
from device_sdk.target import Target
from device_sdk.tunnels.tunnel import Tunnel, open_tunnel

SECONDS = 10.0
READY_SECONDS = 60.0
_RELEASE_SECONDS = 3.0
_TRIES = 4  # of 2 s each: a handshake that got lost is repeated after 5
_TOLERATED_SECONDS = 60.0  # certificates and signatures allow for minutes
_HARMFUL_SECONDS = 300.0


def name(root_url: str) -> Finding:
    """Whether the root's name resolves."""
    host = urlsplit(root_url).hostname or ""
    try:
        return Finding("ok", f"{ip_address(host)} needs none")
    except ValueError:
        pass
    try:
        asked = Pending(lambda: socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP), "name")
        found = asked.result(SECONDS)
    except TimeoutError:
        advice = "look at the name servers in /etc/resolv.conf"
        return Finding("problem", f"no name server answered for {host} within {SECONDS:g} s", advice)
    except OSError as error:
        return Finding(
            "problem", f"{host}: {error.strerror}", "look at its spelling, and at /etc/resolv.conf"
        )
    return Finding("ok", f"{host} is {', '.join(dict.fromkeys(str(one[4][0]) for one in found))}")


def root(root_url: str, clock: Callable[[], float] = time.monotonic) -> Finding:
    """Whether the root answers, and how fast."""
    began = clock()
    try:
        Server(root_url).health(SECONDS)
    except NotFoundError:
        return Finding("warning", "it answers, but does not say how it is", "a published root is like that")
    except SinfoniaError as error:
        advice = "look at the URL, a firewall, the proxy (HTTPS_PROXY), and this device's clock"
        return Finding("problem", str(error), advice)
    return Finding("ok", f"answered in {(clock() - began) * 1000:.0f} ms")


def clocks(root_url: str, wall_clock: Callable[[], float] = time.time) -> Finding:
    """Whether this device's clock agrees with the root's (RFC 9110, Date)."""
    try:
        theirs = Pending(lambda: _date(root_url), "date").result(SECONDS)
    except (OSError, ValueError, TimeoutError):
        return Finding("warning", "the root does not tell the time", "compare this device's clock yourself")
    ahead = wall_clock() - theirs
    if abs(ahead) <= _TOLERATED_SECONDS:
        return Finding("ok", f"within {_TOLERATED_SECONDS:g} s of the root's")
    word = "ahead of" if ahead > 0 else "behind"
    detail = f"this device's clock is {abs(ahead):.0f} s {word} the root's"
    state: State = "problem" if abs(ahead) >= _HARMFUL_SECONDS else "warning"
    return Finding(state, detail, "set it: timedatectl set-ntp true")


def _date(root_url: str) -> float:
    """The root's time, from whatever it answers; POSIX seconds. Raises `ValueError`, `OSError`."""
    request = urllib.request.Request(f"{root_url.rstrip('/')}/api/v1/health")  # noqa: S310 - `check_url` saw it
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as response:  # noqa: S310
            text = response.headers.get("Date")
    except urllib.error.HTTPError as error:
        with error:
            text = error.headers.get("Date")
    date = parsedate_to_datetime(text or "")
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def backend(root_url: str, app: UUID, parts: Parts, ready_seconds: float = READY_SECONDS) -> Finding:
    """The whole way: deploy, open the tunnel, wait until it is ready, measure, release. May take a minute."""
    try:
        target = deploy_backend(root_url, app, jit="off", measurements=False, parts=parts)[0]
    except RequestError as error:
        return Finding("problem", str(error), "look at the app's UUID, and at SINFONIA_TOKEN")
    except NoCloudletError as error:
        return Finding("problem", str(error), "try again later, or from elsewhere")
    except SinfoniaError as error:
        return Finding("problem", str(error), "see root; the app's owner can look at the recipe")
    return _through(target, ready_seconds)


def _through(target: Target, ready_seconds: float) -> Finding:
    host, port = target.plan.endpoint
    try:
        with open_tunnel(target) as tunnel:
            try:
                if target.status_address is None:
                    return Finding("warning", f"{target.place} does not tell whether it is reached")
                took = _answered(tunnel)
                tunnel.wait_ready(ready_seconds)
            finally:
                with contextlib.suppress(SinfoniaError):  # its cloudlet takes it back by itself
                    tunnel.release(_RELEASE_SECONDS)
    except DeploymentError as error:
        return Finding("problem", f"{target.place}: {error}", "the app's owner can look at the recipe")
    except SinfoniaError as error:
        advice = f"let UDP to {host} port {port} and back through, on this device and its network"
        return Finding("problem", f"{target.place}: {error}", advice)
    return Finding("ok", f"ready at {target.place}, UDP to {host} port {port}, {took * 1000:.1f} ms away")


def _answered(tunnel: Tunnel) -> float:
    """The round trip, once the gateway answers; seconds. Raises `TunnelError` if it never does."""
    problem = TunnelError("it was not asked.")
    for _ in range(_TRIES):
        try:
            return tunnel.round_trip()
        except TunnelError as error:
            problem = error
    raise TunnelError("The gateway never answered.") from problem
