"""What runs for an app and key: how it is, and giving it back.

Called by the views; asks the cloudlets that the record names. Where there is no record, status is asked of
those that a deploy would ask: the table of records may have been away.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from chalicelib.accounts.apps import App, AppBook
from chalicelib.choosing.matching import ClientInfo
from chalicelib.deploying.asking import GRACE_SECONDS, PATIENCE_SECONDS, Means, release
from chalicelib.deploying.deployments import Deployment
from chalicelib.deploying.fanout import FanOut, Pace
from chalicelib.deploying.records import MOST_CLAIMED, Record
from chalicelib.errors import NotFound, Unavailable
from chalicelib.fleet.cloudlets import Cloudlet

_MOST_TURNS = 2  # of finding that the record was changed meanwhile


@dataclass(frozen=True, slots=True)
class Standing:
    """The use cases of devices that have a backend."""

    apps: AppBook
    means: Means

    def existing(self, app_uuid: UUID, client: ClientInfo, results: int) -> list[Deployment]:
        """What the cloudlets say; at least one.

        Raises `NotFound` if all say nothing, `Unavailable` if nothing was found and some could not be asked.
        """
        app = self.apps.find(app_uuid)
        rows = self._where(app, client)

        def ask(row: Cloudlet, _pace: Pace) -> list[Deployment]:
            return self.means.agents.existing(row, app_uuid, client, PATIENCE_SECONDS)

        calls = FanOut(
            rows,
            ask,
            wanted=len(rows),
            pace=lambda _: Pace(0.0, PATIENCE_SECONDS, PATIENCE_SECONDS + GRACE_SECONDS),
            monotonic=self.means.monotonic,
        )
        answers = calls.gather(self.means.monotonic() + self.means.deadline_seconds)
        found = [
            each.at(row.uuid, row.name, stale=self.means.selection.is_stale(row))
            for row, deployments in answers
            for each in deployments
        ]
        if not found and calls.failures:
            raise Unavailable(f"Not every cloudlet could be asked: {'; '.join(calls.failures)}")
        if not found:
            raise NotFound("Nothing is deployed for this app and key.")
        return found[:results]

    def release(self, app_uuid: UUID, client: ClientInfo, keep: UUID | None = None) -> None:
        """Have everything removed that runs for this app and key, but for what runs on `keep`.

        Raises `NotFound` for an unknown app or where nothing runs on `keep`, and `Unavailable` where a
        cloudlet could not be asked; it stays in the record, so that it can be released later.
        """
        self.apps.find(app_uuid)
        for _ in range(_MOST_TURNS):
            record = self.means.records.find(app_uuid, client.publickey)
            if record is None:
                raise Unavailable("It is not known where this runs.")
            if keep is not None and keep not in record.cloudlets:
                raise NotFound(f"On the cloudlet {keep} nothing is deployed for this app and key.")
            if self._release(record, client, keep):
                return
        raise Unavailable("It is being deployed at the same time.")

    def _where(self, app: App, client: ClientInfo) -> Sequence[Cloudlet]:
        record = self.means.records.find(app.uuid, client.publickey)
        rows = self.means.selection.find(record.cloudlets) if record is not None else []
        return rows or self.means.selection.demanded(app, client).cloudlets[:MOST_CLAIMED]

    def _release(self, record: Record, client: ClientInfo, keep: UUID | None) -> bool:
        """Release what one record names; False where the record was changed meanwhile."""
        leaving = [uuid for uuid in record.cloudlets if uuid != keep]
        rows = self.means.selection.find(leaving)
        calls = release(self.means, rows, record.app_uuid, client, PATIENCE_SECONDS)
        staying = [uuid for uuid in record.targets if uuid == keep or uuid in calls.failed]
        if staying:
            done = self.means.records.settle(record, staying)[1]
        else:
            done = not record.version or self.means.records.forget(record)
        if done and calls.failures:
            raise Unavailable(f"Not every cloudlet could be asked: {'; '.join(calls.failures)}")
        return done
