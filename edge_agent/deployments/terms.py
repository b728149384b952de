"""What each root may have of the cloudlet, and at what price; and devices that ask it themselves. Asked by
`deploy.py` and `room.py`; pure.

Terms are held to when something new is asked for. What runs stays, also where an operator narrows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from uuid import UUID

from edge_agent.deployments.requirements import Offer
from edge_agent.errors import Forbidden


@dataclass(frozen=True)
class Share:
    """One asker's: deployments at a time, and apps; None is no bound. `price` (an hour, in its currency) and
    `jurisdiction` are what it is told instead of what all are told.
    """

    capacity: int | None = None
    apps: frozenset[UUID] | None = None
    price: float | None = None
    jurisdiction: str | None = None


_ALL = Share()


class Terms:
    """Shares by the URLs of roots, the empty one for devices that ask themselves; who has none has all."""

    def __init__(self, shares: Mapping[str, Share]) -> None:
        self._shares = dict(shares)

    def capacity(self, root: str) -> int | None:
        """How many deployments this asker may have at a time, None for no bound of its own."""
        return self._of(root).capacity

    def check_app(self, root: str, app: UUID) -> None:
        """Raise `Forbidden` where this asker may not have this app here."""
        apps = self._of(root).apps
        if apps is not None and app not in apps:
            whose = "this root" if root else "devices that ask it themselves"
            raise Forbidden(f"The cloudlet's operator has not allowed {whose} the app {app}.")

    def offer(self, root: str, usual: Offer) -> Offer:
        """What this asker is told of the cloudlet, where all others are told the `usual`."""
        share = self._of(root)
        price = usual.price if share.price is None else share.price
        return replace(usual, price=price, jurisdiction=share.jurisdiction or usual.jurisdiction)

    def _of(self, root: str) -> Share:
        return self._shares.get(root, _ALL)
