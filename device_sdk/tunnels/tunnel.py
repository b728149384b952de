"""A tunnel to a target, as the app's developer uses it.

Called by the app, `cli/run.py` and `deploy.py`'s users; calls `wireguard.py` for the way in, `readiness.py`
to follow the backend, `run.py` to run a program behind it.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from types import TracebackType
from typing import Protocol, Self

from device_sdk.background import Pending
from device_sdk.errors import RequestError, SinfoniaError, TunnelError
from device_sdk.progress import OnProgress, Reporter
from device_sdk.target import Target
from device_sdk.tunnels.families import fitting
from device_sdk.tunnels.readiness import Gateway
from device_sdk.tunnels.run import run_command
from device_sdk.wire import Deployment

READY_SECONDS = 60.0
RELEASE_SECONDS = 10.0
_ROUND_TRIPS = 3  # the first may wait for a handshake; the least of them is told
_ROUND_TRIP_SECONDS = 2.0


class Link(Protocol):
    """A way into the network behind a tunnel."""

    def connect(self, address: tuple[str, int], timeout: float) -> socket.socket:
        """A TCP connection to a literal address in there."""

    def spawn(
        self, command: Sequence[str], environ: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """A program that is in there."""

    def handshake_seconds_ago(self) -> float | None:
        """How long ago the other side last proved who it is; None if it never did."""

    def close(self) -> None:
        """Take it down. May be called again."""


class Tunnel:
    """A way to one backend, until it is closed. A context manager.

    The app behind it sees the backend by name; the rest of the device is as it was.
    """

    def __init__(self, target: Target, link: Link, clock: Callable[[], float] = time.monotonic) -> None:
        self.target = target
        self._link = link
        self._clock = clock
        self._tell = target.measured

    def wait_ready(self, timeout: float = READY_SECONDS, on_progress: OnProgress | None = None) -> Deployment:
        """Wait until the backend can serve, at most `timeout` seconds.

        Raises `DeploymentError` if it failed or is not ready in time, `TunnelError` if nothing answers.
        Published cloudlets don't tell; there it returns at once.
        """
        report = Reporter(on_progress, self._clock)
        with report.phase("ready"):
            gateway = self._gateway()
            if gateway is None:
                report.note("ready", "this cloudlet does not tell when a backend is ready")
                return self.target.deployment
            try:
                deployment = gateway.wait_ready(timeout, lambda text: report.note("ready", text))
            except TunnelError as error:
                if self._link.handshake_seconds_ago() is None:
                    host, port = fitting(self.target.plan).endpoint
                    raise TunnelError(
                        f"The cloudlet's gateway at {host}:{port} never answered; "
                        f"does a firewall hold back UDP port {port}?"
                    ) from error
                raise
            self._tell_round_trip()
            return deployment

    def connect(self, address: tuple[str, int], timeout: float = 10.0) -> socket.socket:
        """A TCP connection to `(name or literal address, port)` behind the tunnel.

        Names are those of the target's services. Raises `OSError` as sockets do, and `RequestError` for a
        name that the backend does not offer.
        """
        return self._link.connect((self.resolve(address[0]), address[1]), timeout)

    def round_trip(self) -> float:
        """The round trip through the tunnel to the cloudlet, in seconds. Raises `TunnelError`."""
        address = self.target.status_address
        if address is None:
            raise TunnelError("This cloudlet has nothing to measure against.")
        return min(self._connect_seconds((address.host, address.port)) for _ in range(_ROUND_TRIPS))

    def _connect_seconds(self, address: tuple[str, int]) -> float:
        started = self._clock()
        try:
            with self._link.connect(address, _ROUND_TRIP_SECONDS):
                return self._clock() - started
        except OSError as error:
            raise TunnelError(f"The round trip can't be measured: {error}.") from error

    def _tell_round_trip(self) -> None:
        """Let the root know in the background, once; the app neither waits for it nor hears of a failure."""
        tell, self._tell = self._tell, None

        def measure() -> None:
            with contextlib.suppress(SinfoniaError):
                if tell is not None:
                    tell(self.round_trip())

        if tell is not None:
            Pending(measure, "sinfonia-measurement")

    def resolve(self, name: str) -> str:
        """The address behind the tunnel of a service's name, with or without its domain."""
        try:
            return str(ip_address(name))
        except ValueError:
            pass
        services = self.target.services
        for domain in ("", *self.target.plan.search_domains):
            service = services.get(name.removesuffix(f".{domain}") if domain else name)
            if service is not None:
                return service.address
        offered = ", ".join(services) or "no names"
        raise RequestError(f"The backend offers no {name!r}; it offers {offered}.")

    def run(self, command: Sequence[str], environ: Mapping[str, str] | None = None) -> int:
        """Run a program behind the tunnel to its end. Returns its exit status, 128 + n after signal n.

        What it leaves running has the tunnel until that is closed, as with `spawn`.
        Signals that this process gets meanwhile are handed on to the program.
        """
        return run_command(lambda: self._link.spawn(command, environ))

    def spawn(
        self, command: Sequence[str], environ: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a program behind the tunnel. When the tunnel is closed, it and what it forked are told to end
        (SIGTERM), and killed 2 s later.
        """
        return self._link.spawn(command, environ)

    def release(self, timeout: float = RELEASE_SECONDS) -> None:
        """Tell the cloudlet that the backend is no longer needed; the tunnel is of no use afterwards."""
        gateway = self._gateway()
        if gateway is None:
            raise TunnelError("This cloudlet can't be told; it removes backends that nobody uses by itself.")
        gateway.release(timeout)

    def close(self) -> None:
        """Take the tunnel down. May be called again."""
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _gateway(self) -> Gateway | None:
        address = self.target.status_address
        return Gateway(address, self._link.connect, self._clock) if address else None


def open_tunnel(target: Target, *, on_progress: OnProgress | None = None) -> Tunnel:
    """Make a tunnel to `target`. Raises `DeviceError` without the rights or programs, else `TunnelError`."""
    from device_sdk.tunnels.wireguard import WireGuardLink

    report = Reporter(on_progress)
    with report.phase("tunnel", target.deployment.tunnel.endpoint):
        return Tunnel(target, WireGuardLink(target.plan, target.key))


def check_device() -> None:
    """Raise `DeviceError`, saying what to do, if this process can't make tunnels here. Takes milliseconds."""
    from device_sdk.tunnels.wireguard import check

    check()


def release(target: Target, *, timeout: float = RELEASE_SECONDS) -> None:
    """Give the backend back, through a tunnel made for it. Doing it twice is fine.

    With an open `Tunnel` call its `release()` instead. Raises `DeviceError` or `TunnelError`.
    """
    with open_tunnel(target) as tunnel:
        tunnel.release(timeout)
