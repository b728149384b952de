"""What the agent counts, in Prometheus' format: the only module that knows its client. Made by `agent.py`,
which hands its methods to those who count as plain callables; served by `servers.py`, with the probes of a
kubelet beside it.

Names follow Prometheus' conventions: https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

import re
from collections import Counter as Count
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily

from edge_agent.deployments.live import Phase
from edge_agent.errors import AgentError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STALLED_SECONDS = 300.0
"""An upkeep that has not ended a round for so long hangs: the calls of a round together time out sooner, also
where the API server answers none of them.
"""

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0)
_CALL_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_REASONS = (
    ("image", r"image|ErrImage|pull"),
    ("quota", r"quota|limit|exceed"),
    ("unschedulable", r"node|schedul|insufficient"),
    ("crash", r"ends again|crash|OOM|exit|status \d"),
    ("recipe", r"recipe|chart|helm|manifest"),
    ("timeout", r"in time|deadline|timed? ?out"),
    ("removed", r"removed"),
)
"""What a person first wants to know of a failure; the first that fits. The log has the whole reason."""
_RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
"""RFC 1035, 4.1.1."""

Part = TypeVar("Part")


class Deployment(Protocol):
    """What is counted of a deployment."""

    @property
    def phase(self) -> Phase:
        """How far it is."""

    @property
    def barred(self) -> bool:
        """Whether it has no tunnel."""


class Metrics:
    """All figures of one agent, in a registry of their own. `clock` is monotonic, `offered` says whether new
    backends are begun; safe between threads.
    """

    def __init__(
        self,
        version: str,
        runtime: str,
        deployments: Callable[[], Iterable[Deployment]],
        clock: Callable[[], float],
        offered: Callable[[], bool] = lambda: True,
    ) -> None:
        self._clock = clock
        self._round_ended_at: float | None = None
        self.registry = registry = CollectorRegistry()
        registry.register(_Table(deployments))
        info = Gauge(
            "sinfonia_agent_build_info", "Version and runtime", ["version", "runtime"], registry=registry
        )
        info.labels(version, runtime).set(1)
        welcome = Gauge(
            "sinfonia_agent_offered",
            "1 while new backends are welcome and could be started",
            registry=registry,
        )
        welcome.set_function(lambda: float(offered()))
        self._phases = Histogram(
            "sinfonia_agent_deploy_seconds",
            "How long deployments were in a phase that ended: starting, watched",
            ["phase"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._failures = _counter(
            "deploy_failures", "Failed deployments by kind of reason", ["reason"], registry
        )
        self._keepalives = _counter(
            "root_words", "What was said to roots, by outcome", ["root", "outcome"], registry
        )
        self._queries = _counter(
            "dns_queries", "Names that devices asked for, by answer", ["rcode"], registry
        )
        self._requests = _counter(
            "requests", "Calls of the API by method and status", ["method", "code"], registry
        )
        self._calls = Histogram(
            "sinfonia_agent_call_seconds",
            "Calls to the runtime and the gateway",
            ["part", "operation"],
            buckets=_CALL_SECONDS,
            registry=registry,
        )
        self._call_failures = _counter(
            "call_failures", "Such calls that failed", ["part", "operation"], registry
        )
        self._rounds = Histogram(
            "sinfonia_agent_reconcile_seconds",
            "Rounds of the upkeep",
            buckets=_CALL_SECONDS,
            registry=registry,
        )
        for reason, _ in (*_REASONS, ("other", "")):
            self._failures.labels(reason)

    def turned(self, before: Phase, after: Phase, seconds: float, reason: str) -> None:
        """A deployment left a phase after so many seconds."""
        if before in (Phase.STARTING, Phase.WATCHED):
            self._phases.labels(before.name.lower()).observe(max(seconds, 0.0))
        if after is Phase.FAILED:
            self._failures.labels(reason_class(reason)).inc()

    def said(self, root: str, outcome: str) -> None:
        """Something was said to a root; `outcome` is of a few words: heard, refused, away."""
        self._keepalives.labels(root, outcome).inc()

    def asked(self, rcode: int) -> None:
        """A name was asked for, and answered so."""
        self._queries.labels(_RCODES.get(rcode, "OTHER")).inc()

    def round(self, work: Callable[[], None]) -> None:
        """Do a round of the upkeep, and time it."""
        begun = self._clock()
        self._round_ended_at = self._round_ended_at or begun
        try:
            work()
        finally:
            self._round_ended_at = self._clock()
            self._rounds.observe(self._round_ended_at - begun)

    def alive(self) -> bool:
        """Whether the upkeep still ends its rounds; also before the first one."""
        ended = self._round_ended_at
        return ended is None or self._clock() - ended < STALLED_SECONDS

    def timed(self, name: str, part: Part) -> Part:
        """The part, with each of its calls timed and counted."""
        return cast("Part", _Timed(part, lambda operation, call: self._timed_call(name, operation, call)))

    def _timed_call(self, name: str, operation: str, call: Callable[[], Any]) -> Any:
        begun = self._clock()
        try:
            return call()
        except AgentError:
            self._call_failures.labels(name, operation).inc()
            raise
        finally:
            self._calls.labels(name, operation).observe(self._clock() - begun)

    def counted(self, app: WSGIApplication) -> WSGIApplication:
        """The application, with its answers counted. Labels are of bounded sets: guests choose none."""

        def count(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            method = environ.get("REQUEST_METHOD", "")

            def start(status: str, *rest: Any) -> Any:
                self._requests.labels(method if method in _METHODS else "other", status[:3]).inc()
                return start_response(status, *rest)

            return app(environ, cast("StartResponse", start))

        return count

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self.registry)


def make_metrics_api(metrics: Metrics, ready: Callable[[], bool]) -> WSGIApplication:
    """`/metrics`; `/healthz`: the upkeep lives; `/readyz`: it serves. For the operator's networks alone."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path, method = environ.get("PATH_INFO", ""), environ.get("REQUEST_METHOD")
        if method not in ("GET", "HEAD"):
            status, body = "405 Method Not Allowed", b"GET it\n"
        elif path == "/metrics":
            status, body = "200 OK", metrics.text()
        elif path in ("/healthz", "/readyz"):
            good = metrics.alive() if path == "/healthz" else ready()
            status, body = (
                ("200 OK", b"ok\n") if good else ("503 Service Unavailable", b"not yet, or no more\n")
            )
        else:
            status, body = "404 Not Found", b"/metrics, /healthz, /readyz\n"
        start_response(status, [("Content-Type", CONTENT_TYPE), ("Content-Length", str(len(body)))])
        return [body] if method != "HEAD" else []

    return app


def reason_class(reason: str) -> str:
    """One word for why a deployment failed."""
    return next((word for word, seen in _REASONS if re.search(seen, reason, re.IGNORECASE)), "other")


class _Table:
    """Deployments by phase and peers, looked up when they are asked for."""

    def __init__(self, deployments: Callable[[], Iterable[Deployment]]) -> None:
        self._deployments = deployments

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Names, without looking anything up."""
        yield GaugeMetricFamily("sinfonia_agent_deployments", "Deployments by state")
        yield GaugeMetricFamily("sinfonia_agent_peers", "Devices that have a tunnel")

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The figures as of now."""
        lives = list(self._deployments())
        states = Count(live.phase for live in lives)
        family = GaugeMetricFamily("sinfonia_agent_deployments", "Deployments by state", labels=["state"])
        for phase in Phase:
            family.add_metric([phase.name.lower()], states[phase])
        yield family
        peers = sum(not live.barred for live in lives)
        yield GaugeMetricFamily("sinfonia_agent_peers", "Devices that have a tunnel", value=peers)


class _Timed:
    """Stands for a part, and lets `timed` do each of its calls."""

    def __init__(self, part: object, timed: Callable[[str, Callable[[], Any]], Any]) -> None:
        self._part = part
        self._timed = timed

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        if not callable(found):
            return found

        @wraps(found)
        def call(*arguments: Any, **options: Any) -> Any:
            return self._timed(name, lambda: found(*arguments, **options))

        return call


def _counter(name: str, text: str, labels: list[str], registry: CollectorRegistry) -> Counter:
    return Counter(f"sinfonia_agent_{name}", text, labels, registry=registry)
