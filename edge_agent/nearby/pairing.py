"""Pairing with a device nearby: it shows that its person knows the code that this cloudlet shows, and both
keep each other's public keys. Called by `pairing_api.py`; calls `exchange.py`, `codes.py` and `devices.py`.

The device shows first. A wrong code costs an attempt, and says nothing of the right one.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from edge_agent.errors import Forbidden, NotFound, Unavailable
from edge_agent.nearby.codes import Code, Codes
from edge_agent.nearby.devices import Device, Devices
from edge_agent.nearby.exchange import Exchange
from edge_agent.serving.signatures import PublicKey

SESSION_SECONDS = 60.0
MAX_SESSIONS = 8
"""Each begins with 10 ms of arithmetic: strangers get eight of them a minute, while there is a code."""

_NO_CODE = "There is no code for pairing now; have the cloudlet show one: sinfonia-agent pair"


@dataclass(frozen=True)
class _Session:
    exchange: Exchange
    code: Code
    ends: float


class Pairing:
    """The exchanges that are going on. `clock` is monotonic, `now` seconds since 1970."""

    def __init__(
        self,
        own_key: PublicKey,
        codes: Codes,
        devices: Devices,
        clock: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self.own_key = own_key
        self._codes = codes
        self._devices = devices
        self._clock = clock
        self._now = now
        self._sessions: dict[str, _Session] = {}
        self._guard = threading.Lock()

    def begin(self, message: bytes) -> tuple[str, bytes]:
        """A session's name, and this side's message; raises `Forbidden` without a code, `Unavailable`."""
        with self._guard:
            code = self._codes.current()
            if code is None:
                raise Forbidden(_NO_CODE)
            self._forget_old()
            if len(self._sessions) >= MAX_SESSIONS:
                raise Unavailable("Too many devices are being paired.", int(SESSION_SECONDS))
            exchange = Exchange(code.digits, message)
            name = secrets.token_urlsafe(16)
            self._sessions[name] = _Session(exchange, code, self._clock() + SESSION_SECONDS)
        return name, exchange.message

    def finish(self, session: str, device: PublicKey, name: str, confirmation: bytes) -> bytes:
        """Keep the device and return this side's confirmation; raises `NotFound`, `Forbidden`."""
        with self._guard:
            self._forget_old()
            found = self._sessions.pop(session, None)
            if found is None:
                raise NotFound("No such pairing is going on; begin again.")
            with self._codes.locked():
                self._check(found, device, name, confirmation)
                paired = datetime.fromtimestamp(self._now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                self._devices.add(Device(device, name, paired))
                self._codes.withdraw()
        return found.exchange.confirmation(device.raw, name, self.own_key.raw)

    def _check(self, session: _Session, device: PublicKey, name: str, confirmation: bytes) -> None:
        code = self._codes.current()
        if code is None or code.serial != session.code.serial:
            raise Forbidden(_NO_CODE)
        if not session.exchange.confirms(confirmation, device.raw, name, self.own_key.raw):
            left = self._codes.spend(code)
            more = f"; {left} more attempts" if left else f". {_NO_CODE}"
            raise Forbidden(f"The code is wrong{more}")

    def _forget_old(self) -> None:
        now = self._clock()
        self._sessions = {name: one for name, one in self._sessions.items() if one.ends > now}
