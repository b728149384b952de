"""Announcing this cloudlet by Zeroconf, for devices on the same network; the only module that knows it.
Made by `agent.py`, kept up by one thread.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from zeroconf import Error, ServiceInfo, Zeroconf

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
        self._name = name
        self._uuid = uuid
        self._addresses = addresses
        self._port = port
        self._told = {"path": "/", "uuid": str(uuid), "v": PROTOCOL, **told}
        self._open_at: tuple[str, ...] = ()
        self._zeroconf: Zeroconf | None = None
        self._info = self._described(())
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
        """Announce at the addresses of now. Takes about a second, nothing where all is as before; a failure
        is logged and may be tried again.
        """
        with self._guard:
            wanted = tuple(sorted(self._addresses()))
            if wanted == self._open_at:
                return
            self._withdraw()
            if not wanted:
                return
            try:
                self._zeroconf = Zeroconf(interfaces=_interfaces(wanted))
                self._info = self._described(wanted)
                # A name that another cloudlet has already gets a number behind it (RFC 6762, 9).
                self._zeroconf.register_service(self._info, allow_name_change=True)
            except (OSError, RuntimeError, Error) as error:  # RuntimeError: an address that has just gone
                _LOG.warning("Zeroconf does not work here", extra={"reason": repr(error)})
                self._withdraw()
            else:
                self._open_at = wanted
                _LOG.info("announced", extra={"service": self._info.name, "addresses": ", ".join(wanted)})

    def close(self) -> None:
        """Say goodbye, so that nobody looks for us any more."""
        with self._guard:
            self._withdraw()

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

    def _described(self, addresses: Sequence[str]) -> ServiceInfo:
        try:
            return ServiceInfo(
                SERVICE_TYPE,
                f"{_label(self._name)}.{SERVICE_TYPE}",
                port=self._port,
                parsed_addresses=list(dict.fromkeys(address.partition("%")[0] for address in addresses)),
                properties=dict(self._told),
                server=f"sinfonia-{self._uuid}.local.",
            )
        except (Error, OSError, ValueError) as error:
            raise SettingsError(f"--announce: can't announce {self._name!r}: {error}") from error


def _interfaces(addresses: Sequence[str]) -> Any:
    """As Zeroconf takes them. Of an interface's IPv6 addresses it sends from the first: the link-local one,
    by which alone receivers learn which interface link-local ones are at.
    """
    return sorted(addresses, key=lambda one: (":" in one, "%" not in one))


def _label(name: str) -> str:
    """The name as a DNS-SD instance name: no dots, at most 63 bytes."""
    label = name.replace(".", "-").encode()[:_LABEL_BYTES].decode("utf-8", "ignore").strip()
    return label or "cloudlet"
