"""Watching one place: its bytes, its gateway's word, and what that means. Used by `keeper.py`, one for each
place that the app is at; calls `place.py` and `vitals.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from device_sdk.associating.place import Look, Place
from device_sdk.associating.vitals import Patience, Verdict, Vitals
from device_sdk.errors import DeploymentError, TunnelError

_BUSY_TIMES = 5  # so much rarer are probes while the app's own traffic shows that all is well


class Outlook:
    """What is known of `place`. `clock` in seconds.

    `lost`: why the app can't stay, or None; `draining`: whether the cloudlet will be away.
    """

    def __init__(self, place: Place, patience: Patience, clock: Callable[[], float]) -> None:
        self.draining = False
        self._place, self._patience, self._clock = place, patience, clock
        now = clock()
        self._vitals = Vitals(patience, now)
        self._gone: str | None = None
        self._received, self._busy = 0, False
        self._look_at = now

    def look_again(self) -> None:
        """The network has changed, or nobody looked for a while: what was known says nothing."""
        self._look_at = self._clock()
        self._vitals.moved(self._look_at)

    def observe(self, *, quietly: bool) -> None:
        """Take note of what came from there, and ask where it is time to. `quietly`: without measuring."""
        busy = self._has_received()
        now = self._clock()
        if busy:
            self._vitals.received(now)
        elif self._busy:
            self._look_at = now  # it has become silent: is it still there?
        self._busy = busy
        if now >= self._look_at:
            answered = self._ask(quietly=quietly)
            came = self._has_received()
            if answered:  # what the answer itself brought is no traffic of the app's
                self._look_at = self._clock() + self._patience.period * (_BUSY_TIMES if busy else 1)
            elif came:
                self._vitals.received(self._clock())
            elif self.lost:  # now it is more urgent to take up what is found
                self._look_at = self._clock() + self._patience.period

    @property
    def lost(self) -> str | None:
        """Why the app can't stay there."""
        verdict = self._vitals.judge(self._clock())
        return self._gone or (verdict.value if verdict in (Verdict.SILENT, Verdict.AWAY) else None)

    @property
    def in_doubt(self) -> bool:
        """Whether it was asked in vain, and is to be asked again at once."""
        return self._vitals.in_doubt

    @property
    def suspect(self) -> bool:
        """Whether it may be lost in a moment."""
        return self._vitals.judge(self._clock()) is Verdict.SUSPECT

    @property
    def worse(self) -> str | None:
        """What is clearly worse than before, if anything."""
        verdict = self._vitals.judge(self._clock())
        return verdict.value if verdict is Verdict.WORSE else None

    def _has_received(self) -> bool:
        try:
            received = self._place.way.received_bytes()
        except TunnelError:
            return False
        before, self._received = self._received, received
        return received > before

    def _ask(self, *, quietly: bool) -> bool:
        asked = self._clock()
        try:
            look = self._place.look(self._vitals.probe_seconds(asked))
        except DeploymentError as error:
            self._gone = str(error)
            self._vitals.answered(self._clock(), None)
            return True
        except TunnelError:
            self._vitals.failed(asked)
            return False
        self._vitals.answered(self._clock(), None if quietly else look.seconds)
        self._hear(look)
        return True

    def _hear(self, look: Look) -> None:
        deployment = look.deployment
        self.draining = bool(deployment.draining)
        if deployment.status == "Failed":
            self._gone = f"The backend failed: {deployment.reason or 'no reason given'}."
        elif deployment.status != "Deploying":  # one that was lost is back when it is ready
            self._gone = None
