"""WireGuard's own control protocol for implementations in user space
(https://www.wireguard.com/xplatform/): called by `wireguard.py` over a connected socket.

Keys are hexadecimal in it, and one connection takes one question after another.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

from device_sdk.errors import TunnelError
from device_sdk.tunnels.routes import TunnelPlan

KEEPALIVE_SECONDS = 25  # below the 30 s for which the strictest address translators remember UDP
_ANSWER_BYTES = 64 * 1024
_SECONDS = 5.0


@dataclass(frozen=True)
class PeerState:
    """What is known of the other side: seconds since 1970 of its last handshake (0: none), and bytes."""

    handshake_at: float
    received_bytes: int
    sent_bytes: int


def configure(control: socket.socket, plan: TunnelPlan, private_key: bytes) -> None:
    """Make the plan's gateway the only peer. Raises `TunnelError`."""
    address, port = plan.endpoint
    lines = [
        "set=1",
        f"private_key={private_key.hex()}",
        "replace_peers=true",
        f"public_key={plan.public_key.hex()}",
        f"endpoint=[{address}]:{port}" if address.version == 6 else f"endpoint={address}:{port}",
        f"persistent_keepalive_interval={KEEPALIVE_SECONDS}",
        "replace_allowed_ips=true",
        *(f"allowed_ip={route}" for route in plan.routes),
    ]
    _ask(control, lines)


def peer_state(control: socket.socket) -> PeerState:
    """What is known of the only peer. Raises `TunnelError`."""
    fields = dict(line.partition("=")[::2] for line in _ask(control, ["get=1"]))
    try:
        seconds = int(fields.get("last_handshake_time_sec", "0"))
        nanoseconds = int(fields.get("last_handshake_time_nsec", "0"))
        received, sent = int(fields.get("rx_bytes", "0")), int(fields.get("tx_bytes", "0"))
    except ValueError as error:
        raise TunnelError("WireGuard's answer can't be understood.") from error
    return PeerState(seconds + nanoseconds / 1e9, received, sent)


def _ask(control: socket.socket, lines: list[str]) -> list[str]:
    try:
        control.settimeout(_SECONDS)
        control.sendall("\n".join([*lines, "", ""]).encode())
        answer = b""
        while not answer.endswith(b"\n\n"):
            part = control.recv(4096)
            if not part or len(answer) > _ANSWER_BYTES:
                raise TunnelError("WireGuard does not answer as expected.")
            answer += part
    except OSError as error:
        raise TunnelError(f"WireGuard can't be asked: {error}.") from error
    said = answer.decode("ascii", "replace").strip().split("\n")
    if said[-1] != "errno=0":
        raise TunnelError(f"WireGuard refuses the configuration: {said[-1]}.")
    return said[:-1]
