"""The use case: an app wants its backend now, and to keep one while it moves and cloudlets come and go.

Called by the app and `sinfonia associate`; calls `deploy.py` and `choosing` for the first place, then
`keeper.py`, step by step in a thread of its own.
"""

from __future__ import annotations

import logging
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self
from uuid import UUID

from device_sdk.associating.events import Announcer, AssociationEvent
from device_sdk.associating.keeper import Keeper, State
from device_sdk.associating.place import Place, Ways
from device_sdk.associating.search import Search
from device_sdk.target import Target
from device_sdk.tunnels.run import run_command
from device_sdk.tunnels.tunnel import RELEASE_SECONDS, Tunnel
from device_sdk.wire import Location

_CLOSE_SECONDS = 10.0
_log = logging.getLogger(__name__)


class Waiting(Protocol):
    """Waiting that notices changes of the device's network: `surroundings.Surroundings`."""

    def wait(self, seconds: float) -> bool:
        """Whether the network changed meanwhile."""

    def wake(self) -> None:
        """End a wait."""

    def close(self) -> None:
        """Stop listening."""


class Association:
    """An app's backend, wherever it is. A context manager; `associate` makes it.

    The app sees one network and the same names all the time; a name leads to where the backend is now, so an
    app asks for it again when a connection ends. What is left is given back, after requests under way had
    time to end. Safe between threads.
    """

    def __init__(
        self, place: Place, ways: Ways, search: Search, keeper: Keeper, announcer: Announcer, waiting: Waiting
    ) -> None:
        self._ways, self._search, self._keeper = ways, search, keeper
        self._announcer, self._waiting = announcer, waiting
        self._ended = threading.Event()
        self._closing = threading.Lock()
        announcer.say("connected", place.name)
        self._thread = threading.Thread(target=self._watch, name="sinfonia-association", daemon=True)
        self._thread.start()

    @property
    def target(self) -> Target:
        """Where the backend is now."""
        return self._keeper.place.target

    @property
    def state(self) -> State:
        """connected, degraded, draining, lost (another one is looked for) or released (it has ended)."""
        return self._keeper.state

    def events(self) -> Iterator[AssociationEvent]:
        """What happens from now on, until the association ends."""
        return self._announcer.listen()

    def run(self, command: Sequence[str], environ: Mapping[str, str] | None = None) -> int:
        """Run a program behind the tunnel to its end, as `Tunnel.run` does."""
        return run_command(lambda: self.spawn(command, environ))

    def spawn(
        self, command: Sequence[str], environ: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a program behind the tunnel. It gets SIGTERM when the association is closed."""
        return self._ways.spawn(command, environ)

    def connect(self, address: tuple[str, int], timeout: float = 10.0) -> socket.socket:
        """A TCP connection to `(name or literal address, port)`, as `Tunnel.connect` makes it."""
        return self._tunnel().connect(address, timeout)

    def prepare(self, where: UUID | Location | tuple[float, float] | None = None) -> Target:
        """Have another backend ready ahead of a move: on the cloudlet `where`, which may be any that the root
        knows; for the location `where` the device will be (later searches keep to it); or on the best other
        one. The latter two are chosen as `associate` was told to. `switch` goes there; if the app's own is
        lost before, it is gone to at once. One is prepared at a time.

        Raises `NoCloudletError` where there is no other, or the cloudlet does not take this device and app,
        and what `deploy_backend` raises. The published Sinfonia's roots choose cloudlets themselves.
        """
        if isinstance(where, UUID):
            cloudlet = where
            return self._keeper.prepare(lambda here, known: self._search.at(cloudlet, here, known)).target
        if where is not None:
            self._search.location = where if isinstance(where, Location) else Location(*where)
        return self._keeper.prepare(self._search.elsewhere).target

    def switch(self) -> Target:
        """Go to what was prepared. Raises `RequestError` where nothing is."""
        return self._keeper.switch().target

    def release(self, timeout: float = RELEASE_SECONDS) -> None:
        """Give the backend back, and end. Raises `TunnelError` where the cloudlet can't be told."""
        try:
            if not self._ended.is_set():
                self._tunnel().release(timeout)
        finally:
            self.close()

    def close(self) -> None:
        """End: take everything down. The backend stays for its lease, to be found again. May be repeated."""
        with self._closing:
            if self._ended.is_set():
                return
            self._ended.set()
            self._waiting.wake()
            if self._thread is not threading.current_thread():
                self._thread.join(_CLOSE_SECONDS)
            place = self._keeper.place
            self._keeper.close()
            self._ways.close()
            self._waiting.close()
            self._announcer.say("released", place.name)
            self._announcer.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _tunnel(self) -> Tunnel:
        return Tunnel(self.target, self._ways)

    def _watch(self) -> None:
        while not self._ended.is_set():
            if self._waiting.wait(self._keeper.pause):
                self._keeper.changed()
            if not self._ended.is_set():
                self._step()

    def _step(self) -> None:
        """A mistake of ours must not end the watch: it is logged, and the next step tries again."""
        try:
            self._keeper.step()
        except Exception:  # noqa: BLE001
            _log.exception("a step of the association failed")
