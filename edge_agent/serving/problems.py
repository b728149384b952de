"""Errors as RFC 9457 problem documents, for both of the agent's servers. Called by `api.py` and
`tunnel_api.py`.

This is the only place that gives errors an HTTP status. What is not listed here is a fault of ours: 500,
logged with its traceback, and told to the caller without one.
"""

from __future__ import annotations

import json
import logging

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from edge_agent.errors import (
    AgentError,
    DeployFailed,
    Forbidden,
    InvalidRequest,
    NotFound,
    RecipeUnusable,
    Unauthorized,
    Unavailable,
)
from edge_agent.wire import Problem

_LOG = logging.getLogger(__name__)

_OURS: dict[type[AgentError], tuple[str, str, int]] = {
    InvalidRequest: ("invalid-request", "Invalid request", 400),
    Unauthorized: ("unauthorized", "Unauthorized", 401),
    Forbidden: ("forbidden", "Forbidden", 403),
    NotFound: ("not-found", "Not found", 404),
    RecipeUnusable: ("recipe-unusable", "Recipe unusable", 422),
    DeployFailed: ("deploy-failed", "Deployment failed", 502),
    Unavailable: ("unavailable", "Unavailable", 503),
}
_HTTP: dict[int, tuple[str, str]] = {
    404: ("not-found", "Not found"),
    405: ("method-not-allowed", "Method not allowed"),
    413: ("too-large", "Too large"),
    415: ("unsupported-media-type", "Unsupported media type"),
}


def install(app: Flask) -> None:
    """Make every error of `app` a problem document."""
    app.register_error_handler(AgentError, _ours)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _fault)


def respond(problem: Problem) -> Response:
    """The problem as a response."""
    return Response(json.dumps(problem.to_json()), problem.status, content_type="application/problem+json")


def _ours(error: AgentError) -> Response:
    for kind, (name, title, status) in _OURS.items():
        if isinstance(error, kind):
            response = respond(Problem(name, title, status, str(error)))
            if isinstance(error, Unavailable):
                response.headers["Retry-After"] = str(max(1, error.retry_after_seconds))
            return response
    return _fault(error)


def _http(error: HTTPException) -> Response:
    status = error.code or 500
    if status < 400:  # a redirect of the router is an answer
        return Response(status=status, headers=error.get_headers())
    kind, title = _HTTP.get(status, ("invalid-request", "Invalid request") if status < 500 else _INTERNAL)
    detail = (
        f"A body may have {request.max_content_length} bytes."
        if isinstance(error, RequestEntityTooLarge)
        else ""
    )
    response = respond(Problem(kind, title, status, detail or str(error.description or "")))
    if status == 405 and "Allow" in (headers := dict(error.get_headers())):
        response.headers["Allow"] = headers["Allow"]
    return response


_INTERNAL = ("internal", "Internal error")


def _fault(error: Exception) -> Response:
    _LOG.error("a request failed by a fault of the agent", exc_info=error)
    return respond(Problem(*_INTERNAL, 500, "The agent's log says more."))
