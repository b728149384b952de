"""Two places to ask: the root, and the cloudlets on the device's own network.

Called by `deploy.py` for targets and for candidates alike. Decides who is asked when, who comes first,
and whose failure matters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from device_sdk.background import Pending
from device_sdk.errors import RootError, SinfoniaError

T = TypeVar("T")
Jit = Literal["prefer", "only", "off"]

#: How long to wait for a root whose answer would come second anyway.
GRACE_SECONDS = 1.0


@dataclass(frozen=True)
class Sources(Generic[T]):
    """How to ask either side.

    `same` says whether two answers are one; `note` hears what was let go, and in which phase.
    """

    root: Callable[[], list[T]]
    nearby: Callable[[], list[T]]
    same: Callable[[T, T], bool]
    note: Callable[[str, str], None]

    def ask(self, jit: Jit, wanted: int, seconds_left: Callable[[], float]) -> list[T]:
        """The answers, those from nearby first.

        `off` asks the root alone; `only` asks it if there is no cloudlet nearby; `prefer` asks both at
        once, and a failure of one does not matter if the other answers.
        """
        if jit == "off":
            return self.root()
        nearby = Pending(self.nearby, "sinfonia-nearby")
        if jit == "only":
            return _in_time(nearby, seconds_left()) or self.root()
        root = Pending(self.root, "sinfonia-root")
        local = self._or_nothing(nearby, seconds_left(), "nearby")
        if not local:
            return _in_time(root, seconds_left())
        patience = 0.0 if len(local) >= wanted else min(GRACE_SECONDS, seconds_left())
        remote = self._or_nothing(root, patience, "root")
        return [*local, *(one for one in remote if not any(self.same(one, other) for other in local))]

    def _or_nothing(self, pending: Pending[list[T]], seconds: float, phase: str) -> list[T]:
        try:
            return pending.result(seconds)
        except TimeoutError:
            return []
        except SinfoniaError as error:
            self.note(phase, str(error))
            return []


def _in_time(pending: Pending[list[T]], seconds: float) -> list[T]:
    try:
        return pending.result(seconds)
    except TimeoutError:
        raise RootError("Nobody answered in time; give it longer, or try another root.") from None
