"""What runs backends and keeps their records, as `lifecycle.py` and `upkeep.py` need it: the port that
`on_kubernetes/` and `on_podman/` fill.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from edge_agent.deployments.records import Observed, Record
from edge_agent.recipes.limits import Limits
from edge_agent.recipes.manifests import Manifest


class Addressing(Protocol):
    """A runtime that gives services addresses of their own, which devices reach as they are."""

    def address(self, record: Record, manifests: Sequence[Manifest]) -> Record:
        """Make the services of a record that was just made, and note their addresses in it; the record with
        them. Raises `Unavailable`, and `DeployFailed` where they can have none.
        """


class Runtime(Protocol):
    """What runs backends and keeps their records. Every method may raise `Unavailable`."""

    def records(self) -> list[Record]:
        """The records of this agent; unreadable ones are logged and left out."""

    def create(self, record: Record) -> None:
        """Make the record, atomically; raises `Conflict` if one of this name exists."""

    def apply(self, record: Record, manifests: Sequence[Manifest], limits: Limits) -> None:
        """Start the backend, which may use so much in all, or wake it; again is harmless. Raises
        `DeployFailed`.
        """

    def rest(self, record: Record) -> None:
        """Take the backend's pods down, and note in the record that it rests: nobody uses it, and it may be
        wanted again. Everything else stays. Again is harmless, and so is a record that is gone.
        """

    def observe(self, records: Sequence[Record]) -> Mapping[str, Observed]:
        """What is there, by deployment name; one whose record is gone is missing."""

    def touch(self, record: Record) -> None:
        """Write down that the deployment is in use."""

    def tell(self, record: Record, reason: str, text: str) -> None:
        """Tell people who look at the record what became of the deployment: `reason` is one word, such as
        `Resting`. Never fails: that nobody could be told is at most logged.
        """

    def delete(self, record: Record) -> None:
        """Remove the backend, then the record; return when both are gone. Again is harmless, and so is a
        record of this name that another agent made.
        """

    def sweep(self, kept: Collection[str]) -> None:
        """Remove whatever of this agent's belongs to none of the deployments named."""
