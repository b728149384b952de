"""What one cloudlet may make a root do, and what is believed of its counters and places.

Called by `registry.py` and `keepalives.py`. Each cloudlet has a pace of keepalives, and a slower one of
registrations and moves, which cost several writes; they are kept in the memory of each container. A cloudlet
that claims to have come farther than an airliner flies is slowed down much more.
"""

from collections.abc import Callable
from uuid import UUID

from chalicelib.accounts.limits import Pace
from chalicelib.errors import TooMany
from chalicelib.fleet.cloudlets import Cloudlet
from chalicelib.fleet.geo import Location, distance_km

AHEAD_SECONDS = 7 * 24 * 3600  # of the root's clock: the clocks of agents are hours off, sometimes days
_KEEPALIVES = (2, 200)  # each is a write; the fastest pace that is granted is one in five seconds
_REGISTRATIONS = (0.1, 20)  # a second, and at once: an agent that crashes and starts again, and again
_MOVES = (0.2, 20)
_JUMPS = (1 / 600, 3)  # a position that was wrong at first, and then right
_FASTEST_KM_S = 0.3
_LEEWAY_KM = 100.0  # positions by address or by mast are no better


class Plausibility:
    """What one container remembers of cloudlets. `clock`: seconds since 1970."""

    def __init__(self, clock: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._clock = clock
        self._keepalives, self._registrations, self._moves, self._jumps = (
            Pace(per_second, burst, monotonic)
            for per_second, burst in (_KEEPALIVES, _REGISTRATIONS, _MOVES, _JUMPS)
        )

    def incarnation(self, said: int) -> int:
        """The incarnation that counts: nobody's clock takes him so far ahead that he never gets back."""
        return min(said, int((self._clock() + AHEAD_SECONDS) * 1000))

    def check_keepalive(self, cloudlet: UUID) -> None:
        """Raises `TooMany`."""
        _take(self._keepalives, cloudlet, "This cloudlet sends keepalives too often.")

    def check_registration(self, cloudlet: UUID) -> None:
        """Raises `TooMany`."""
        _take(self._registrations, cloudlet, "This cloudlet registers too often.")

    def check_move(self, row: Cloudlet, location: Location | None) -> None:
        """Whether a cloudlet may be where it says, after where its row is. Raises `TooMany`."""
        _take(self._moves, row.uuid, "This cloudlet moves too often.")
        if row.location is None or location is None:
            return
        seconds = max(0.0, self._clock() - row.last_keepalive)
        if distance_km(row.location, location) > _LEEWAY_KM + _FASTEST_KM_S * seconds:
            _take(self._jumps, row.uuid, "This cloudlet can't have come so far so soon.")


def _take(pace: Pace, cloudlet: UUID, complaint: str) -> None:
    seconds = pace.take(cloudlet)
    if seconds:
        raise TooMany(complaint, seconds)
