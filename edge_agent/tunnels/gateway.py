"""The WireGuard end of the tunnels. Called through the `Gateway` protocol of `routes.py`; calls
`interface.py` for peers, `firewall.py` for what they may do, and `nft`.

Only what differs from the last time is set, so that one more device costs the same with a thousand others.
At a start, after a failure and now and then all of it is set as a whole; what somebody else changed
meanwhile is noticed and set right.
"""

from __future__ import annotations

import logging
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edge_agent.deployments.addresses import Plan
from edge_agent.deployments.leases import Activity
from edge_agent.deployments.routes import Peer
from edge_agent.errors import Unavailable
from edge_agent.tunnels import firewall
from edge_agent.tunnels.firewall import Elements, Pace
from edge_agent.tunnels.gateway_settings import MTU
from edge_agent.tunnels.interface import MOST_CHANGES, Allowed, Interface, Seen
from edge_agent.tunnels.programs import Programs, Run

_LOG = logging.getLogger(__name__)

WHOLE_SECONDS = 300.0
"""All is set as a whole at least so often, whatever nobody noticed."""


@dataclass(frozen=True)
class _Wanted:
    """Peers and rules as they are to be."""

    allowed: Allowed
    elements: Elements


class WireGuardGateway:
    """One interface with all devices as its peers. `run` is `subprocess.run`, `clock` is monotonic."""

    def __init__(
        self,
        interface: str,
        private_key: bytes,
        port: int,
        plan: Plan,
        clock: Callable[[], float],
        run: Run = subprocess.run,
        *,
        pace: Pace = Pace(),  # noqa: B008 - frozen
        mtu: int = MTU,
    ) -> None:
        self._plan = plan
        self._pace = pace
        self._mtu = mtu
        self._clock = clock
        self._programs = Programs(run)
        self._interface = Interface(interface, private_key, port, mtu, self._programs)
        self._table = "sinfonia_" + interface.removeprefix("sf-")
        self._guard = threading.Lock()
        self._is_up = True
        self._wanted = _Wanted({}, {})
        self._is_set = False
        self._whole_at = float("-inf")
        self._endpoints: dict[bytes, str] = {}

    def up(self) -> None:
        """Make or adopt the interface, and start to forward packets; raises `Unavailable`.

        Peers and rules of an earlier run stay until the first `sync`; a new interface has no peers.
        """
        with self._guard:
            self._is_up = True
            if self._interface.lives():
                _LOG.info("gateway interface adopted", extra={"interface": self._interface.name})
            self._interface.establish(self._plan)

    def down(self) -> None:
        """Take interface and rules away."""
        with self._guard:  # a late sync must not bring the rules back
            self._is_up = self._is_set = False
            self._interface.remove()
            self._programs.attempt("nft", "delete", "table", "inet", self._table)

    def sync(self, peers: Sequence[Peer]) -> None:
        """Make these the peers and forwards, and no others; raises `Unavailable`.

        Rules come before peers: a peer never meets the rules of another that had its address before. An
        interface that is gone (its wireguard-go died) is made again.
        """
        with self._guard:
            if not self._is_up:
                raise Unavailable("the gateway is down")
            before, self._wanted = self._wanted, self._want(peers)
            if not (self._is_set and self._set_changes(before)):
                self._set_all()

    def activity(self) -> Mapping[bytes, Activity]:
        """Signs of life by device key; raises `Unavailable`."""
        with self._guard:
            try:
                seen = self._interface.peers()
            except Unavailable:
                self._is_set = False
                raise
            self._endpoints = {key: peer.endpoint for key, peer in seen.items() if peer.endpoint}
            if self._is_set:
                self._look_after(seen)
        return {key: peer.activity for key, peer in seen.items()}

    def _want(self, peers: Sequence[Peer]) -> _Wanted:
        blocks: dict[bytes, set[str]] = {}
        for peer in peers:
            mine = blocks.setdefault(peer.key, set())
            mine.add(f"{peer.device}/32")
            if self._plan.network6 is not None:
                mine.add(f"{self._plan.twin(peer.device)}/128")
        allowed = {key: frozenset(mine) for key, mine in blocks.items()}
        return _Wanted(allowed, firewall.elements(self._plan, peers))

    def _set_changes(self, before: _Wanted) -> bool:
        """Set what differs; False where all of it has to be set."""
        wanted = self._wanted
        gone = before.allowed.keys() - wanted.allowed.keys()
        fresh = {key: mine for key, mine in wanted.allowed.items() if before.allowed.get(key) != mine}
        if len(gone) + len(fresh) > MOST_CHANGES:
            return False
        self._is_set = False
        try:
            rules = firewall.changes(self._table, before.elements, wanted.elements)
            if rules:
                self._programs.call(["nft", "-f", "-"], rules)
            if gone or fresh:
                self._interface.change(gone, fresh)
        except Unavailable as error:
            _LOG.warning("the gateway is set as a whole", extra={"reason": str(error)})
            return False
        self._is_set = True
        return True

    def _set_all(self) -> None:
        self._is_set = False
        call_at: Mapping[bytes, str] | None = None
        if not self._interface.lives():
            _LOG.warning(
                "gateway interface is gone, it is made again", extra={"interface": self._interface.name}
            )
            self._interface.establish(self._plan)
            call_at = self._endpoints
        self._programs.call(["nft", "-f", "-"], self._rules())
        if call_at:
            self._interface.set_all(self._wanted.allowed, call_at)
        self._interface.set_all(self._wanted.allowed)
        self._is_set = True
        self._whole_at = self._clock()

    def _rules(self) -> str:
        name, held = self._interface.name, self._wanted.elements
        return firewall.ruleset(self._table, name, self._plan, held, self._pace, self._mtu)

    def _look_after(self, seen: Mapping[bytes, Seen]) -> None:
        """Set right what somebody else changed: other firewalls' restarts throw all rules away."""
        trouble = ""
        if not self._programs.attempt("nft", "list", "chain", "inet", self._table, "refuse"):
            trouble = "its packet rules are gone"
        elif {key: peer.allowed for key, peer in seen.items()} != self._wanted.allowed:
            trouble = "its peers were changed"
        if trouble:
            _LOG.warning("the gateway is set as a whole", extra={"reason": trouble})
        if trouble or self._clock() - self._whole_at >= WHOLE_SECONDS:
            self._set_all()
