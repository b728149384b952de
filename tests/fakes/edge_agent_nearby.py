"""A cloudlet at home, in one process: the agent's real API, real pairing and trust; backends in memory."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.identity import uuid_of
from edge_agent.nearby.codes import Code, Codes
from edge_agent.nearby.devices import Devices
from edge_agent.nearby.trust import Mode, Nearby, make_nearby
from edge_agent.serving.api import make_api
from edge_agent.serving.callers import Callers
from edge_agent.serving.signatures import PublicKey
from tests.fakes.edge_agent_parts import Clock, Parts

NOW = 1_795_523_890.0


class Home:
    """`clock` moves the pairing's sessions, `now` (seconds since 1970) its codes and signatures."""

    def __init__(self, folder: Path, mode: Mode = "pairing", listed: Any = (), now: Any = None) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.private = Ed25519PrivateKey.generate()
        self.key = PublicKey(self.private.public_key().public_bytes_raw())
        self.uuid = uuid_of(self.key.raw)
        self.clock, self.time = Clock(), NOW
        self.now = now or (lambda: self.time)
        self.parts = Parts(agent=self.uuid)
        self.codes = Codes(folder, self.now)
        self.devices = Devices(folder / "devices")
        made = make_nearby(mode, listed, folder, self.key, self.private.sign, self.clock, self.now)
        self.nearby = made
        self.api = make_api(
            self.parts.deployments, Callers(self.uuid, [], self.clock, devices=made.trust), made
        )

    def code(self, seconds: float = 600.0) -> Code:
        """What the operator reads out."""
        return self.codes.issue(seconds, secrets.randbelow, secrets.token_hex(8))


def anybody_nearby(folder: Path) -> Nearby:
    """An agent that takes anybody, and pairs with none, for it has shown no code."""
    return Home(folder, "open").nearby
