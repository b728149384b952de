"""What `sinfonia` shows on stderr while it works: a living line on a terminal, plain lines elsewhere.

Called by `showing.py`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TextIO

from device_sdk.cli.tables import cut
from device_sdk.progress import Event

_COLUMNS = 80
LABELS = {
    "discovery": "looking around",
    "nearby": "asking nearby",
    "bundle": "handing the app over",
    "root": "asking the root",
    "tunnel": "opening the tunnel",
    "choosing": "measuring",
    "ready": "waiting for the backend",
}


def display(stream: TextIO, *, quiet: bool, verbose: bool) -> Callable[[Event], None]:
    """What shows events on `stream`."""
    if quiet:
        return lambda _event: None
    if stream.isatty() and not verbose:
        return LiveLine(stream)
    return lambda event: _plain(stream, event, verbose=verbose)


def _plain(stream: TextIO, event: Event, *, verbose: bool) -> None:
    if verbose and event.phase == "trace":
        print(f"sinfonia: trace {event.detail}", file=stream, flush=True)
    label = LABELS.get(event.phase)
    if label is None or event.state == "skipped":
        return
    if event.seconds is not None:
        failed = " (failed)" if event.state == "failed" else ""
        print(f"sinfonia: {label}: {event.seconds:.2f} s{failed}", file=stream, flush=True)
    elif verbose and event.detail:
        print(f"sinfonia: {label}: {event.detail}", file=stream, flush=True)


class LiveLine:
    """One line that says what is going on; each phase that ends leaves a line of its own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._running: dict[str, str] = {}
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Show `event`."""
        if event.phase not in LABELS:
            return
        with self._lock:
            if event.seconds is None:
                self._running[event.phase] = event.detail
                done = ""
            else:
                self._running.pop(event.phase, None)
                mark = "✗" if event.state == "failed" else "✓"
                done = f"{mark} {LABELS[event.phase]:<24}{event.seconds:6.2f} s\n"
                done = "" if event.state == "skipped" else done
            self._stream.write(f"\r\x1b[K{done}{self._line()}")
            self._stream.flush()

    def _line(self) -> str:
        parts = (
            f"{LABELS[name]}{f' ({detail})' if detail else ''}" for name, detail in self._running.items()
        )
        line = "; ".join(parts)
        return f"… {cut(line, _width(self._stream) - 3)}" if line else ""


def _width(stream: TextIO) -> int:
    """The columns of the stream's own terminal: standard output may go elsewhere."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or _COLUMNS
    except (OSError, ValueError):
        return _COLUMNS
