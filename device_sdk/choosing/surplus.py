"""What was deployed and not chosen: given back through its tunnels, then at the root that had it deployed.

Made by `choose.py`; told by it, or by an association once nothing else of it is under way.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from device_sdk.background import Pending
from device_sdk.errors import NotFoundError, SinfoniaError
from device_sdk.target import Keep, Target

RELEASE_SECONDS = 5.0


@dataclass(frozen=True)
class Surplus:
    """`releases` say whether a target was free to be given back; `keep` is the root's, where there is one."""

    releases: Sequence[Pending[bool]] = ()
    keep: Keep | None = None

    @property
    def released(self) -> bool:
        """Whether all were given back, or could not be."""
        return all(release.done for release in self.releases)

    def is_free(self) -> bool:
        """Whether no other program on this device has a tunnel to one of them. Waits for the releases."""
        return all(_was_free(release) for release in self.releases)

    def tell_root(self, chosen: Target) -> None:
        """Have the root let go of all but the chosen one; a root that can't be told loses it by and by.

        Not where another program has one of them: to a root, all programs of a device are one.
        """
        if self.keep is None or chosen.cloudlet is None or not self.is_free():
            return
        with contextlib.suppress(SinfoniaError):
            try:
                self.keep(chosen.cloudlet.uuid)
            except NotFoundError:
                self.keep(None)  # the chosen one is none of the root's, so nothing of the root's stays


def _was_free(release: Pending[bool]) -> bool:
    try:
        return release.result(RELEASE_SECONDS + 1)
    except TimeoutError:  # it does not answer; the root may reach it another way
        return True
