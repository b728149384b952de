"""How deployments stand, as the API server tells it: called by `cluster.py`; calls `api.py`, `mirror.py` and
`pod_status.py`.

A few deployments are asked for one by one, which shows at once what just changed. Many are looked up in
mirrors that watches keep up, so that a thousand ready ones cost next to nothing. Nothing is taken for gone
because a mirror lacks it: the server itself is asked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from edge_agent.deployments.records import AGENT_LABEL, PREFIX, DamagedRecord, Observed, Record
from edge_agent.errors import AgentError, Unavailable
from edge_agent.on_kubernetes.api import Api, Object, Refused
from edge_agent.on_kubernetes.mirror import Mirror
from edge_agent.on_kubernetes.namespaces import MANAGER, RESTING
from edge_agent.on_kubernetes.pod_status import (
    Trouble,
    judge,
    last_warning,
    missing_workloads,
    refusal,
    refused,
    trouble,
)

_LOG = logging.getLogger(__name__)

_FEW = 3
_WARNING_SECONDS = 5.0
_QUICK_SECONDS, _SLOW_SECONDS = 0.2, 30.0
_LAST_LINES = 8
_LAST_BYTES = 1000
_LOG_SECONDS = 10.0
_NO_LOG = "unable to retrieve container logs"
"""What a kubelet sends as the log while a container is being replaced; it has one again a little later."""
_KINDS = ("services", "endpoints", "pods")


@dataclass
class _Wait:
    """What a deployment that does not run waits for: since when, and the last warning about it."""

    since: float
    trouble_since: float | None = None
    warning: tuple[str, str] | None = None
    asked_at: float = float("-inf")
    refusal: Trouble | None = None
    refusal_asked_at: float = float("-inf")


class Sight:
    """The deployments of one agent, seen. `clock` is monotonic."""

    def __init__(self, agent: UUID, api: Api, clock: Callable[[], float]) -> None:
        self._api = api
        self._clock = clock
        self._selector = f"{AGENT_LABEL}={agent}"
        self._waits: dict[str, _Wait] = {}
        self._ready: dict[str, Observed] = {}
        self._unchanged: set[str] = set()
        self._mirrors = {
            kind: Mirror(api, f"/api/v1/{kind}", self._selector, keep, self._look_again, clock)
            for kind, keep in (("namespaces", _keep_metadata), *((kind, _keep_all) for kind in _KINDS))
        }

    def records(self) -> Iterator[tuple[Record, bool]]:
        """All records, and which of them rest; a namespace that is being deleted is none."""
        try:
            items = self._api.items("/api/v1/namespaces", labelSelector=self._selector)
        except Refused as error:
            raise _unreadable(error) from error
        for namespace in items:
            metadata = namespace["metadata"]
            if not metadata.get("deletionTimestamp"):
                try:
                    yield read_record(metadata), RESTING in (metadata.get("annotations") or {})
                except DamagedRecord as error:
                    _LOG.warning(
                        "not a record", extra={"namespace": metadata.get("name"), "reason": str(error)}
                    )

    def observe(self, records: Sequence[Record]) -> dict[str, Observed]:
        """What is there, by deployment name; one whose record is gone is missing. Raises `Unavailable`."""
        if len(records) > _FEW:
            for mirror in self._mirrors.values():
                mirror.check()
        observed = {}
        for record in records:
            seen = self._in_mirror(record) if len(records) > _FEW else self._at_server(record)
            if seen is not None:
                observed[record.name] = seen
        return observed

    def forget(self, record: Record) -> None:
        """The deployment is gone."""
        self._waits.pop(record.name, None)
        self._look_again(record.home)

    def close(self) -> None:
        """Stop the watches."""
        for mirror in self._mirrors.values():
            mirror.close()

    def _in_mirror(self, record: Record) -> Observed | None:
        known = self._ready.get(record.home)
        if known is not None:
            return known
        found = self._mirrors["namespaces"].of(record.home)
        if not found:
            return self._at_server(record)
        if _is_ending(found[0]):
            return None
        if _rests(found[0]):
            return Observed("Resting")
        self._unchanged.add(record.home)
        seen = self._judge(record, *(self._mirrors[kind].of(record.home) for kind in _KINDS))
        if seen.state == "Ready" and record.home in self._unchanged:
            self._ready[record.home] = seen
        return seen

    def _at_server(self, record: Record) -> Observed | None:
        path = f"/api/v1/namespaces/{record.home}"
        try:
            namespace = self._api.call("GET", path)
            if _is_ending(namespace) or not self._is_mine(namespace):
                return None
            if _rests(namespace):
                return Observed("Resting")
            objects = (self._api.items(f"{path}/{kind}", labelSelector=self._selector) for kind in _KINDS)
            return self._judge(record, *objects)
        except Refused as error:
            if error.status == 404:
                return None
            raise _unreadable(error) from error

    def _is_mine(self, namespace: Object) -> bool:
        key, value = self._selector.split("=")
        return bool((namespace["metadata"].get("labels") or {}).get(key) == value)

    def _judge(
        self, record: Record, services: Sequence[Object], endpoints: Sequence[Object], pods: Sequence[Object]
    ) -> Observed:
        seen = judge(record, services, endpoints, pods)
        if seen.state == "Ready":
            self._waits.pop(record.name, None)
            return seen
        wait = self._waits.setdefault(record.name, _Wait(self._clock()))
        found = trouble(pods) or self._refusal(record, pods, wait)
        if found is None:
            wait.trouble_since = None
            warning = self._warning(record, wait)
            reason = f"{seen.reason} ({': '.join(warning)})" if warning else seen.reason
            return Observed("Deploying", reason, seen.endpoints)
        if wait.trouble_since is None:
            wait.trouble_since = self._clock()
        waited = self._clock() - wait.trouble_since
        said = self._last_lines(record, found) if found.pod else ""
        if waited < found.patience_seconds or (said is None and waited < _LOG_SECONDS):
            return Observed("Deploying", found.text, seen.endpoints)
        return Observed("Failed", found.text + (f" It said last: {said}" if said else ""), seen.endpoints)

    def _refusal(self, record: Record, pods: Sequence[Object], wait: _Wait) -> Trouble | None:
        """Why some workload has no pods: Deployments say so themselves, of others events tell. Asked quickly
        at first, then slower and slower.
        """
        now = self._clock()
        pause = min(_SLOW_SECONDS, max(_QUICK_SECONDS, (now - wait.since) / 10))
        if missing_workloads(record, pods) and now - wait.refusal_asked_at >= pause:
            wait.refusal_asked_at = now
            wait.refusal = refused(self._listed(f"/apis/apps/v1/namespaces/{record.home}/deployments"))
            warning = self._warning(record, wait)
            if wait.refusal is None and warning and warning[0] == "FailedCreate":
                wait.refusal = refusal(warning[1])
        return wait.refusal if missing_workloads(record, pods) else None

    def _warning(self, record: Record, wait: _Wait) -> tuple[str, str] | None:
        """The last warning in its namespace, if it waits for long enough to ask; asked now and then."""
        now = self._clock()
        if now - wait.since >= _WARNING_SECONDS <= now - wait.asked_at:
            wait.asked_at = now
            events = self._listed(
                f"/api/v1/namespaces/{record.home}/events", fieldSelector="type=Warning", labels=False
            )
            wait.warning = last_warning(events, MANAGER)
        return wait.warning

    def _listed(self, path: str, *, labels: bool = True, **query: str) -> list[Object]:
        selector = {"labelSelector": self._selector} if labels else {}
        try:
            return self._api.items(path, **selector, **query)
        except Refused as error:
            if error.status == 404:
                return []
            raise _unreadable(error) from error

    def _last_lines(self, record: Record, found: Trouble) -> str | None:
        """What the container said before it ended; None where that can't be had now."""
        path = f"/api/v1/namespaces/{record.home}/pods/{found.pod}/log"
        query = {"container": found.container, "tailLines": str(_LAST_LINES), "limitBytes": str(_LAST_BYTES)}
        for previous in ("true", "false"):
            with suppress(AgentError):
                said = self._api.text(path, previous=previous, **query)
                if not said.startswith(_NO_LOG):
                    return _printable(said)
        return None

    def _look_again(self, namespace: str) -> None:
        self._unchanged.discard(namespace)
        self._ready.pop(namespace, None)


def read_record(metadata: Object) -> Record:
    """The record that a namespace is; raises `DamagedRecord`."""
    record = Record.read({**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})})
    if record.home != metadata["name"]:
        raise DamagedRecord(f"it says that it is {record.name}; a namespace of {PREFIX}… is needed")
    return record


def _keep_metadata(namespace: Object) -> Object:
    kept = ("name", "labels", "annotations", "deletionTimestamp")
    return {"metadata": {name: namespace["metadata"].get(name) for name in kept}}


def _keep_all(item: Object) -> Object:
    """All but what is never looked at, which is most of it."""
    metadata = {name: item["metadata"].get(name) for name in ("name", "labels", "deletionTimestamp")}
    spec = {"ports": (item.get("spec") or {}).get("ports")}
    return {"metadata": metadata, "spec": spec, "status": item.get("status"), "subsets": item.get("subsets")}


def _is_ending(namespace: Object) -> bool:
    return bool(namespace["metadata"].get("deletionTimestamp"))


def _rests(namespace: Object) -> bool:
    return RESTING in (namespace["metadata"].get("annotations") or {})


def _printable(text: str) -> str:
    """A guest's own words, made harmless: one line, no control characters, bounded."""
    words = " / ".join(line.strip() for line in text.splitlines() if line.strip())
    return "".join(one if one.isprintable() else "?" for one in words)[-_LAST_BYTES:]


def _unreadable(error: Refused) -> Unavailable:
    return Unavailable(f"Kubernetes can't be read: {error}")
