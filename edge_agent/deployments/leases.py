"""Which deployments are idle: pure bookkeeping, used by `deploy.py`, `lifecycle.py` and `upkeep.py`.

A lease is renewed by a deploy call and by any sign of life in the tunnel (a handshake, a received byte).
Time is monotonic, so a clock that is set does not end a lease; after a restart every lease starts anew; and
while the gateway can't be read, nobody grows idle. What a gateway counted before the first look, or before
it began to count anew, is no sign of life: a restart wakes nobody. A device that uses one key for several
apps has one tunnel and one counter: while it lives, all of them are in use.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Activity:
    """A peer's signs of life: seconds since 1970 of its last handshake (0: none), and bytes received from
    it. What was sent to it is no sign of its life, and only counted.
    """

    handshake_at: int
    received_bytes: int
    sent_bytes: int = field(default=0, compare=False)


class Leases:
    """The time at which each deployment was last seen in use.

    Not seen for `idle_seconds`, it is idle; not seen for `rest_seconds` more, it is past its rest.
    """

    def __init__(self, idle_seconds: float, rest_seconds: float, clock: Callable[[], float]) -> None:
        self._idle_seconds = idle_seconds
        self._rest_seconds = rest_seconds
        self._clock = clock
        self._renewed: dict[str, float] = {}
        self._seen: dict[str, Activity] = {}

    def renew(self, name: str) -> None:
        """Start the deployment's lease anew."""
        self._renewed[name] = self._clock()

    def forget(self, name: str) -> None:
        """The deployment is gone."""
        self._renewed.pop(name, None)
        self._seen.pop(name, None)

    def note(self, activity: Mapping[str, Activity]) -> set[str]:
        """Renew the deployments whose peer moved since the last time; return their names."""
        active = set()
        for name, now in activity.items():
            before = self._seen.get(name)
            if name in self._renewed and before is not None and _moved(before, now):
                active.add(name)
                self.renew(name)
            self._seen[name] = now
        return active

    def hold(self, names: Collection[str] | None = None) -> None:
        """The gateway can't be read, or can't tell of some: start their leases anew, by default all."""
        for name in list(self._renewed):
            if names is None or name in names:
                self.renew(name)

    def idle(self) -> list[str]:
        """The deployments whose lease has ended."""
        return self._unseen_for(self._idle_seconds)

    def rested(self) -> list[str]:
        """Those whose rest has ended as well."""
        return self._unseen_for(self._idle_seconds + self._rest_seconds)

    def _unseen_for(self, seconds: float) -> list[str]:
        now = self._clock()
        return [name for name, renewed in list(self._renewed.items()) if now - renewed >= seconds]


def _moved(before: Activity, now: Activity) -> bool:
    """Whether a device did something in between. A gateway that began anew counts from nothing."""
    return now.handshake_at > before.handshake_at or now.received_bytes not in (0, before.received_bytes)
