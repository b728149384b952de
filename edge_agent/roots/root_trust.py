"""What this cloudlet holds true of one root: the keys that it signs with, and how late it is there.

Keys are pinned in the state folder when the root first tells them; a later set counts only if it holds a key
that was pinned before, so that whoever takes over a root's name can't command its cloudlets. Keys are public:
of two roots that name the same, the one that proves to have it keeps it, else the one that named it first.
Made by `membership.py`; taught by `root_calls.py` (time) and `roots.py` (keys), asked by `callers.py`;
calls the file system.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from edge_agent.errors import AgentError, InvalidRequest, SettingsError
from edge_agent.serving.signatures import PublicKey

_LOG = logging.getLogger(__name__)


class KeysChanged(AgentError):
    """A root names keys of which none is known, or another root's; the text says what the operator can do."""


@dataclass(frozen=True)
class _Pinned:
    """A root's key set as it is kept, and whether the root showed that it has one of them."""

    keys: tuple[PublicKey, ...]
    proven: bool


class RootTrust:
    """One root's keys and time. `clock` is monotonic, `now` is seconds since 1970; `owner` gives what is held
    true of the root that a key of this name is pinned for. Safe between threads.
    """

    def __init__(
        self,
        url: str,
        folder: Path,
        clock: Callable[[], float],
        now: Callable[[], float],
        owner: Callable[[str], RootTrust | None] = lambda _: None,
    ) -> None:
        self.url = url
        self._owner = owner
        self._path = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.json"
        self._clock = clock
        self._ahead = now() - clock()
        self._guard = threading.Lock()
        pinned = self._read()
        self._keys, self._proven = {key.thumbprint: key for key in pinned.keys}, pinned.proven

    def key(self, thumbprint: Any) -> PublicKey | None:
        """The pinned key of this name."""
        return self._keys.get(thumbprint) if isinstance(thumbprint, str) else None

    def pin(self, keys: Sequence[PublicKey], *, proven: bool = False) -> None:
        """Keep a root's key set; `proven`: it showed that it has one of them. Raises `KeysChanged` where none
        was known before, or where one is another root's that has as good a claim: with that one it would be
        taken for the other.
        """
        fresh = {key.thumbprint: key for key in keys}
        for name in fresh:
            owner = self._owner(name)
            if owner not in (None, self) and not (proven and owner.lose(self.url)):
                raise KeysChanged(
                    f"the root {self.url} names a key of the root {owner.url}, so that they can't be told "
                    "apart: one of them may be an impostor; serve one of them alone"
                )
        with self._guard:
            pinned = self._read()  # the operator may have removed it
            known = {key.thumbprint: key for key in pinned.keys}
            if known and not known.keys() & fresh.keys():
                raise KeysChanged(
                    f"the root {self.url} has other keys than before, so it may be an impostor; if its "
                    f"operator confirms the change, remove {self._path}"
                )
            proven = proven or (pinned.proven and known.keys() == fresh.keys())
            if (known.keys(), pinned.proven) != (fresh.keys(), proven):
                self._write(_Pinned(tuple(keys), proven))
            self._keys, self._proven = fresh, proven

    def lose(self, winner: str) -> bool:
        """Forget the keys, since the root `winner` has one of them; not where this one proved that it has."""
        with self._guard:
            if self._proven:
                return False
            _LOG.error("a root named another's key as its own", extra={"root": self.url, "owner": winner})
            self._keys = {}
            try:
                self._path.unlink(missing_ok=True)
            except OSError as error:
                _LOG.warning("its file stays", extra={"root": self.url, "reason": str(error)})
            return True

    def learn_time(self, date: str | None) -> None:
        """Take the root's time from an answer's `Date` (RFC 9110, 6.6.1), where it is one."""
        told = read_date(date)
        if told is not None:
            self._ahead = told - self._clock()

    def now(self) -> float:
        """Seconds since 1970 by the root's clock; by this machine's until the root has told."""
        return self._clock() + self._ahead

    def _read(self) -> _Pinned:
        try:
            kept = json.loads(self._path.read_text())
            keys = tuple(PublicKey.from_jwk(value) for value in kept["keys"])
            return _Pinned(keys, kept.get("proven") is True)
        except FileNotFoundError:
            return _Pinned((), proven=False)
        except (OSError, ValueError, LookupError, TypeError, InvalidRequest) as error:
            raise SettingsError(
                f"{self._path}: the pinned keys of {self.url} can't be read. Restore it from a copy, or "
                "remove it to trust the keys that the root names next."
            ) from error

    def _write(self, pinned: _Pinned) -> None:
        kept = {"url": self.url, "keys": [key.to_jwk() for key in pinned.keys], "proven": pinned.proven}
        fresh = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with fresh.open("w") as file:
                file.write(json.dumps(kept, indent=1))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        except OSError as error:  # they count for this run at least
            _LOG.warning("a root's keys can't be kept", extra={"root": self.url, "reason": str(error)})


def read_date(text: str | None) -> float | None:
    """A date of HTTP (RFC 9110, 5.6.7) as seconds since 1970, None where it is none."""
    try:
        told = parsedate_to_datetime(text or "")
        return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
