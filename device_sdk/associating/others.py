"""The places of an association beside the app's own: one that is prepared, and those that are being left.
Used by `keeper.py`, which guards it; none is forgotten before its backend was given back.
"""

from __future__ import annotations

from collections.abc import Callable

from device_sdk.associating.place import GIVE_BACK_SECONDS, Place
from device_sdk.background import Pending
from device_sdk.errors import SinfoniaError
from device_sdk.target import Target


class Others:
    """`drop` gives a place back and takes the way to it down; that may take seconds, and is done beside.

    `prepared` stands ready; `on_suspicion`: because the app's own place was silent for a moment.
    """

    def __init__(self, drop: Callable[[Place], None], linger_seconds: float) -> None:
        self.prepared: Place | None = None
        self.on_suspicion = False
        self._drop, self._linger_seconds = drop, linger_seconds
        self._leaving: list[tuple[float, Place]] = []
        self._goodbyes: list[Pending[None]] = []

    def prepare(self, place: Place, *, on_suspicion: bool = False) -> None:
        """Have this one ready, and no other."""
        before, self.prepared, self.on_suspicion = self.prepared, place, on_suspicion
        if before is not None and before is not place:
            self.part(before)

    def take(self) -> Place | None:
        """The prepared one, which is then no longer among the others."""
        taken, self.prepared, self.on_suspicion = self.prepared, None, False
        return taken

    def leave(self, place: Place, now: float) -> None:
        """Keep it for a while, for requests that are under way."""
        self._leaving.append((now + self._linger_seconds, place))

    def standing(self, target: Target) -> Place | None:
        """A place that stands for this target; it is no longer being left then."""
        if self.prepared is not None and target.same_backend(self.prepared.target):
            return self.prepared
        for each in self._leaving:
            if target.same_backend(each[1].target):
                self._leaving.remove(each)
                return each[1]
        return None

    @property
    def gone(self) -> bool:
        """Whether there is none, and all that there were have been given back."""
        return self.prepared is None and not self._leaving and all(each.done for each in self._goodbyes)

    def leaves(self, target: Target) -> bool:
        """Whether a place is just being left that stands for this target."""
        return any(target.same_backend(place.target) for _, place in self._leaving)

    def sweep(self, now: float) -> None:
        """Part with those whose time is over."""
        due = [place for until, place in self._leaving if until <= now]
        self._leaving = [each for each in self._leaving if each[0] > now]
        for place in due:
            self.part(place)

    def part(self, place: Place) -> None:
        """Give it back, beside."""
        self._goodbyes = [each for each in self._goodbyes if not each.done]
        self._goodbyes.append(Pending(lambda: self._drop(place), "sinfonia-goodbye"))

    def part_all(self) -> None:
        """Part with all of them."""
        prepared = self.take()
        for place in [place for _, place in self._leaving] + ([prepared] if prepared else []):
            self.part(place)
        self._leaving = []

    def wait(self) -> None:
        """Wait until all were given back, as long as that may take."""
        for goodbye in self._goodbyes:
            try:
                goodbye.result(GIVE_BACK_SECONDS + 1)
            except (SinfoniaError, TimeoutError):
                continue
