"""The agent's listening sockets: HTTP by waitress, names by `name_server.py`. Called by `__main__.py`.

Each function binds, serves in the background, and returns what ends it; an address that can't be bound is the
operator's to change.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from waitress.server import TcpWSGIServer, create_server

from edge_agent.errors import SettingsError
from edge_agent.option_values import Address
from edge_agent.tunnels.name_server import NameServer
from edge_agent.tunnels.names import Names

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

WAITERS = 40
"""Calls that may be held back until ready at a time. Threads are also held by calls whose chart is rendered
and by calls for one device at once; both waits are bounded.
"""
_THREADS = WAITERS + 8
_BODY_BYTES = 16 * 1024 * 1024  # above the APIs' own limit, whose answer is a problem document
_IDLE_SECONDS = 20
_CONNECTIONS = 4000
"""Idle ones count too: one guest's must not keep all others out (`firewall.py` bounds each device's)."""
_CLOSE_SECONDS = 3.0


def serve(app: WSGIApplication, addresses: Sequence[Address], threads: int = _THREADS) -> Callable[[], None]:
    """Serve HTTP; raises `SettingsError` where an address can't be bound."""
    parts: dict[int, Any] = {}
    server: Any = create_server(
        app,
        map=parts,
        sockets=_bound(addresses),
        threads=threads,
        ident="sinfonia",
        max_request_body_size=_BODY_BYTES,
        connection_limit=_CONNECTIONS,
        asyncore_use_poll=True,  # select() ends at 1,024 descriptors
        channel_timeout=_IDLE_SECONDS,
        cleanup_interval=5,
        clear_untrusted_proxy_headers=True,
    )
    listeners = [one for one in parts.values() if isinstance(one, TcpWSGIServer)]
    trigger = listeners[0].trigger
    thread = threading.Thread(target=server.run, name=f"serve {addresses[0].port}", daemon=True)
    thread.start()

    def close() -> None:
        # A thread that still answers would pull a closed trigger.
        server.task_dispatcher.shutdown(timeout=0.5)
        with trigger.lock:  # keeps the loop, awake for another reason, from ending before it is pulled
            trigger.thunks.append(lambda: _close(listeners))
            trigger.pull_trigger()
        thread.join(_CLOSE_SECONDS)

    return close


def _bound(addresses: Sequence[Address]) -> list[socket.socket]:
    """A listening socket for each; none stays open where one of them fails."""
    with contextlib.ExitStack() as failed:
        made = [failed.enter_context(_listen(address)) for address in addresses]
        failed.pop_all()
    return made


def _listen(address: Address) -> socket.socket:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        family, place = found[0][0], found[0][4]
        return socket.create_server(place, family=family, backlog=128)
    except OSError as error:
        raise _unbound(address, error) from error


def _close(listeners: Sequence[Any]) -> None:
    """End waitress from within its own loop, which then finds nothing left to wait for."""
    for server in listeners:
        for channel in list(server.active_channels.values()):
            channel.handle_close()
        wrapper = server.trigger.socket  # a second descriptor of the trigger's, which waitress itself forgets
        server.close()
        wrapper.close()


def serve_names(
    names: Names, address: Address, asked: Callable[[int], None] = lambda _: None
) -> Callable[[], None]:
    """Serve DNS; raises `SettingsError` where the address can't be bound. `asked` is told the code of each
    answer (RFC 1035, 4.1.1).
    """

    def respond(query: bytes, source: str, *, udp: bool) -> bytes | None:
        reply = names.answer(query, source, udp=udp)
        if reply is not None:
            asked(reply[3] & 0xF)
        return reply

    try:
        server = NameServer((address.host, address.port), respond)
    except OSError as error:
        raise _unbound(address, error) from error
    server.start()
    return server.stop


def _unbound(address: Address, error: OSError) -> SettingsError:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return SettingsError(f"{host}:{address.port}: {error.strerror or error}")
