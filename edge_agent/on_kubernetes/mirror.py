"""A copy of the cluster's objects of one kind, kept up by a watch, so that looking at a thousand deployments
costs the API server and the agent nothing while nothing changes. Made by `sight.py`; calls `api.py`.

A copy that can't be kept up is not shown: `Unavailable`, never an old or an empty one.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from edge_agent.errors import AgentError, Unavailable
from edge_agent.on_kubernetes.api import Api, Object

_LOG = logging.getLogger(__name__)

_WATCH_SECONDS = 50
_SILENT_SECONDS = 120.0
_SYNC_SECONDS = 20.0
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.25, 30.0


class Mirror:
    """Objects of one kind by namespace, each cut down by `keep`. `changed` is told the namespace of each that
    changes. Safe between threads; `clock` is monotonic.
    """

    def __init__(
        self,
        api: Api,
        path: str,
        selector: str,
        keep: Callable[[Object], Object],
        changed: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self._api = api
        self._path = path
        self._selector = selector
        self._keep = keep
        self._told = changed
        self._clock = clock
        self._objects: dict[str, dict[str, Object]] = defaultdict(dict)
        self._trouble = ""
        self._heard_at = float("-inf")
        self._ready = threading.Condition()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def check(self) -> None:
        """Wait for the first copy; raise `Unavailable` where it can't be kept up."""
        with self._ready:
            if self._thread is None:
                self._thread = threading.Thread(target=self._follow, name=f"watch {self._path}", daemon=True)
                self._thread.start()
            self._ready.wait_for(lambda: self._trouble or self._heard_at > float("-inf"), _SYNC_SECONDS)
            if self._trouble or self._clock() - self._heard_at > _SILENT_SECONDS:
                raise Unavailable(self._trouble or "The Kubernetes API has said nothing for too long.")

    def of(self, namespace: str) -> list[Object]:
        """The objects in this namespace; for namespaces, the one of this name."""
        with self._ready:
            return list(self._objects.get(namespace, {}).values())

    def close(self) -> None:
        """Stop following, at the next word from the server."""
        self._ended.set()

    def _follow(self) -> None:
        pause = _SHORTEST_PAUSE
        while not self._ended.is_set():
            try:
                version = self._copy()
                pause = _SHORTEST_PAUSE
                while version and not self._ended.is_set():
                    version = self._listen(version)
            except (AgentError, AttributeError, LookupError, TypeError) as error:
                _LOG.warning("a watch ended", extra={"path": self._path, "reason": str(error)})
                with self._ready:
                    self._trouble = str(error) or "The Kubernetes API sent something else than objects."
                    self._ready.notify_all()
                self._ended.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _copy(self) -> str:
        """Take all anew; returns the version to listen from."""
        items, version = self._api.listing(self._path, labelSelector=self._selector)
        objects: dict[str, dict[str, Object]] = defaultdict(dict)
        for item in items:
            namespace, name = _place(item)
            objects[namespace][name] = self._keep(item)
        with self._ready:
            changed = {*self._objects, *objects}
            self._objects, self._trouble = objects, ""
            self._hear()
            self._ready.notify_all()
        for namespace in changed:
            self._told(namespace)
        return version

    def _listen(self, version: str) -> str:
        """Follow the changes since `version`; returns the next one, or "" where all is to be copied anew."""
        query = {"labelSelector": self._selector, "resourceVersion": version}
        for change in self._api.watch(self._path, _WATCH_SECONDS, **query):
            item: Any = change["object"]
            if change["type"] == "ERROR":
                return ""
            version = str(item["metadata"]["resourceVersion"])
            if change["type"] != "BOOKMARK":
                self._note(item, gone=change["type"] == "DELETED")
            self._hear()
            if self._ended.is_set():
                break
        self._hear()
        return version

    def _note(self, item: Object, *, gone: bool) -> None:
        namespace, name = _place(item)
        with self._ready:
            if gone:
                self._objects[namespace].pop(name, None)
                if not self._objects[namespace]:
                    del self._objects[namespace]
            else:
                self._objects[namespace][name] = self._keep(item)
        self._told(namespace)

    def _hear(self) -> None:
        self._heard_at = self._clock()


def _place(item: Object) -> tuple[str, str]:
    metadata = item["metadata"]
    return str(metadata.get("namespace") or metadata["name"]), str(metadata["name"])
