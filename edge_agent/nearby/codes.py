"""The one code by which a device can be paired now: a file in the state folder. Issued by
`sinfonia-agent pair`, used up by the running agent (`pairing.py`), so that either may come and go.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_agent.nearby.devices import read_object, write_whole

DIGITS = 6
ATTEMPTS = 3
"""Three guesses at a million codes; then a person has to ask for another one."""
MAX_MINUTES = 60


@dataclass(frozen=True)
class Code:
    """`digits`, good until `until` (seconds since 1970), for so many attempts; `serial` tells two apart."""

    digits: str
    until: float
    attempts: int
    serial: str


class Codes:
    """The code in `folder`. `now` is seconds since 1970."""

    def __init__(self, folder: Path, now: Callable[[], float]) -> None:
        self._folder = folder
        self._path = folder / "pairing-code"
        self._now = now

    def issue(self, seconds: float, chance: Callable[[int], int], serial: str) -> Code:
        """A new code in the place of any before; `chance(n)` is a secret number below n."""
        digits = f"{chance(10**DIGITS):0{DIGITS}}"
        code = Code(digits, self._now() + seconds, ATTEMPTS, serial)
        with self.locked():
            self._write(code)
        return code

    def current(self) -> Code | None:
        """The code that is good now."""
        data = read_object(self._path)
        try:
            code = Code(**data) if data else None
            # A clock that goes back must not make a code good for longer than it ever was.
            good = code and 0 < code.until - self._now() <= MAX_MINUTES * 60 and code.attempts > 0
        except TypeError:
            return None
        return code if good else None

    def spend(self, code: Code) -> int:
        """One attempt was wrong; returns how many are left. Under `locked`."""
        left = code.attempts - 1
        if left > 0:
            self._write(Code(code.digits, code.until, left, code.serial))
        else:
            self.withdraw()
        return left

    def withdraw(self) -> None:
        """There is no code any more."""
        self._path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Alone with the code, among threads and programs."""
        descriptor = os.open(self._folder / "pairing-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _write(self, code: Code) -> None:
        write_whole(self._path, json.dumps(vars(code)))
