"""Announcing this cloudlet by Zeroconf, for devices on the same network; the only module that knows it.
Made by `agent.py`, kept up by one thread.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from zeroconf import Error, RecordUpdate, RecordUpdateListener, ServiceInfo, Zeroconf

from edge_agent.errors import SettingsError

_LOG = logging.getLogger(__name__)

SERVICE_TYPE = "_sinfonia._tcp.local."
PROTOCOL = "1"
LOOK_SECONDS = 2.0
"""How soon an address that comes or goes is noticed."""
_LABEL_BYTES = 63  # RFC 1035, 2.3.4


class Advertiser:
    """The announcement of the API at a port, on the interfaces that have `addresses()`: IPv4, IPv6, and IPv6
    link-local ones as `fe80::1%eth0`.

    `told` is what the TXT record says beside the path and the UUID. Raises `SettingsError` for a name that
    can't be announced. `open` and `close` may be said repeatedly.
    """

    def __init__(
        self,
        name: str,
        uuid: UUID,
        addresses: Callable[[], Sequence[str]],
        port: int,
        told: Mapping[str, str],
    ) -> None:
        self._label = self._wish = _label(name)
        self._server = f"sinfonia-{uuid}.local."
        self._addresses = addresses
        self._port = port
        self._told = {"path": "/", "uuid": str(uuid), "v": PROTOCOL, **told}
        self._open_at: tuple[str, ...] | None = None
        self._zeroconf: Zeroconf | None = None
        self._info = self._described(self._label, ())
        self._rivals = _Rivals(self._info)
        self._lost = 0
        self._guard = threading.Lock()

    def keep(self, stop: threading.Event, welcome: Callable[[], bool]) -> None:
        """Be announced while new devices are `welcome`, until `stop`; follows the addresses."""
        while not stop.is_set():
            if welcome():
                self.open()
            else:
                self.close()
            stop.wait(LOOK_SECONDS)

    def open(self) -> None:
        """Announce at the addresses of now. Takes about a second, little where all is as before; a failure is
        logged and may be tried again.
        """
        with self._guard:
            wanted = tuple(sorted(self._addresses()))
            if not wanted:
                if self._open_at != ():
                    _LOG.warning("this machine has none of the addresses that are to be announced")
                self._withdraw()
                return
            try:
                self._contend()
                if wanted != self._open_at:
                    self._move(wanted)
            except (OSError, RuntimeError, Error) as error:  # RuntimeError: an address that has just gone
                _LOG.warning("Zeroconf does not work here", extra={"reason": repr(error)})
                self._withdraw()

    def close(self) -> None:
        """Say goodbye, so that nobody looks for us any more."""
        with self._guard:
            self._withdraw()

    def _move(self, wanted: tuple[str, ...]) -> None:
        """Be announced at other addresses. The name stays, without another trial: whoever looked for one
        meanwhile would take it.
        """
        moves = self._zeroconf is not None
        self._leave()
        zeroconf = self._zeroconf = Zeroconf(interfaces=_interfaces(wanted))
        self._info = info = self._described(self._label_now() if moves else self._wish, wanted)
        self._rivals = _Rivals(info)
        zeroconf.add_listener(self._rivals, None)
        # A name that another cloudlet has already gets a number behind it (RFC 6762, 9).
        zeroconf.register_service(info, allow_name_change=True, cooperating_responders=moves)
        self._open_at = wanted
        _LOG.info("announced", extra={"service": info.name, "addresses": ", ".join(wanted)})

    def _contend(self) -> None:
        """Where another one turns out to have our name, since it was too busy to say so in time or came with
        another network: the later server's name yields, the other one says again that it has it.
        """
        rival = self._rivals.take()
        if rival is None or self._zeroconf is None:
            return
        if rival > self._server:
            self._zeroconf.update_service(self._info)
            return
        _LOG.info("another cloudlet has the name", extra={"service": self._info.name})
        self._lost += 1
        number = self._label_now().removeprefix(f"{self._label}-")
        now = int(number) if number.isascii() and number.isdecimal() else 1
        self._wish = _label(self._label, f"-{max(now, self._lost) + 1}")
        self._leave()

    def _label_now(self) -> str:
        return self._info.name.removesuffix(f".{SERVICE_TYPE}")

    def _leave(self) -> None:
        """End without a goodbye: the name stays somebody's."""
        zeroconf, self._zeroconf, self._open_at = self._zeroconf, None, ()
        if zeroconf is not None:
            zeroconf.registry.async_remove(self._info)
            zeroconf.close()

    def _withdraw(self) -> None:
        zeroconf, self._zeroconf, self._open_at = self._zeroconf, None, ()
        if zeroconf is None:
            return
        try:
            zeroconf.unregister_service(self._info)
        except (OSError, Error) as error:  # an interface that is gone takes no goodbye
            _LOG.info("no goodbye could be said", extra={"reason": repr(error)})
        finally:
            zeroconf.close()

    def _described(self, label: str, addresses: Sequence[str]) -> ServiceInfo:
        try:
            return ServiceInfo(
                SERVICE_TYPE,
                f"{label}.{SERVICE_TYPE}",
                port=self._port,
                parsed_addresses=list(dict.fromkeys(address.partition("%")[0] for address in addresses)),
                properties=dict(self._told),
                server=self._server,
            )
        except (Error, OSError, ValueError) as error:
            raise SettingsError(f"--announce: can't announce {label!r}: {error}") from error


class _Rivals(RecordUpdateListener):
    """Hears who else says that it has the name of `info`, which changes until one is found that is free."""

    def __init__(self, info: ServiceInfo) -> None:
        super().__init__()
        self._info = info
        self._heard = ("", "")

    def take(self) -> str | None:
        """The server of another one that was heard since, if its name is ours now."""
        (name, server), self._heard = self._heard, ("", "")
        return server if name == self._info.key else None

    def async_update_records(self, zc: Zeroconf, now: float, records: list[RecordUpdate]) -> None:  # noqa: ARG002 - as Zeroconf calls it
        """Called by Zeroconf, in its thread."""
        for record in (update.new for update in records):
            server = getattr(record, "server_key", None)  # of SRV records alone
            if server not in (None, self._info.server_key) and record.key == self._info.key and record.ttl:
                self._heard = (record.key, server)


def _interfaces(addresses: Sequence[str]) -> Any:
    """As Zeroconf takes them. Of an interface's IPv6 addresses it sends from the first: the link-local one,
    by which alone receivers learn which interface link-local ones are at.
    """
    return sorted(addresses, key=lambda one: (":" in one, "%" not in one))


def _label(name: str, number: str = "") -> str:
    """The name as a DNS-SD instance name, with a number behind it: no dots, at most 63 bytes."""
    room = _LABEL_BYTES - len(number)
    label = name.replace(".", "-").encode()[:room].decode("utf-8", "ignore").strip()
    return (label or "cloudlet") + number
