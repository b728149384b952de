"""A cache for several tenants: bounded in number and in time, and fair: who fills it evicts his own.

Called by `apps.py`, `tokens.py` and `tenants.py`, for seconds each. What is not there is remembered too.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class FairCache(Generic[K, V]):
    """Values by key, each put there for an owner. Safe between threads."""

    def __init__(self, most: int, monotonic: Callable[[], float]) -> None:
        """At most `most` values."""
        self._most = most
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._values: dict[K, tuple[float, str, V]] = {}
        self._owned: dict[str, OrderedDict[K, None]] = {}

    def get(self, key: K) -> V | None:
        """The value while it is fresh, else None."""
        with self._lock:
            known = self._values.get(key)
        return known[2] if known is not None and known[0] > self._monotonic() else None

    def put(self, key: K, value: V, owner: str, seconds: float) -> None:
        """Remember it. Where there are too many, the oldest of the owner that has the most goes."""
        with self._lock:
            self._drop(key)
            self._values[key] = (self._monotonic() + seconds, owner, value)
            self._owned.setdefault(owner, OrderedDict())[key] = None
            if len(self._values) > self._most:
                greediest = max(self._owned.values(), key=len)
                self._drop(next(iter(greediest)))

    def forget(self, key: K) -> None:
        """Remember it no longer."""
        with self._lock:
            self._drop(key)

    def clear(self) -> None:
        """Remember nothing."""
        with self._lock:
            self._values.clear()
            self._owned.clear()

    def _drop(self, key: K) -> None:
        known = self._values.pop(key, None)
        if known is not None:
            owned = self._owned[known[1]]
            del owned[key]
            if not owned:
                del self._owned[known[1]]
