"""An agent that dies in the middle of a call to its runtime or gateway, as by SIGKILL: nothing of its own
runs afterwards, and what is outside of it stays as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from edge_agent.deployments.leases import Activity
from edge_agent.deployments.records import Observed, Record
from edge_agent.deployments.routes import Peer
from edge_agent.recipes.limits import Limits
from edge_agent.recipes.manifests import Manifest
from tests.fakes.edge_agent_gateway import FakeGateway
from tests.fakes.edge_agent_runtime import FakeRuntime

When = Literal["before", "within", "after"]


class Killed(BaseException):
    """No error that anything may handle: the process is gone."""


class Fuse:
    """Counts calls, and kills at the `at`th: before it does anything, within, or after it did everything."""

    def __init__(self, at: int = 0, when: When = "before") -> None:
        self.calls = 0
        self.dead = False
        self._at = at
        self._when = when

    def strikes(self, when: When) -> bool:
        """Whether the process dies at this point of the call; the dead do nothing more."""
        if self.dead:
            raise Killed
        self.calls += when == "before"
        return self.calls == self._at and when == self._when

    def pass_by(self, when: When) -> None:
        """Die here, if it is so."""
        if self.strikes(when):
            self.dead = True
            raise Killed


class MortalRuntime(FakeRuntime):
    """A runtime whose caller may die. What takes several steps is half done by who dies within."""

    def __init__(self, inner: FakeRuntime, fuse: Fuse) -> None:
        super().__init__(inner.agent, inner.store)
        self._fuse = fuse

    def records(self) -> list[Record]:
        self._fuse.pass_by("before")
        return super().records()

    def create(self, record: Record) -> None:
        self._fuse.pass_by("before")
        super().create(record)
        self._fuse.pass_by("after")

    def address(self, record: Record, manifests: Sequence[Manifest]) -> Record:
        self._fuse.pass_by("before")
        given = super().address(record, manifests)
        self._fuse.pass_by("after")
        return given

    def apply(self, record: Record, manifests: Sequence[Manifest], limits: Limits) -> None:
        self._fuse.pass_by("before")
        if self._fuse.strikes("within"):
            super().apply(record, manifests[: len(manifests) // 2], limits)
            self._fuse.pass_by("within")
        super().apply(record, manifests, limits)
        self._fuse.pass_by("after")

    def rest(self, record: Record) -> None:
        self._fuse.pass_by("before")
        if self._fuse.strikes("within"):
            self.store.applied.pop(record.home, None)
            self._fuse.pass_by("within")
        super().rest(record)
        self._fuse.pass_by("after")

    def observe(self, records: Sequence[Record]) -> Mapping[str, Observed]:
        self._fuse.pass_by("before")
        return super().observe(records)

    def touch(self, record: Record) -> None:
        self._fuse.pass_by("before")
        super().touch(record)

    def tell(self, record: Record, reason: str, text: str) -> None:
        self._fuse.pass_by("before")
        super().tell(record, reason, text)

    def delete(self, record: Record) -> None:
        self._fuse.pass_by("before")
        if self._fuse.strikes("within"):
            self.store.applied.pop(record.home, None)
            self._fuse.pass_by("within")
        super().delete(record)
        self._fuse.pass_by("after")

    def sweep(self, kept: Collection[str]) -> None:
        self._fuse.pass_by("before")
        super().sweep(kept)


class MortalGateway(FakeGateway):
    """A gateway whose caller may die; peers and forwards of `left`, which stay when an agent ends."""

    def __init__(self, fuse: Fuse, left: FakeGateway | None = None) -> None:
        super().__init__()
        self._fuse = fuse
        if left is not None:
            self.allowed, self.forwards, self.seen = left.allowed, left.forwards, left.seen

    def sync(self, peers: Sequence[Peer]) -> None:
        self._fuse.pass_by("before")
        super().sync(peers)
        self._fuse.pass_by("after")

    def activity(self) -> Mapping[bytes, Activity]:
        self._fuse.pass_by("before")
        return super().activity()
