"""Instant queries of a Prometheus server. Used by `roots/prometheus.py` (how busy the cloudlet is) and
`tunnels/peer_metrics.py` (which devices are there).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import requests

from edge_agent.sessions import read_body

_HTTP_TIMEOUT = (2.0, 4.0)
_MOST_BYTES = 1 << 20


class Server:
    """The server at a URL, below which is `/api/v1/query`; its answers have `most_bytes`."""

    def __init__(self, url: str, session: requests.Session, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._url = url.rstrip("/") + "/api/v1/query"
        self._session = session

    def ask(self, query: str) -> list[tuple[Mapping[str, str], float]]:
        """The labels and value of each sample, one at least; a scalar has no labels.

        Raises `ValueError` where there is none, or one that is no finite number, and what `requests` raises.
        """
        with self._session.get(
            self._url,
            params={"query": query},
            timeout=_HTTP_TIMEOUT,
            allow_redirects=False,
            stream=True,
        ) as answer:
            return _samples(answer.status_code, json.loads(read_body(answer, self._most_bytes)))


def _samples(status: int, answer: Any) -> list[tuple[Mapping[str, str], float]]:
    """`{"data": {"result": [{"metric": {…}, "value": [time, "number"]}]}}`; a scalar's `result` is such a
    pair itself.
    """
    if status != 200:
        said = answer.get("error") if isinstance(answer, dict) else None
        raise ValueError(f"it answers {status}: {said or 'nothing more'}")
    try:
        result = answer["data"]["result"]
        if answer["data"].get("resultType") == "scalar":
            result = [{"value": result}]
        samples: list[tuple[Mapping[str, str], float]] = [
            (dict(one.get("metric") or {}), float(one["value"][1])) for one in result
        ]
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError("the answer has no value") from error
    if not samples:
        raise ValueError("the answer has no value")
    if not all(math.isfinite(value) for _, value in samples):
        raise ValueError("the answer is no finite number")
    return samples
