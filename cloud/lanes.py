"""Two queues of requests: calls that wait for cloudlets' agents have threads of their own.

Called by `local_root.py` in the place of waitress' single queue. Cloudlets that hang can then hold all
threads of deploys, and keepalives are answered all the same. On Lambda a process has one call at a time.
"""

from typing import Protocol

_SLOW = "/api/v1/deploy/"


class Request(Protocol):
    """One that waitress has parsed."""

    path: str


class Channel(Protocol):
    """A connection with a request to serve; the first of them is next."""

    requests: list[Request]


class Dispatcher(Protocol):
    """What waitress needs of a queue with threads; see `waitress.task.ThreadedTaskDispatcher`."""

    def add_task(self, task: Channel) -> None:
        """Have a connection's next request served."""

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:
        """End the threads."""


class Lanes:
    """A dispatcher of two."""

    def __init__(self, quick: Dispatcher, slow: Dispatcher) -> None:
        self._quick = quick
        self._slow = slow

    def add_task(self, task: Channel) -> None:
        """Put it into its lane. A path with a slash too many is that of the same call."""
        path = "/" + task.requests[0].path.lstrip("/")
        (self._slow if path.startswith(_SLOW) else self._quick).add_task(task)

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:
        """End both."""
        ended = self._quick.shutdown(cancel_pending, timeout)
        return self._slow.shutdown(cancel_pending, timeout) and ended
