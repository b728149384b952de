"""The WireGuard interface and its peers; called by `gateway.py`, calls `ip`, `wg` and, where the kernel has
no WireGuard, `wireguard-go`.

An interface that an earlier run left is adopted: devices' sessions outlive a crash of the agent. Peers are
named by their keys with the addresses that each may send from and nobody else may.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edge_agent.deployments.addresses import Plan
from edge_agent.deployments.leases import Activity
from edge_agent.errors import Unavailable
from edge_agent.fields import format_key
from edge_agent.tunnels.programs import Programs

MOST_CHANGES = 64
"""So many peers are changed one by one; for more, all are set as a whole."""
_FORWARD = 'read -r now < "$0"; test "$now" = 1 || echo 1 > "$0"'
_FORWARDING = "/proc/sys/net/ipv4/ip_forward"

Allowed = Mapping[bytes, frozenset[str]]
"""Devices' keys, each with the address blocks that it may send from."""


@dataclass(frozen=True)
class Seen:
    """A peer as the interface shows it; `endpoint` is where it was last heard from, empty before."""

    allowed: frozenset[str]
    endpoint: str
    activity: Activity


class Interface:
    """One WireGuard interface. Every method may raise `Unavailable`."""

    def __init__(self, name: str, private_key: bytes, port: int, mtu: int, programs: Programs) -> None:
        self.name = name
        self._private_key = private_key
        self._port = port
        self._mtu = mtu
        self._programs = programs

    def lives(self) -> bool:
        """Whether it is there and is a WireGuard interface that somebody serves."""
        return self._programs.attempt("wg", "show", self.name, "public-key")

    def establish(self, plan: Plan) -> None:
        """Make it or adopt it, with the plan's addresses, and let packets be forwarded."""
        if not self.lives():
            self.remove()
            self._make()
        key = format_key(self._private_key)
        set_up = ["wg", "set", self.name, "listen-port", str(self._port), "private-key", "/dev/stdin"]
        self._programs.call(set_up, key)
        self._address(f"{plan.gateway}/{plan.network.prefixlen}")
        self._programs.call(["ip", "link", "set", self.name, "mtu", str(self._mtu), "up"])
        if plan.network6 is not None:  # the kernel takes IPv6 away from interfaces that are down
            self._address(f"{plan.gateway6}/{plan.network6.prefixlen}")
        self._programs.call(["sh", "-c", _FORWARD, _FORWARDING])

    def _address(self, address: str) -> None:
        self._programs.call(["ip", "address", "replace", address, "dev", self.name])

    def _make(self) -> None:
        try:
            self._programs.call(["ip", "link", "add", self.name, "type", "wireguard"])
        except Unavailable as no_kernel:
            try:
                self._programs.call(["wireguard-go", self.name])
            except Unavailable as no_program:
                raise Unavailable(
                    f"WireGuard: the kernel has none ({no_kernel}), and {no_program}"
                ) from no_program

    def remove(self) -> None:
        """Take it away, and with it the sessions; fine if there is none."""
        self._programs.attempt("ip", "link", "del", self.name)

    def set_all(self, allowed: Allowed, call_at: Mapping[bytes, str] | None = None) -> None:
        """Make these the peers and no others; sessions of those that stay go on.

        Peers in `call_at` are called at these endpoints: they then need not find out that their old session
        is of no use any more.
        """
        lines = ["[Interface]", f"PrivateKey = {format_key(self._private_key)}", f"ListenPort = {self._port}"]
        for key, blocks in allowed.items():
            lines += ["[Peer]", f"PublicKey = {format_key(key)}", f"AllowedIPs = {', '.join(sorted(blocks))}"]
            called = call_at.get(key) if call_at else None
            if called:  # a keepalive that is due makes a handshake at once
                lines.append(f"Endpoint = {called}")
            lines.append(f"PersistentKeepalive = {1 if called else 'off'}")
        self._programs.call(["wg", "syncconf", self.name, "/dev/stdin"], "\n".join(lines) + "\n")

    def change(self, gone: Iterable[bytes], fresh: Allowed) -> None:
        """Remove some peers, and then add others or change what they may send from."""
        arguments = ["wg", "set", self.name]
        for key in gone:
            arguments += ["peer", format_key(key), "remove"]
        for key, blocks in fresh.items():
            arguments += ["peer", format_key(key), "allowed-ips", ",".join(sorted(blocks))]
        self._programs.call(arguments)

    def peers(self) -> dict[bytes, Seen]:
        """The peers as they are now, by key."""
        dump = self._programs.call(["wg", "show", self.name, "dump"]).decode()
        return dict(_read_peer(line) for line in dump.splitlines()[1:])


def _read_peer(line: str) -> tuple[bytes, Seen]:
    """A line of `wg show IF dump`: key, preshared key, endpoint, allowed IPs, handshake, received, sent,
    keepalive.
    """
    fields = line.split("\t")
    try:
        activity = Activity(int(fields[4]), int(fields[5]), int(fields[6]))
        allowed = frozenset(fields[3].split(",")) - {"(none)"}
        endpoint = "" if fields[2] == "(none)" else fields[2]
        return base64.b64decode(fields[0]), Seen(allowed, endpoint, activity)
    except (IndexError, ValueError) as error:
        raise Unavailable("wg show: its output has another form than expected") from error
