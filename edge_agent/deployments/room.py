"""How many deployments may be here: in all, and for each root. Asked by `lifecycle.py` before it begins one.

Those that rest count as well, since they may wake at any time; but they make room for new ones, the longest
resting first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge_agent.deployments.live import Live
from edge_agent.errors import Unavailable

_RETRY_SECONDS = 30


class Full(Unavailable):
    """There are as many deployments as there may be: of `root`, or of everybody where that is None."""

    def __init__(self, text: str, root: str | None) -> None:
        super().__init__(text, _RETRY_SECONDS)
        self.root = root


def _no_share(root: str) -> int | None:  # noqa: ARG001 - the signature of a share
    return None


class Room:
    """At most `most` deployments, and of a root's at most what `share` says of its URL: None is no bound.

    The URL is empty for devices that ask themselves.
    """

    def __init__(self, most: int, share: Callable[[str], int | None] = _no_share) -> None:
        self._most = most
        self._share = share

    def check(self, root: str, there: Sequence[Live]) -> None:
        """Raise `Full` where `root` can have no other besides those that are there."""
        standing = [live for live in there if live.usable]
        if len(standing) >= self._most:
            raise Full(f"The cloudlet has {self._most} deployments, as many as its operator allows.", None)
        share = self._share(root)
        if share is not None and sum(live.record.root == root for live in standing) >= share:
            whose = "this root" if root else "devices that ask it themselves"
            raise Full(f"The cloudlet has {share} deployments for {whose}, as many as allowed.", root)
