"""What a root's or a cloudlet's problem documents (RFC 9457) mean for the app. Called by `st1.py`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from device_sdk.errors import (
    DeploymentError,
    NoCloudletError,
    NotFoundError,
    RequestError,
    RootError,
    SinfoniaError,
    TooManyError,
)
from device_sdk.fields import WireError, parse_json, printable
from device_sdk.wire import Problem

#: What each kind of problem means for the caller. A type that is not here goes by its HTTP status.
PROBLEMS: Mapping[str, type[SinfoniaError]] = {
    "urn:sinfonia:problem:invalid-request": RequestError,
    "urn:sinfonia:problem:unauthorized": RequestError,
    "urn:sinfonia:problem:forbidden": RequestError,
    "urn:sinfonia:problem:quota-exceeded": RequestError,
    "urn:sinfonia:problem:not-found": NotFoundError,
    "urn:sinfonia:problem:method-not-allowed": RootError,
    "urn:sinfonia:problem:stale": RootError,
    "urn:sinfonia:problem:conflict": RootError,
    "urn:sinfonia:problem:gone": RootError,
    "urn:sinfonia:problem:too-large": RequestError,
    "urn:sinfonia:problem:too-many-requests": TooManyError,
    "urn:sinfonia:problem:unsupported-media-type": RootError,
    "urn:sinfonia:problem:recipe-unusable": DeploymentError,
    "urn:sinfonia:problem:internal": RootError,
    "urn:sinfonia:problem:deploy-failed": DeploymentError,
    "urn:sinfonia:problem:no-cloudlet": NoCloudletError,
    "urn:sinfonia:problem:unavailable": RootError,
}
_BY_STATUS: Mapping[int, type[SinfoniaError]] = {
    **dict.fromkeys((400, 401, 403, 413), RequestError),
    404: NotFoundError,
    429: TooManyError,
    **dict.fromkeys((422, 502), DeploymentError),
}


def error_of(who: str, status: int, content: bytes, advice: str, *, token_sent: bool) -> SinfoniaError:
    """The error of an answer; `advice` is its `Retry-After`. The text says what to do, if that is known."""
    kind = _BY_STATUS.get(status, RootError)
    try:
        problem = Problem.from_json(parse_json(content))
        kind = PROBLEMS.get(problem.type, kind)
        detail = problem.detail or problem.title
    except WireError:
        detail = printable(content[:400].decode("utf-8", "replace"), 200)
    message = f"{who} says ({status}): {detail}"
    seconds = float(advice) if re.fullmatch(r"[0-9]{1,6}", advice) else None
    if kind is NoCloudletError:
        return NoCloudletError(message, seconds)
    if kind is TooManyError:
        when = f"in {seconds:g} s" if seconds else "later"
        return TooManyError(f"{message.rstrip('.')}. Try again {when}.", seconds)
    if status == 401 and not token_sent:
        message = f"{message.rstrip('.')}. Give the app's token, as SINFONIA_TOKEN or token=."
    return kind(message)
