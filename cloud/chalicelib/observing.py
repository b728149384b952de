"""What one request leaves behind: its trace, and what it counted, whatever thread or module did the work.

Begun and ended by `lambda_app.py` around each request; called from anywhere below it. Traces are those of W3C
Trace Context (level 1), metrics the lines of CloudWatch's embedded metric format, so that neither needs a
call or a library of its own.
"""

import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_MOST_NAMES = 64  # metrics a request; each is paid for by the month


@dataclass(slots=True)
class Observation:
    """One request: its trace, its own span, and sums by metric name."""

    trace_id: str
    span_id: str
    flags: str = "01"
    sums: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, traceparent: str | None) -> "Observation":
        """Going on with the caller's trace, or a new one where it has none or a malformed one."""
        found = _TRACEPARENT.fullmatch((traceparent or "").strip())
        span_id = secrets.token_hex(8)
        if found is None:
            return cls(secrets.token_hex(16), span_id)
        return cls(found[1], span_id, found[3])

    @property
    def traceparent(self) -> str:
        """As the next server is told."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


_current: ContextVar[Observation | None] = ContextVar("observation", default=None)


@contextmanager
def observing(traceparent: str | None) -> Iterator[Observation]:
    """Observe what happens in the block. Threads see it if they run in a copy of its context."""
    observation = Observation.of(traceparent)
    token = _current.set(observation)
    try:
        yield observation
    finally:
        _current.reset(token)


def trace_id() -> str | None:
    """The trace of the request that this thread works for."""
    observation = _current.get()
    return observation.trace_id if observation is not None else None


def trace_headers() -> dict[str, str]:
    """What to send along to another server."""
    observation = _current.get()
    return {} if observation is None else {"traceparent": observation.traceparent}


def count(name: str, amount: float = 1.0) -> None:
    """Add to a metric of the request; without a request nothing is counted."""
    observation = _current.get()
    if observation is not None and (name in observation.sums or len(observation.sums) < _MOST_NAMES):
        observation.sums[name] = observation.sums.get(name, 0.0) + amount


def embedded_metrics(
    namespace: str, route: str, duration_ms: float, status: int, sums: Mapping[str, float], now_ms: int
) -> dict[str, Any]:
    """The members that make a log line a carrier of metrics.

    Latency and errors are kept by route, what was counted over all routes: each pair is billed as a metric.
    Source: Amazon CloudWatch User Guide, "Specification: Embedded metric format".
    """
    by_route = {
        "Latency": duration_ms,
        "ClientErrors": int(400 <= status < 500),
        "ServerErrors": int(status >= 500),
    }
    units = {"Latency": "Milliseconds"}

    def directive(dimensions: list[list[str]], names: Mapping[str, float]) -> dict[str, Any]:
        metrics = [{"Name": name, "Unit": units.get(name, "Count")} for name in names]
        return {"Namespace": namespace, "Dimensions": dimensions, "Metrics": metrics}

    directives = [directive([["Route"]], by_route)]
    if sums:
        directives.append(directive([[]], sums))
    return {
        "_aws": {"Timestamp": now_ms, "CloudWatchMetrics": directives},
        "Route": route,
        **by_route,
        **sums,
    }
