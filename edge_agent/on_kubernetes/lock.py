"""One running agent for each identity in a cluster: a `Lease` object in the agent's own namespace, held as
leaders are elected in Kubernetes. A second replica or a copied state folder is refused with the holder named.

Called by `cluster.py`. Other machines' clocks are never trusted: a lease has run out when it was not renewed
for its duration by our own clock. Whoever loses it changes nothing any more, and destroys nothing either.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from edge_agent.errors import Unavailable
from edge_agent.on_kubernetes.api import Api, Object, Refused
from edge_agent.on_kubernetes.namespaces import bare_object, micro_time

_LOG = logging.getLogger(__name__)

LEASE_SECONDS = 30
_RENEW_SECONDS = 10.0
_TRY_SECONDS = 5.0


class Lock:
    """The lease of this agent's identity in `namespace`. `holder` names this installation: the same after a
    restart, another for a copy. `clock` is monotonic. Safe between threads.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        agent: UUID,
        holder: str,
        *,
        clock: Callable[[], float],
        now: Callable[[], datetime],
    ) -> None:
        self._api = api
        self._leases = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._name = f"sinfonia-agent-{agent}"
        self._agent = agent
        self._holder = holder
        self._clock = clock
        self._now = now
        self._renewed_at = float("-inf")
        self._other = ""
        self._seen: tuple[str, float] = ("", float("-inf"))
        self._busy = threading.Lock()
        self._released = threading.Event()

    def check(self) -> None:
        """Raise `Unavailable` unless this agent holds the lease."""
        if self._other:
            raise Unavailable(self._refusal())
        if self._clock() - self._renewed_at > LEASE_SECONDS:
            raise Unavailable(
                "This agent's lease in the cluster is not renewed: it changes nothing until it is."
            )

    def claim(self) -> None:
        """Take the lease, or renew it where that is due; raises `Unavailable` where another holds it."""
        with self._busy:
            if not self._other and self._clock() - self._renewed_at < _RENEW_SECONDS:
                return
            started = self._clock()
            try:
                self._take()
            except Refused as error:
                if error.status == 409:  # another was quicker
                    raise Unavailable("The agent's lease in the cluster changed just now.") from error
                raise Unavailable(f"The agent's lease in the cluster can't be had: {error}") from error
            if self._other:
                _LOG.info("no other agent of this identity is left", extra={"holder": self._other})
            self._renewed_at, self._other = started, ""

    def keep(self) -> None:
        """Renew it until it is released; for a thread of its own."""
        while not self._released.wait(_TRY_SECONDS):
            try:
                self.claim()
            except Unavailable as error:
                _LOG.warning("the agent's lease in the cluster is not renewed", extra={"reason": str(error)})

    def release(self) -> None:
        """Leave the lease to the next one at once."""
        self._released.set()
        with self._busy:
            if self._renewed_at == float("-inf") or self._other:
                return
            self._renewed_at = float("-inf")
            try:
                found = self._read()
                if found is not None and _spec(found).get("holderIdentity") == self._holder:
                    self._write(found, "")
            except (Refused, Unavailable) as error:
                _LOG.warning("the agent's lease stays", extra={"reason": str(error)})

    def _take(self) -> None:
        found = self._read()
        if found is None:
            body = bare_object(
                "coordination.k8s.io/v1", "Lease", self._name, spec=self._lease(self._holder, 0)
            )
            self._api.call("POST", self._leases, body)
            return
        holder = str(_spec(found).get("holderIdentity") or "")
        if holder not in ("", self._holder) and not self._ran_out(found):
            self._other = holder
            raise Unavailable(self._refusal())
        self._write(found, self._holder)

    def _ran_out(self, found: Object) -> bool:
        """Whether the lease has stayed the same for its duration, by our clock."""
        version = str(found["metadata"].get("resourceVersion"))
        if version != self._seen[0]:
            self._seen = version, self._clock()
        seconds = _spec(found).get("leaseDurationSeconds")
        return self._clock() - self._seen[1] > (seconds if type(seconds) is int else LEASE_SECONDS)

    def _read(self) -> Object | None:
        try:
            found = self._api.call("GET", f"{self._leases}/{self._name}")
        except Refused as error:
            if error.status == 404:
                return None
            raise
        if not isinstance(found.get("metadata"), dict):
            raise Unavailable("The Kubernetes API's answer is no Lease.")
        return found

    def _write(self, found: Object, holder: str) -> None:
        """Replace the lease that was read; the server refuses it (409) where it changed meanwhile."""
        before = _spec(found)
        transitions = before.get("leaseTransitions")
        moved = holder != before.get("holderIdentity")
        spec = self._lease(holder, (transitions if type(transitions) is int else 0) + moved)
        if not moved:
            spec["acquireTime"] = before.get("acquireTime") or spec["acquireTime"]
        self._api.call("PUT", f"{self._leases}/{self._name}", {**found, "spec": spec})

    def _lease(self, holder: str, transitions: int) -> Object:
        now = micro_time(self._now())
        spec = {"leaseDurationSeconds": LEASE_SECONDS, "leaseTransitions": transitions, "renewTime": now}
        return {**spec, "holderIdentity": holder, "acquireTime": now}

    def _refusal(self) -> str:
        return (
            f"Another agent with this identity ({self._agent}) runs on this cluster: {self._other}."
            " Stop it, or give this one a state folder of its own."
        )


def _spec(lease: Object) -> dict[str, Any]:
    spec = lease.get("spec")
    return spec if isinstance(spec, dict) else {}
