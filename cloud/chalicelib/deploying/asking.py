"""Having cloudlets deploy for one device, or release: the part of a deploy that talks to agents.

Used by `deploy.py` and `standing.py`; calls `fanout.py`, and the selection for more cloudlets where all fail.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from chalicelib.accounts.apps import App
from chalicelib.call_values import merged
from chalicelib.choosing.matching import ClientInfo
from chalicelib.deploying.agents import AgentError, Agents
from chalicelib.deploying.deployments import Deployment
from chalicelib.deploying.fanout import FanOut, Pace
from chalicelib.deploying.records import Records
from chalicelib.deploying.selection import Offer, Selection
from chalicelib.errors import Unavailable
from chalicelib.fleet.cloudlets import Cloudlet

PATIENCE_SECONDS = 3.0  # an agent may take this long besides the time for which it may hold its answer
GRACE_SECONDS = 0.5  # a call ends itself; this catches what can't be interrupted, like resolving a name
LONGEST_SECONDS = 27.0  # API Gateway gives up at 29
_UNSUSPECTED_SECONDS = 1.0  # after this another cloudlet is asked besides
_TRUSTED_SECONDS = 2.5  # the same where the backend runs: a device is not moved because of one slow answer
_RESERVE_SECONDS = 5.0  # of the longest: time for others where a held answer never comes
_RELEASE_SECONDS = 1.0
_MOST_SEARCHES = 3

Success = tuple[Cloudlet, Deployment]


@dataclass(frozen=True, slots=True)
class Means:
    """What a deploy works with. Times in seconds; `monotonic` is the clock of time-outs."""

    selection: Selection
    records: Records
    agents: Agents
    deadline_seconds: float
    monotonic: Callable[[], float]


class Asking:
    """All that one deploy asks of agents. Afterwards `over` is called, and late answers are dealt with.

    `surplus` succeeded and were not needed. `failures` are for people. `trusted`: where the backend runs.
    """

    def __init__(self, means: Means, app: App, client: ClientInfo, hold_seconds: float) -> None:
        self.failures: list[str] = []
        self.surplus: list[Cloudlet] = []
        self.trusted: Sequence[UUID] = ()
        self._means = means
        self._app = app
        self._client = replace(client, values=merged(app.values, client.values)) if app.values else client
        self._hold_seconds = min(hold_seconds, LONGEST_SECONDS - _RESERVE_SECONDS)
        self._begun = means.monotonic()
        seconds = max(means.deadline_seconds, hold_seconds + 2 * PATIENCE_SECONDS)
        self._end = self._begun + min(seconds, LONGEST_SECONDS)
        self._asked: set[UUID] = set()
        self._succeeded: set[UUID] = set()
        self._over = threading.Event()

    @property
    def lost(self) -> set[UUID]:
        """Those that were asked and have not succeeded."""
        return self._asked - self._succeeded

    def over(self) -> None:
        """Nothing more will be asked, and the record says what it says."""
        self._over.set()

    def extend(self, seconds: float) -> None:
        """Have at least so much time from now on."""
        self._end = max(self._end, self._means.monotonic() + seconds)

    def ask(self, first: Sequence[Cloudlet], wanted: int, offer: Offer | None = None) -> list[Success]:
        """Have cloudlets deploy, in this order, until so many have.

        Where all fail and the offer that they come from says that there are more, those are asked too.
        """
        calls = FanOut(
            self._supply(first, offer),
            self._deploy,
            wanted=wanted,
            pace=self._pace,
            monotonic=self._means.monotonic,
            late=self._too_late,
        )
        found = calls.gather(self._end)
        self._means.selection.setbacks.note(calls.failed)
        self._means.selection.setbacks.note(calls.refused, self._app.uuid)
        self.failures += calls.failures
        self.surplus += calls.surplus
        self._succeeded.update(row.uuid for row in [*calls.surplus, *(row for row, _ in found)])
        return found

    def release(self, cloudlets: Iterable[Cloudlet]) -> None:
        """Have removed what runs there; what can't be, its lease reclaims."""
        release(self._means, cloudlets, self._app.uuid, self._client, _RELEASE_SECONDS)

    def _supply(self, first: Sequence[Cloudlet], offer: Offer | None) -> Iterator[Cloudlet]:
        rows = first
        for _ in range(_MOST_SEARCHES):
            for row in rows:
                self._asked.add(row.uuid)
                yield row
            if offer is None or not offer.more:
                return
            try:
                offer = self._means.selection.offer(self._app, self._client, without=self._asked)
            except Unavailable:
                return  # those that were found first may still answer
            rows = offer.fresh

    def _pace(self, cloudlet: Cloudlet) -> Pace:
        """For the next question: all answers together are held for no longer than the device wants."""
        left = self._begun + self._hold_seconds - self._means.monotonic()
        return Pace(
            hold_seconds=max(0.0, round(left, 1)),
            unsuspected_seconds=_TRUSTED_SECONDS if cloudlet.uuid in self.trusted else _UNSUSPECTED_SECONDS,
            patience_seconds=PATIENCE_SECONDS + GRACE_SECONDS,
        )

    def _deploy(self, cloudlet: Cloudlet, pace: Pace) -> Deployment:
        left = self._end - self._means.monotonic()
        seconds = min(left, pace.hold_seconds + PATIENCE_SECONDS)
        return self._means.agents.deploy(cloudlet, self._app.uuid, self._client, pace.hold_seconds, seconds)

    def _too_late(self, cloudlet: Cloudlet) -> None:
        """What a cloudlet started after it was given up is not wanted, unless the record names it."""
        self._over.wait(LONGEST_SECONDS)
        record = self._means.records.find(self._app.uuid, self._client.publickey)
        if record is None or cloudlet.uuid in record.cloudlets:
            return
        try:
            self._means.agents.release(cloudlet, self._app.uuid, self._client, PATIENCE_SECONDS)
        except AgentError:
            return  # its lease reclaims it


def release(
    means: Means, cloudlets: Iterable[Cloudlet], app_uuid: UUID, client: ClientInfo, seconds: float
) -> FanOut[None]:
    """Have these cloudlets remove what they run for an app and key, all at once; what came of it."""
    rows = list(cloudlets)
    calls: FanOut[None] = FanOut(
        rows,
        lambda row, _: means.agents.release(row, app_uuid, client, seconds),
        wanted=len(rows),
        pace=lambda _: Pace(0.0, seconds, seconds),
        monotonic=means.monotonic,
    )
    calls.gather(means.monotonic() + seconds)
    return calls
