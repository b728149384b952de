"""What people are told about a deployment where they look: Kubernetes events on its namespace, and the last
word as an annotation, since `kubectl describe namespace` shows annotations and no events. Pure.
"""

from __future__ import annotations

from datetime import datetime

from edge_agent.deployments.records import Record
from edge_agent.on_kubernetes.namespaces import MANAGER
from edge_agent.recipes.manifests import Manifest

LAST_WORD = "sinfonia/state"
_LENGTH = 900
"""Kubernetes takes 1,024 bytes of text in an event."""


def event(record: Record, reason: str, text: str, time: datetime) -> Manifest:
    """An event about the namespace; a failure is a warning."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ")
    about = {"apiVersion": "v1", "kind": "Namespace", "name": record.home, "namespace": record.home}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": "sinfonia-", "namespace": record.home},
        "involvedObject": about,
        "reason": reason,
        "message": _short(text),
        "type": "Warning" if reason == "Failed" else "Normal",
        "source": {"component": MANAGER},
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }


def last_word(reason: str, text: str, time: datetime) -> dict[str, str]:
    """The annotation that says the same."""
    return {LAST_WORD: f"{reason} at {time.strftime('%Y-%m-%dT%H:%M:%SZ')}: {_short(text)}"}


def _short(text: str) -> str:
    return text.encode()[:_LENGTH].decode(errors="ignore")
