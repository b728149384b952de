"""A whole agent with an identity of its own that serves one real root; backends and peers are in memory."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.deployments.terms import Share, Terms
from edge_agent.identity import uuid_of
from edge_agent.roots.commands import Commands
from edge_agent.roots.mailbox import Mailbox
from edge_agent.roots.root_calls import RootCalls, Signer
from edge_agent.roots.root_trust import RootTrust
from edge_agent.roots.root_wire import Registration
from edge_agent.roots.roots import Root, Self
from edge_agent.roots.usage import UsageMeter
from edge_agent.serving.api import make_api
from edge_agent.serving.callers import Callers
from edge_agent.serving.signatures import PublicKey
from edge_agent.sessions import make_session
from edge_agent.wire import Resources
from edge_agent.workers import Workers
from tests.fakes.edge_agent_parts import Parts
from tests.lab.machine import poll


class Member:
    """The agent, as far as it concerns the root at `url`. `late_seconds`: how late its clock is; `share`:
    what that root may have.
    """

    def __init__(
        self,
        url: str,
        folder: Path,
        *,
        late_seconds: float = 0.0,
        share: Share | None = None,
        **registered: Any,
    ) -> None:
        self.url, self.folder = url, folder
        self._sessions: list[requests.Session] = []
        self._key = Ed25519PrivateKey.generate()
        self._public = PublicKey(self._key.public_key().public_bytes_raw())
        self.uuid = uuid_of(self._public.raw)
        self.parts = Parts(threads=2, agent=self.uuid, terms=Terms({url: share or Share()}))
        self.trust = RootTrust(url, folder / "roots", time.monotonic, lambda: time.time() - late_seconds)
        self.usage = UsageMeter({url: self.trust.now})
        self.callers = Callers(self.uuid, [self.trust], time.monotonic, only_roots=True)
        self.api = make_api(self.parts.deployments, self.callers)
        self.commands = Commands(self.api, Workers(2).submit, self.calls, lambda: self.root.token)
        self.registration = Registration(incarnation=7, interval_seconds=15.0, **registered)
        self.root = self.again()
        self.mailbox = Mailbox(
            self.calls(), lambda: self.root.token, self.commands.take, time.monotonic, random.Random(1)
        )

    def again(self) -> Root:
        """The root's thread as a restart makes it."""
        me = Self(
            self.registration,
            lambda: Resources.of({}),
            lambda: 1_000,
            lambda: self.parts.deployments.draining,
            self.parts.lives.ready_apps,
        )
        self.root = Root(self.calls(), me, random.Random(1), self.usage, self.commands.take)
        return self.root

    def calls(self) -> RootCalls:
        """Calls for one thread."""
        signer = Signer(self._public, self._key.sign)
        self._sessions.append(make_session(time.monotonic))
        return RootCalls(self.url, self.uuid, self._sessions[-1], self.trust, signer)

    @contextlib.contextmanager
    def living(self) -> Iterator[None]:
        """Watch backends and fetch commands, as the agent's own threads do."""
        stop = threading.Event()
        threads = [
            threading.Thread(target=self.parts.keep_watching, args=(stop,)),
            threading.Thread(target=self.mailbox.run, args=(stop,), daemon=True),
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join(5)
            poll(lambda: self.commands._open == 0)
            self.close()

    def close(self) -> None:
        """Leave no connection open: a server ends when its last one does."""
        for session in self._sessions:
            session.close()
