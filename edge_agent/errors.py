"""What can go wrong in the agent, split by what the caller does about it.

    AgentError
    ├── InvalidRequest    the caller sent something wrong: 400, and it should not repeat it
    ├── Unauthorized      the call's signature is wrong or missing: 401
    ├── Forbidden         the signature is right, and its root may not do this: 403
    ├── NotFound          no such app, deployment or path: 404
    ├── RecipeUnusable    the app's recipe or chart can't be used here: 422
    ├── DeployFailed      the backend did not start: 502
    ├── Unavailable       a part that is needed is away, or full: 503, ask again later
    ├── Conflict          the runtime has this record already: adopt it
    └── SettingsError     the operator has to change something: one line, exit status 2

Adapters translate their libraries' errors into these with ``raise … from``; `problems.py` maps them to HTTP.
"""

from __future__ import annotations


class AgentError(Exception):
    """Anything that the agent raises on purpose; its text is made for people."""


class InvalidRequest(AgentError, ValueError):
    """A field of a request is wrong; the text starts with the field's name."""


class Unauthorized(AgentError):
    """Who asks has not shown who it is, or in a way that is wrong."""


class Forbidden(AgentError):
    """Who asks is known, and may not do this."""


class NotFound(AgentError):
    """There is no such app, deployment or path here."""


class RecipeUnusable(AgentError):
    """The recipe or its chart can't be used on this cloudlet."""


class DeployFailed(AgentError):
    """The backend did not start."""


class Unavailable(AgentError):
    """Something needed is away or exhausted; `retry_after_seconds` says when to ask again."""

    def __init__(self, text: str, retry_after_seconds: int = 5) -> None:
        super().__init__(text)
        self.retry_after_seconds = retry_after_seconds


class Conflict(AgentError):
    """Somebody else made this record first."""


class SettingsError(AgentError):
    """The operator's settings or state can't be used as they are."""
