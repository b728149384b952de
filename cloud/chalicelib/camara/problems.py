"""CAMARA's own form of errors: `{status, code, message}` as application/json.

Called by `views/camara.py`; the only place that maps this root's errors to the standard's codes.
"""

import json
import logging
from math import ceil

from chalice.app import Response

from chalicelib.errors import (
    Forbidden,
    InvalidRequest,
    NoCloudlet,
    NotFound,
    RecipeUnusable,
    RootError,
    TooMany,
    Unauthorized,
    Unavailable,
)

_log = logging.getLogger(__name__)

# error -> (status, code); subclasses before their bases
_CODES: tuple[tuple[type[Exception], int, str], ...] = (
    (InvalidRequest, 400, "INVALID_ARGUMENT"),
    (Unauthorized, 401, "UNAUTHENTICATED"),
    (Forbidden, 403, "PERMISSION_DENIED"),
    (NotFound, 404, "NOT_FOUND"),
    (RecipeUnusable, 422, "SERVICE_NOT_APPLICABLE"),
    (NoCloudlet, 422, "SERVICE_NOT_APPLICABLE"),
    (TooMany, 429, "QUOTA_EXCEEDED"),
    (Unavailable, 503, "UNAVAILABLE"),
)


class CamaraProblem(Exception):
    """An error that only CAMARA has; `status` and `code` are the standard's."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def camara_answer(error: Exception, headers: dict[str, str]) -> Response:
    """The standard's answer to an error; what was not expected is logged and says nothing of itself."""
    status, code, message = 500, "INTERNAL", "Something unexpected happened; it was logged."
    if isinstance(error, CamaraProblem):
        status, code, message = error.status, error.code, str(error)
    elif isinstance(error, RootError):
        status, code = next(((s, c) for kind, s, c in _CODES if isinstance(error, kind)), (500, "INTERNAL"))
        message = str(error)
    else:
        _log.exception("unexpected error", exc_info=error)
    retry = getattr(error, "retry_after_seconds", None) or (2 if status == 503 else None)
    if retry is not None:
        headers = {**headers, "Retry-After": str(ceil(retry))}
    body = json.dumps({"status": status, "code": code, "message": message})
    return Response(body, {"Content-Type": "application/json", **headers}, status)
