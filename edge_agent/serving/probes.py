"""What devices may measure through their tunnels, and how much of it: used by `tunnel_api.py`.

A device measures once at a time and a bounded number of bytes: probes are for choosing a cloudlet, and take
from what its backends have.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

from edge_agent.errors import InvalidRequest, Unavailable

MOST_BYTES = 16_000_000
"""One transfer: more than a second of 100 Mbit/s. Below what the HTTP server itself takes."""
_DEFAULT_BYTES = 1_000_000
_ALLOWANCE_BYTES = 64_000_000
_REFILL_BYTES_PER_SECOND = 1_000_000
_MOST_KNOWN = 4096
_PART = bytes(65536)  # WireGuard's ciphertext of zeros is as dense as any


class Probes:
    """Each device's allowance. `clock` is monotonic. Safe between threads."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._busy: set[IPv4Address] = set()
        self._left: dict[IPv4Address, tuple[float, float]] = {}
        self._guard = threading.Lock()

    def begin(self, device: IPv4Address, size: int) -> Callable[[], None]:
        """Take so many bytes of the device's allowance; returns what ends the measurement.

        Raises `Unavailable` while it measures already, or has measured enough.
        """
        with self._guard:
            if device in self._busy:
                raise Unavailable("This device is measuring already.", 1)
            left = self._allowance(device)
            if size > left:
                missing = size - left
                raise Unavailable(
                    "This device has measured enough for now.", 1 + int(missing / _REFILL_BYTES_PER_SECOND)
                )
            self._left[device] = (left - size, self._clock())
            self._busy.add(device)
        return lambda: self._busy.discard(device)

    @contextmanager
    def measuring(self, device: IPv4Address, size: int) -> Iterator[None]:
        """The same, for as long as the block lasts."""
        end = self.begin(device, size)
        try:
            yield
        finally:
            end()

    def _allowance(self, device: IPv4Address) -> float:
        now = self._clock()
        if len(self._left) >= _MOST_KNOWN:
            self._left = {
                one: at for one, at in self._left.items() if self._grown(*at, now) < _ALLOWANCE_BYTES
            }
        left, at = self._left.get(device, (float(_ALLOWANCE_BYTES), now))
        return self._grown(left, at, now)

    @staticmethod
    def _grown(left: float, at: float, now: float) -> float:
        return min(left + (now - at) * _REFILL_BYTES_PER_SECOND, float(_ALLOWANCE_BYTES))


def parse_bytes(text: str | None) -> int:
    """The `bytes` of a query: 1 to 16,000,000, by default 1,000,000."""
    if text is None:
        return _DEFAULT_BYTES
    if not (text.isascii() and text.isdigit() and len(text) <= 8 and 1 <= int(text) <= MOST_BYTES):
        raise InvalidRequest(f"bytes: must be 1 to {MOST_BYTES}")
    return int(text)


def filler(size: int) -> Iterator[bytes]:
    """So many bytes, in parts."""
    while size > 0:
        yield _PART[:size]
        size -= len(_PART)
