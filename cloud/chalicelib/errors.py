"""What can go wrong at a root, split by what the caller does about it.

    RootError
    ├── InvalidRequest      the caller sent something wrong and has to change it
    │   └── TooLarge        … namely make it smaller
    ├── Unauthorized        no lease token, or a wrong one
    ├── Forbidden           understood, and not allowed
    │   └── QuotaExceeded   … because the tenant has as many as it may have
    ├── NotFound            no such app, deployment or path
    ├── Stale               overtaken by something newer; nothing was changed
    ├── Conflict            somebody else has it, or it is in use
    ├── Gone                the lease ended; register again
    ├── TooMany             too fast or too much; the error says when to ask again
    ├── RecipeUnusable      the app's recipe has to be repaired by its owner
    ├── DeployFailed        every cloudlet that was asked failed
    ├── NoCloudlet          nothing to ask; try later
    └── Unavailable         a part that is needed is away; try later
        └── Throttled       … namely because it has too much to do

`problems.py` turns them into answers, once.
"""


class RootError(Exception):
    """Any of this module; `str()` of it is made for people and safe to send."""


class InvalidRequest(RootError, ValueError):
    """Something in the request is wrong; the text names the field and says what would be right."""


class TooLarge(InvalidRequest):
    """The body is larger than the root reads."""


class Unauthorized(RootError):
    """No credential, or one that this root did not issue for this purpose."""


class Forbidden(RootError):
    """Understood, and not allowed."""


class QuotaExceeded(Forbidden):
    """The tenant has as many of these as its quota lets it have."""


class NotFound(RootError):
    """There is no such app, deployment or path."""


class Stale(RootError):
    """Overtaken by a newer incarnation or sequence.

    `incarnation` is the one that stands, where a registration was refused.
    """

    def __init__(self, message: str, incarnation: int | None = None) -> None:
        super().__init__(message)
        self.incarnation = incarnation


class Conflict(RootError):
    """Somebody else has what was asked for, or what was to be removed is in use."""


class Gone(RootError):
    """The lease ended: the cloudlet has to register again."""


class TooMany(RootError):
    """More calls than this caller, app or tenant may make now. `retry_after_seconds`: when to ask again."""

    def __init__(self, message: str, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class RecipeUnusable(RootError):
    """The app has a recipe that can't be read."""


class DeployFailed(RootError):
    """Every cloudlet that was asked failed, declined or was too slow."""


class NoCloudlet(RootError):
    """No living cloudlet can serve this device now."""


class Unavailable(RootError):
    """A part that is needed (the table, the recipe repository) is away."""


class Throttled(Unavailable):
    """DynamoDB takes no more right now."""
