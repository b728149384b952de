"""Running the app's own program behind the tunnel, as a shell would run it.

Called by `tunnel.py`. Signals that reach this process go to the program, and its exit status comes back.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from types import FrameType

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_FROM_KEYBOARD = (signal.SIGINT, signal.SIGQUIT)


def run_command(spawn: Callable[[], subprocess.Popen[bytes]]) -> int:
    """The exit status of what `spawn` starts; 128 + n if signal n ended it.

    Signals are handed on if this is the main thread; elsewhere Python can't receive them.
    """
    with _forwarding() as hand_on:
        process = spawn()
        hand_on(process)
        status = process.wait()
    return status if status >= 0 else 128 - status


@contextlib.contextmanager
def _forwarding() -> Iterator[Callable[[subprocess.Popen[bytes]], None]]:
    process: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        if number in _FROM_KEYBOARD and _in_foreground():
            return  # the terminal has sent it to the program as well
        if process is None:
            early.append(number)
        else:
            process.send_signal(number)

    def hand_on(started: subprocess.Popen[bytes]) -> None:
        nonlocal process
        process = started
        for number in early:
            process.send_signal(number)

    if threading.current_thread() is not threading.main_thread():
        yield hand_on
        return
    before = {number: signal.signal(number, handle) for number in FORWARDED}
    try:
        yield hand_on
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_foreground() -> bool:
    """Whether this process belongs to those that the terminal's keys signal."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
