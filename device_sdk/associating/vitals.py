"""Whether a cloudlet can be stayed with, judged by what was heard of it. Told and asked by `keeper.py`; calls
nothing, and knows time only as it is told.

One lost packet, or one slow answer, must never move an app: for each judgement it takes several, and after a
move the new place is stayed at for a while.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

_LONGEST_PROBE_SECONDS = 3.0
_SLOW_TIMES = 4.0  # a far cloudlet has so many of its own round trips to answer in


@dataclass(frozen=True)
class Patience:
    """When to act, in seconds.

    A probe every `period`, five times as long while the app's own traffic comes in. No answer for
    `suspect`: another backend is looked for; for `loss`: the app is moved there. A gateway that is there and
    serves nobody has `away`: its agent may be restarting. `stay`: how long a merely slow place is kept at
    least. It is slow when `worse_probes` in a row took more than `worse_ratio` times the best so far, and
    `worse` longer; another place is better if it takes at most `better_ratio` of it. What was left stays for
    `linger`, for requests under way. A new backend has `ready` to be ready.
    """

    period: float = 1.0
    suspect: float = 0.4
    loss: float = 1.2
    away: float = 10.0
    stay: float = 30.0
    worse_ratio: float = 2.0
    worse: float = 0.02
    worse_probes: int = 5
    better_ratio: float = 0.7
    linger: float = 3.0
    ready: float = 30.0


class Verdict(Enum):
    """What is to be thought of it."""

    FINE = "fine"
    WORSE = "it takes clearly longer to answer than before"
    SUSPECT = "it has not answered for a moment"
    AWAY = "its gateway is there, but serves nobody"
    SILENT = "it does not answer"


class Vitals:
    """Of one place, since `now`. Times are on one clock, in seconds."""

    def __init__(self, patience: Patience, now: float) -> None:
        self._patience = patience
        self._since = now
        self.best: float | None = None
        self._last: float | None = None
        self.moved(now)

    def moved(self, now: float) -> None:
        """The device's network has changed, or nobody looked for a while: all begins anew."""
        self.best = self._last = None
        self._worse = 0
        self._heard = self._served = self._doubted = now
        self._failures = 0

    def received(self, now: float) -> None:
        """Something came from there."""
        self._heard = now

    def answered(self, now: float, seconds: float | None) -> None:
        """It answered a probe, whose round trip took so long."""
        self._heard = self._served = now
        self._failures = 0
        if seconds is None:
            return
        self._last = seconds
        self.best = seconds if self.best is None else min(self.best, seconds)
        patience = self._patience
        slow = seconds > max(patience.worse_ratio * self.best, self.best + patience.worse)
        self._worse = self._worse + 1 if slow else 0

    def failed(self, asked: float) -> None:
        """A probe that was sent at `asked` was not answered."""
        if not self._failures:
            self._doubted = asked
        self._failures += 1

    @property
    def in_doubt(self) -> bool:
        """Whether the last probe was not answered."""
        return self._failures > 0

    def probe_seconds(self, now: float) -> float:
        """How long to wait for an answer: in keeping with the last one, and longer each time where it is the
        gateway's server that is slow, and not the way there.
        """
        slow = min(_SLOW_TIMES * (self._last or 0.0), _LONGEST_PROBE_SECONDS)
        seconds = max(self._patience.suspect, _SLOW_TIMES * (self.best or 0.0), slow)
        if now - max(self._heard, self._doubted) >= self._patience.suspect:
            return seconds
        return min(seconds * (1 + self._failures), max(seconds, _LONGEST_PROBE_SECONDS))

    def judge(self, now: float) -> Verdict:
        """What is to be thought of it now."""
        patience = self._patience
        silent, away = now - max(self._heard, self._doubted), now - max(self._served, self._doubted)
        slack = 2 * _SLOW_TIMES * (self.best or 0.0)
        if self._failures >= 2 and silent >= max(patience.loss, slack):
            return Verdict.SILENT
        if self._failures >= 2 and away >= max(patience.away, slack):
            return Verdict.AWAY
        if self._failures and silent >= max(patience.suspect, slack / 2):
            return Verdict.SUSPECT
        if self._worse >= patience.worse_probes and now - self._since >= patience.stay:
            return Verdict.WORSE
        return Verdict.FINE
