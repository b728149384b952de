"""One WireGuard interface in a sandbox: the way to one gateway. Made by `wireguard.py`; calls `ip`, and
either the kernel's WireGuard (`wg`, root only) or one in user space (`control.py`).

Several may stand side by side. Each has a routing table of its own, which sockets bound to its interface use;
the one that is `lead` is where everything else goes, so that a change of the way is one step.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterable

from device_sdk.errors import TunnelError
from device_sdk.keys import KeyPair
from device_sdk.tunnels.control import KEEPALIVE_SECONDS, PeerState, configure, peer_state
from device_sdk.tunnels.families import fitting
from device_sdk.tunnels.routes import TunnelPlan
from device_sdk.tunnels.sandbox import Sandbox

MTU = 1420  # 1500 less IPv6's 40 bytes, UDP's 8 and WireGuard's 32
_COMMAND_SECONDS = 10.0
_FIRST_TABLE = 51820


class Passage:
    """The way through one gateway, number `number` in its sandbox. Raises `TunnelError`."""

    def __init__(self, sandbox: Sandbox, number: int, plan: TunnelPlan, key: KeyPair) -> None:
        self.plan = plan = fitting(plan)
        self._sandbox = sandbox
        self._name = f"wg{number}"
        self._table = _FIRST_TABLE + number
        self._kernels = False
        self._control: socket.socket | None = None
        try:
            if not self._in_kernel(key):
                sandbox.start_wireguard(self._name)
                self._control = sandbox.control(self._name)
                configure(self._control, plan, key.private)
            self._set_up()
        except BaseException:
            with contextlib.suppress(TunnelError):  # what went wrong before is what matters
                self.close()
            raise

    def lead(self) -> None:
        """Be the way for everything in the sandbox, and no longer what led before."""
        self._ip(f"route replace {route} dev {self._name}" for route in self.plan.routes)

    def make_socket(self, family: int) -> socket.socket:
        """A TCP socket that takes this way, whoever leads."""
        made = self._sandbox.make_socket(family, socket.SOCK_STREAM)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self._name.encode())
        except OSError:  # the interface is gone
            made.close()
            raise
        return made

    def greet_again(self, key: KeyPair) -> None:
        """Begin the handshake anew, for which WireGuard waits five seconds where a packet was lost."""
        if self._control is not None:
            configure(self._control, self.plan, key.private)
        else:
            text = configuration(self.plan, key)
            self._sandbox.run(["wg", "setconf", self._name, "/dev/stdin"], text)

    def state(self) -> PeerState:
        """What is known of the gateway."""
        if self._control is not None:
            return peer_state(self._control)
        fields = self._sandbox.run(["wg", "show", self._name, "dump"]).splitlines()[-1].split("\t")
        return PeerState(float(fields[4]), int(fields[5]), int(fields[6]))

    def let_go(self) -> None:
        """Leave the interface to its sandbox, which ends."""
        if self._control is not None:
            self._control.close()

    def close(self) -> None:
        """Take the interface away."""
        self.let_go()
        if self._kernels:
            self._sandbox.run(["ip", "link", "del", self._name])
        else:
            self._sandbox.end_wireguard(self._name)

    def _set_up(self) -> None:
        addresses = (f"{address}/{address.max_prefixlen}" for address in self.plan.addresses)
        self._ip(
            [
                "link set lo up",
                *(f"addr replace {address} dev {self._name} noprefixroute" for address in addresses),
                f"link set {self._name} mtu {MTU} up",
                *(
                    f"route replace {route} dev {self._name} table {self._table}"
                    for route in self.plan.routes
                ),
            ]
        )
        for family in sorted({f"-{route.version}" for route in self.plan.routes}):
            self._sandbox.run(["ip", family, "rule", "add", "oif", self._name, "lookup", str(self._table)])

    def _in_kernel(self, key: KeyPair) -> bool:
        """Try the kernel's own WireGuard: made inside at once, sending from where the command runs."""
        if os.geteuid() or shutil.which("wg") is None:
            return False
        command = ["ip", "link", "add", self._name, "netns", self._sandbox.path, "type", "wireguard"]
        made = subprocess.run(command, capture_output=True, timeout=_COMMAND_SECONDS, check=False)
        self._kernels = made.returncode == 0
        if self._kernels:
            self._sandbox.run(["wg", "setconf", self._name, "/dev/stdin"], configuration(self.plan, key))
        return self._kernels

    def _ip(self, steps: Iterable[str]) -> None:
        self._sandbox.run(["ip", "-batch", "-"], "".join(f"{step}\n" for step in steps))


def configuration(plan: TunnelPlan, key: KeyPair) -> str:
    """The text that `wg setconf` reads; holds the private key."""
    address, port = plan.endpoint
    return "\n".join(
        (
            "[Interface]",
            f"PrivateKey = {base64.b64encode(key.private).decode('ascii')}",
            "[Peer]",
            f"PublicKey = {base64.b64encode(plan.public_key).decode('ascii')}",
            f"Endpoint = [{address}]:{port}" if address.version == 6 else f"Endpoint = {address}:{port}",
            f"AllowedIPs = {', '.join(map(str, plan.routes))}",
            f"PersistentKeepalive = {KEEPALIVE_SECONDS}",
            "",
        )
    )
