"""What happens when, for whoever watches: one event at each phase's start and end.

Made by `deploy.py` and `tunnel.py`, shown by `cli/progress.py`, added up by `Timings`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from device_sdk.errors import DeviceError

#: The phases, in the order of a run. `discovery` with `nearby`, and `root`, run side by side.
PHASES = ("key", "discovery", "nearby", "bundle", "root", "tunnel", "choosing", "ready")


@dataclass(frozen=True)
class Event:
    """`phase` has `state` started, noted, ended, failed or skipped, at `at` (seconds of a monotonic clock).

    Skipped: this device can't do it. `detail` is for people. The last three carry the phase's length in
    `seconds`. The phase `trace` only notes the call's trace id.
    """

    phase: str
    state: str
    at: float
    detail: str = ""
    seconds: float | None = None


OnProgress = Callable[[Event], None]


class Timings:
    """How long each phase took, in seconds; an `on_progress` that keeps this and hands events on."""

    def __init__(self, on_progress: OnProgress | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self._next = on_progress or ignore

    def __call__(self, event: Event) -> None:
        """Take note of `event`. A phase that happened twice counts twice."""
        if event.seconds is not None:
            self.seconds[event.phase] = self.seconds.get(event.phase, 0.0) + event.seconds
        self._next(event)

    def to_json(self) -> dict[str, float]:
        """The phases that happened, as `{phase}_s`."""
        return {f"{name}_s": round(self.seconds[name], 4) for name in PHASES if name in self.seconds}


def ignore(_event: Event) -> None:
    """Nobody watches."""


class Reporter:
    """Tells `on_progress` what happens. Events may come from several threads."""

    def __init__(self, on_progress: OnProgress | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = on_progress or ignore
        self.clock = clock

    def note(self, phase: str, detail: str) -> None:
        """Something worth showing within a phase."""
        self._tell(Event(phase, "noted", self.clock(), detail))

    @contextmanager
    def phase(self, name: str, detail: str = "") -> Iterator[None]:
        """Report the start, and the end or failure, of the phase `name`."""
        started = self.clock()
        self._tell(Event(name, "started", started, detail))
        state = "failed"
        try:
            yield
            state = "ended"
        except DeviceError:
            state = "skipped"
            raise
        finally:
            now = self.clock()
            self._tell(Event(name, state, now, detail, now - started))
