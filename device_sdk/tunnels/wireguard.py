"""The tunnel itself: WireGuard in a sandbox of the app's own. Called by `tunnel.py` and `association.py`;
calls `sandbox.py` and `passage.py`.

The encrypted side stays in the network the device is in, the plain side is inside the sandbox.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence

from device_sdk.errors import TunnelError
from device_sdk.keys import KeyPair
from device_sdk.tunnels.claims import claim
from device_sdk.tunnels.passage import Passage
from device_sdk.tunnels.routes import TunnelPlan
from device_sdk.tunnels.sandbox import Sandbox
from device_sdk.uptime import boot_clock


class Handshakes:
    """How long ago the last one was. WireGuard tells that by the device's wall clock, which may be set
    meanwhile; so it counts since when it was first seen on `clock`.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last, self._seen = 0.0, clock()

    def seconds_ago(self, at: float) -> float | None:
        """WireGuard says `at`, 0 for none."""
        now = self._clock()
        if at != self._last:
            self._last, self._seen = at, now
        return now - self._seen if at else None


class WireGuardWay:
    """One gateway's way in a sandbox; the app takes it once it leads."""

    def __init__(
        self,
        sandbox: Sandbox,
        number: int,
        plan: TunnelPlan,
        key: KeyPair,
        clock: Callable[[], float],
    ) -> None:
        self.plan = plan
        self._key = key
        self._handshakes = Handshakes(clock)
        self._alone = claim(plan, key)
        try:
            self._passage = Passage(sandbox, number, plan, key)
        except BaseException:
            self._alone.close()
            raise

    def connect(self, address: tuple[str, int], timeout: float) -> socket.socket:
        """A TCP connection to a literal address behind this gateway."""
        connection = self._passage.make_socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        try:
            connection.settimeout(timeout)
            connection.connect(address)
        except BaseException:
            connection.close()
            raise
        return connection

    def handshake_seconds_ago(self) -> float | None:
        """How long ago the gateway last proved who it is, as far as was looked; None if it never did."""
        return self._handshakes.seconds_ago(self._passage.state().handshake_at)

    def greet_again(self) -> None:
        """Begin the handshake anew: for a gateway that has not answered yet."""
        self._passage.greet_again(self._key)

    def received_bytes(self) -> int:
        """How much came from the gateway so far."""
        return self._passage.state().received_bytes

    def lead(self) -> None:
        """Be the way of everything that is not bound to another one."""
        self._passage.lead()

    def let_go(self) -> None:
        """Leave the interface to its sandbox, which ends."""
        self._passage.let_go()
        self._alone.close()

    def close(self) -> None:
        """Take the interface away."""
        with contextlib.suppress(TunnelError):  # the sandbox may have ended before
            self._passage.close()
        self._alone.close()


class WireGuardLink:
    """A network of the app's own with one way that leads, and others that stand by. Raises `DeviceError` or
    `TunnelError`. Safe between threads.
    """

    def __init__(self, plan: TunnelPlan, key: KeyPair, clock: Callable[[], float] = boot_clock) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._sandbox = Sandbox(resolv_conf(plan))
        self._ways: list[WireGuardWay] = []
        self._number = 0
        try:
            self._leading = self.stand_by(plan, key)
            self._leading.lead()
        except BaseException:
            self.close()
            raise

    @property
    def leading(self) -> WireGuardWay:
        """The way that the app takes."""
        return self._leading

    def stand_by(self, plan: TunnelPlan, key: KeyPair) -> WireGuardWay:
        """Another way, beside the one that leads: it can be tried while the app notices nothing."""
        with self._guard:
            number, self._number = self._number, self._number + 1
            way = WireGuardWay(self._sandbox, number, plan, key, self._clock)
            self._ways.append(way)
            return way

    def lead(self, way: WireGuardWay) -> WireGuardWay:
        """Make it the app's way; returns the one that led, which stays for what is bound to its addresses.

        Routes come before names: what a name stood for before can be reached on.
        """
        with self._guard:
            way.lead()
            self._sandbox.names(resolv_conf(way.plan))
            before, self._leading = self._leading, way
            return before

    def renew(self, plan: TunnelPlan, key: KeyPair) -> WireGuardWay:
        """Another way that leads at once, to the gateway of the one that led until now, which goes first: to
        one gateway there can't be two. Where it fails, nothing leads until another way does.
        """
        self._leading.close()
        way = self.stand_by(plan, key)
        before = self.lead(way)
        with self._guard:
            self._ways.remove(before)
        return way

    def drop(self, way: WireGuardWay) -> None:
        """Take a way away that does not lead."""
        with self._guard:
            if way is self._leading or way not in self._ways:
                return
            self._ways.remove(way)
            way.close()

    def connect(self, address: tuple[str, int], timeout: float) -> socket.socket:
        """A TCP connection to a literal address behind the way that leads."""
        return self._leading.connect(address, timeout)

    def spawn(
        self, command: Sequence[str], environ: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start `command` behind the tunnel; it ends when the link is closed or this process dies."""
        return self._sandbox.spawn(command, environ)

    def handshake_seconds_ago(self) -> float | None:
        """How long ago the leading gateway last proved who it is; None if it never did."""
        return self._leading.handshake_seconds_ago()

    def close(self) -> None:
        """Take everything down. May be called again."""
        for way in list(self._ways):  # one may just be dropped by another thread
            way.let_go()
        self._sandbox.close()


def check() -> None:
    """Raise `DeviceError` if programs or rights for a tunnel are missing."""
    Sandbox("").close()


def resolv_conf(plan: TunnelPlan) -> str:
    """The file by which programs behind the tunnel resolve names (resolv.conf(5))."""
    lines = [f"nameserver {server}" for server in plan.name_servers]
    if plan.search_domains:
        lines.append(f"search {' '.join(plan.search_domains)}")
    # A backend's name may have dots; the search domains are tried first all the same. Who asks while the way
    # is being changed asks again after a second, and not after five.
    return "\n".join([*lines, "options ndots:5 timeout:1 attempts:5", ""])
