"""Errors as answers: RFC 9457 problem documents. The only place that maps one to the other.

`app.py` decorates its views with `answers_problems`; `wsgi.py` takes `problem` for what no view sees.
"""

import json
import logging
from collections.abc import Callable
from functools import wraps
from math import ceil
from typing import Any

from chalice.app import Response

from chalicelib.errors import (
    Conflict,
    DeployFailed,
    Forbidden,
    Gone,
    InvalidRequest,
    NoCloudlet,
    NotFound,
    QuotaExceeded,
    RecipeUnusable,
    RootError,
    Stale,
    TooLarge,
    TooMany,
    Unauthorized,
    Unavailable,
)

_RETRY_SECONDS = "2"  # the age that caches may have: sooner nothing can be new
_log = logging.getLogger(__name__)

# error -> (status, the type's last part, title); subclasses before their bases
_PROBLEMS: tuple[tuple[type[Exception], int, str, str], ...] = (
    (TooLarge, 413, "too-large", "Too large"),
    (InvalidRequest, 400, "invalid-request", "Invalid request"),
    (Unauthorized, 401, "unauthorized", "Unauthorized"),
    (QuotaExceeded, 403, "quota-exceeded", "Quota exceeded"),
    (Forbidden, 403, "forbidden", "Forbidden"),
    (NotFound, 404, "not-found", "Not found"),
    (Stale, 409, "stale", "Overtaken"),
    (Conflict, 409, "conflict", "Conflict"),
    (Gone, 410, "gone", "Lease ended"),
    (TooMany, 429, "too-many-requests", "Too many requests"),
    (RecipeUnusable, 422, "recipe-unusable", "Recipe unusable"),
    (DeployFailed, 502, "deploy-failed", "Deployment failed"),
    (NoCloudlet, 503, "no-cloudlet", "No cloudlet available"),
    (Unavailable, 503, "unavailable", "Unavailable"),
)


def problem(status: int, kind: str, title: str, detail: str, **members: Any) -> Response:
    """A problem document; `kind` is the last part of its type."""
    document = {"type": f"urn:sinfonia:problem:{kind}", "title": title, "status": status, "detail": detail}
    headers: dict[str, str | list[str]] = {"Content-Type": "application/problem+json"}
    if status == 503:
        headers["Retry-After"] = _RETRY_SECONDS
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(json.dumps(document | members), headers=headers, status_code=status)


def problem_of(error: RootError) -> Response:
    """The problem document of an error."""
    for kind, status, name, title in _PROBLEMS:
        if isinstance(error, kind):
            incarnation = getattr(error, "incarnation", None)
            members = {} if incarnation is None else {"incarnation": incarnation}
            document = problem(status, name, title, str(error), **members)
            if isinstance(error, TooMany):
                document.headers["Retry-After"] = str(max(1, ceil(error.retry_after_seconds)))
            return document
    raise LookupError(f"{type(error).__name__} has no problem type") from error


def answers_problems(view: Callable[..., Response]) -> Callable[..., Response]:
    """Turn a view's errors into answers; the unexpected is logged and answered without its traceback."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Response:
        try:
            return view(*args, **kwargs)
        except RootError as error:
            if error.__cause__ is not None and isinstance(error, Unavailable):
                _log.warning("unavailable", extra={"detail": repr(error.__cause__)})
            return problem_of(error)
        except Exception:  # noqa: BLE001 - the last resort: law 10
            _log.exception("unexpected error")
            return problem(500, "internal", "Internal error", "Something unexpected happened; it was logged.")

    return guarded
