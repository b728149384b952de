"""What the agent asks over HTTP: roots, their clocks, Prometheus; and the recipes that it would serve. Called
by `check.py`; every call is bounded in time and size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import requests

from edge_agent.checking.findings import Finding
from edge_agent.errors import AgentError
from edge_agent.sessions import read_body
from edge_agent.wire import Resources

_TIMEOUT = (3.0, 10.0)
_MOST_BYTES = 1 << 20
_SKEW_SECONDS = 60.0
_MOST_RECIPES = 50


def root(url: str, session: requests.Session, now: Callable[[], float]) -> Iterator[Finding]:
    """Whether a root answers, and how far our clocks are apart."""
    subject = urlsplit(url).netloc
    begun = now()
    try:
        with session.get(
            f"{url.rstrip('/')}/api/v1/health", timeout=_TIMEOUT, allow_redirects=False, stream=True
        ) as answer:
            read_body(answer, _MOST_BYTES)
            status, date = answer.status_code, answer.headers.get("Date")
    except (requests.RequestException, OSError, ValueError) as error:
        advice = "is the URL right, the root up, and the way out open? The agent goes on trying"
        yield Finding("roots", subject, "bad", f"can't be reached: {type(error).__name__}", advice)
        return
    took = now() - begun
    if status in (200, 401, 403, 404):  # the published Sinfonia knows no such path
        yield Finding("roots", subject, "good", f"answers in {took * 1000:.0f} ms")
    else:
        yield Finding("roots", subject, "warning", f"answers {status}", "its operator should look at it")
    yield from _clock(subject, date, now())
    if urlsplit(url).scheme != "https":
        advice = "fine on a network of your own; elsewhere use https, since keys are believed at first sight"
        yield Finding("roots", subject, "warning", "is spoken to in the open", advice)


def _clock(subject: str, date: str | None, now: float) -> Iterator[Finding]:
    try:
        theirs = parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return
    apart = now - theirs
    if abs(apart) > _SKEW_SECONDS:
        text = (
            f"this machine's clock is {abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} the root's"
        )
        yield Finding("roots", subject, "warning", text, "let NTP set it: certificates and logs need it")


def prometheus(url: str, session: requests.Session, measure: Callable[[], Resources]) -> Iterator[Finding]:
    """Whether Prometheus answers a query, and which values it gives."""
    subject = "Prometheus"
    try:
        with session.get(
            f"{url.rstrip('/')}/api/v1/query", params={"query": "up"}, timeout=_TIMEOUT, stream=True
        ) as answer:
            read_body(answer, _MOST_BYTES)
            status = answer.status_code
    except (requests.RequestException, OSError, ValueError) as error:
        advice = "without it roots don't learn how busy this cloudlet is"
        yield Finding("metrics", subject, "bad", f"can't be reached: {type(error).__name__}", advice)
        return
    if status != 200:
        advice = "--prometheus is the URL below which /api/v1/query is"
        yield Finding("metrics", subject, "bad", f"answers {status}", advice)
        return
    given = list(measure().values)
    lacking = [name for name in ("cpu_ratio", "mem_ratio") if name not in given]
    text = f"says {', '.join(given) or 'nothing'}"
    advice = f"give --prometheus-query {lacking[0]}=EXPR for what your exporters measure" if lacking else ""
    yield Finding("metrics", subject, "warning" if lacking else "good", text, advice)


def recipes(where: str | None, prepare: Callable[[UUID], Any]) -> Iterator[Finding]:
    """Whether each recipe of a folder makes manifests that would be taken."""
    if where is None:
        yield Finding("recipes", "recipes", "good", "from the roots alone")
        return
    if urlsplit(where).scheme in ("http", "https"):
        yield Finding(
            "recipes", "recipes", "unknown", f"{where} is asked for one at a time, when it is needed"
        )
        return
    folder = Path(where)
    if not folder.is_dir():
        yield Finding(
            "recipes", "recipes", "bad", f"{where} is no folder", "give --recipes a folder, or a URL"
        )
        return
    found = list(_apps(folder))
    if not found:
        advice = "a recipe is a file called UUID.yaml, of the app that it is for"
        yield Finding("recipes", "recipes", "warning", f"{where} has none", advice)
    good = 0
    for app in found[:_MOST_RECIPES]:
        try:
            prepare(app)
            good += 1
        except AgentError as error:
            yield Finding(
                "recipes", str(app), "bad", str(error), "devices that ask for it will be told the same"
            )
    if good:
        yield Finding("recipes", "recipes", "good", f"{good} of {len(found)} render, and would be taken")


def _apps(folder: Path) -> Iterable[UUID]:
    for path in sorted(folder.glob("*.yaml")):
        try:
            yield UUID(path.stem)
        except ValueError:
            continue
