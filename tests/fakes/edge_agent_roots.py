"""Roots as the agent sees them: keys that sign calls, and a trust that lives in a test's folder."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.roots.root_trust import RootTrust
from edge_agent.serving.callers import Callers
from edge_agent.serving.signatures import PublicKey, sign
from tests.fakes.edge_agent_parts import AGENT, Clock

ROOT = "https://root.example"
NOW = 1_795_523_890.0
"""What the clocks of a test's roots say while its `Clock` says 1000."""


class SigningRoot:
    """A root's key, and the signatures that it makes; each has a `jti`, so that no two are the same."""

    def __init__(self, url: str = ROOT) -> None:
        self.url = url
        self.key = Ed25519PrivateKey.generate()
        self._numbers = itertools.count()

    @property
    def public(self) -> PublicKey:
        return PublicKey(self.key.public_key().public_bytes_raw())

    def sign(self, method: str, target: str, body: bytes = b"", **claims: Any) -> str:
        made = {
            "kid": self.public.thumbprint,
            "aud": str(AGENT),
            "iat": int(NOW),
            "exp": int(NOW) + 60,
            "htm": method,
            "htu": target,
            "jti": str(next(self._numbers)),
            **claims,
        }
        kept = {name: value for name, value in made.items() if value is not None}
        return sign(kept, body, self.key.sign)


def trust(folder: Path, *roots: SigningRoot, clock: Any = None) -> list[RootTrust]:
    """What an agent holds true of these roots, their keys pinned."""
    clock = clock or Clock()
    made = [RootTrust(root.url, folder, clock, lambda: NOW) for root in roots]
    for one, root in zip(made, roots, strict=True):
        one.pin([root.public])
    return made


def anybody(uuid: Any = AGENT) -> Callers:
    """Callers of an agent without roots."""
    return Callers(uuid, [], Clock())
