"""Who asks, and under which trace: the headers that go with every question of one call.

Made by `deploy.py`, sent by `st1.py`. The token goes to the root alone, never to a neighbour.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from device_sdk.nearby.seals import Seal

_TOKEN = re.compile(r"[!-~]{1,256}")


@dataclass(frozen=True)
class Caller:
    """`token` of the app's tenant, `trace` of this call; `note` hears what servers say beside answers. `seal`
    signs calls to a cloudlet that the device is paired with, and holds its answers to that.
    """

    token: str | None = field(default=None, repr=False)
    trace: str | None = None
    note: Callable[[str], None] = lambda _text: None
    seal: Seal | None = None

    def headers(self, *, trusted: bool) -> dict[str, str]:
        """What to send; the token only to whom it is for."""
        headers = {"traceparent": self.trace} if self.trace else {}
        return headers | ({"Authorization": f"Bearer {self.token}"} if self.token and trusted else {})


def new_trace() -> str:
    """A `traceparent` that nobody has used: W3C Trace Context 1, sampled."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def trace_id(trace: str) -> str:
    """The part of a `traceparent` by which logs are searched."""
    return trace.split("-")[1]


def is_token(text: str) -> bool:
    """Whether it can be sent as a bearer token."""
    return _TOKEN.fullmatch(text) is not None
