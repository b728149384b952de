"""A thread that is the parent of programs: called by `sandbox.py`.

Linux sends the parent-death signal (prctl(2)) when the thread that forked ends, not its process. So programs
that shall end with a sandbox are started by a thread that ends with it. The signal is asked for some
milliseconds after the fork, so who ends earlier is told directly.
"""

from __future__ import annotations

import queue
import subprocess
import threading
from collections.abc import Callable

from device_sdk.errors import TunnelError

_SECONDS = 15.0

Program = subprocess.Popen[bytes]


class Parent:
    """The thread; it begins with its first program."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._programs: list[Program] = []

    def start(self, popen: Callable[[], Program]) -> Program:
        """What `popen` returns or raises, run by the thread."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="sinfonia-parent", daemon=True)
            self._thread.start()
        done: queue.SimpleQueue[Program | BaseException] = queue.SimpleQueue()

        def job() -> None:
            try:
                done.put(popen())
            except BaseException as error:  # noqa: BLE001 - handed to the caller
                done.put(error)

        self._jobs.put(job)
        try:
            result = done.get(timeout=_SECONDS)
        except queue.Empty:
            raise TunnelError(f"The program was not started within {_SECONDS:g} s.") from None
        if isinstance(result, BaseException):
            raise result
        self._programs = [*(one for one in self._programs if one.returncode is None), result]
        return result

    def end(self) -> None:
        """End the thread: its programs get their signal."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(_SECONDS)
        for program in self._programs:
            program.terminate()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
