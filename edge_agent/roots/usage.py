"""What goes through the tunnels of deployments that a root asked for, to be told to that root.

`upkeep.py` shows it the gateway's counters every few seconds; every ten minutes, and when a deployment ends,
an entry is cut for the root, which `roots.py` tells with its next keepalive. Entries wait in memory while a
root is away, a bounded number; a crash of the agent loses what was not told yet, and what moved in the last
seconds before a deployment's end is not counted.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from edge_agent.deployments.leases import Activity
from edge_agent.deployments.live import Live
from edge_agent.deployments.records import Record
from edge_agent.roots.root_wire import Usage

_LOG = logging.getLogger(__name__)

CUT_SECONDS = 600
MOST_WAITING = 2000
"""For each root: 33 deployments over ten hours."""
_MOST_AT_ONCE = 64
_NOTHING = Activity(0, 0)
_LARGEST_BYTES = (1 << 53) - 1


@dataclass
class _Count:
    """A deployment's traffic since the last cut; `seen` is where the gateway's counters stood."""

    record: Record
    since: int
    seen: Activity
    bytes_in: int = 0
    bytes_out: int = 0

    def add(self, now: Activity) -> None:
        """Counters that went back have started anew."""
        self.bytes_in += _grown(self.seen.received_bytes, now.received_bytes)
        self.bytes_out += _grown(self.seen.sent_bytes, now.sent_bytes)
        self.seen = now


class UsageMeter:
    """Counts and keeps. `times` gives seconds since 1970 for each root's URL, by that root's clock."""

    def __init__(self, times: Mapping[str, Callable[[], float]]) -> None:
        self._times = times
        self._counts: dict[str, _Count] = {}
        self._waiting: dict[str, deque[Usage]] = {url: deque() for url in times}
        self._guard = threading.Lock()

    def note(self, lives: Iterable[Live], activity: Mapping[bytes, Activity]) -> None:
        """Take the gateway's counters; lives that are no longer there have ended."""
        mine = {live.record.name: live for live in lives if live.record.root in self._times}
        with self._guard:
            for name in self._counts.keys() - mine.keys():
                self._cut(self._counts.pop(name))
            counted: set[bytes] = set()  # a device that uses one key for several has one counter
            for live in sorted(mine.values(), key=lambda live: live.record.created):
                if live.key in activity and live.key not in counted:
                    counted.add(live.key)
                    self._count(live, activity[live.key])

    def cut_all(self) -> None:
        """The agent ends: whatever was counted is to be told now."""
        with self._guard:
            for count in self._counts.values():
                self._cut(count)

    def pending(self, root: str) -> Sequence[Usage]:
        """The next entries for a root."""
        with self._guard:
            return list(self._waiting[root])[:_MOST_AT_ONCE]

    def done(self, root: str, entries: Sequence[Usage]) -> None:
        """They need not be told again."""
        with self._guard:
            told = set(entries)
            self._waiting[root] = deque(entry for entry in self._waiting[root] if entry not in told)

    def _count(self, live: Live, now: Activity) -> None:
        record = live.record
        count = self._counts.get(record.name)
        if count is None:
            # Of what an earlier run left the counters stand where they stood; that run told up to there.
            seen = now if live.taken_over else _NOTHING
            count = self._counts[record.name] = _Count(record, int(self._times[record.root]()), seen)
        count.add(now)
        if self._times[record.root]() - count.since >= CUT_SECONDS:
            self._cut(count)

    def _cut(self, count: _Count) -> None:
        record, until = count.record, int(self._times[count.record.root]())
        if until <= count.since:
            count.since = min(until, count.since)  # the root's clock went back, or nothing has passed
            return
        moved = (min(count.bytes_in, _LARGEST_BYTES), min(count.bytes_out, _LARGEST_BYTES))
        waiting = self._waiting[record.root]
        if len(waiting) >= MOST_WAITING:
            waiting.popleft()
            _LOG.warning("usage is lost: its root is away for too long", extra={"root": record.root})
        waiting.append(Usage(record.name, record.app, count.since, until, *moved))
        count.since, count.bytes_in, count.bytes_out = until, 0, 0


def _grown(before: int, now: int) -> int:
    return now - before if now >= before else now
