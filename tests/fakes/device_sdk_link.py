"""A way into a cloudlet's network without a tunnel: addresses there stand for servers on loopback."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Mapping, Sequence

from device_sdk.errors import TunnelError


class FakeLink:
    """`places` maps an address behind the tunnel to where it really is."""

    def __init__(
        self, places: Mapping[tuple[str, int], tuple[str, int]], handshake: float | None = 1.0
    ) -> None:
        self.places, self.handshake = places, handshake
        self.closed = False
        self._programs: list[subprocess.Popen[bytes]] = []

    def connect(self, address: tuple[str, int], timeout: float) -> socket.socket:
        self._still_open()
        if address not in self.places:
            raise ConnectionRefusedError(f"nothing at {address}")
        return socket.create_connection(self.places[address], timeout)

    def spawn(
        self, command: Sequence[str], environ: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        self._still_open()
        program = subprocess.Popen(command, env=environ)
        self._programs.append(program)
        return program

    def handshake_seconds_ago(self) -> float | None:
        self._still_open()
        return self.handshake

    def close(self) -> None:
        self.closed = True
        for program in self._programs:
            if program.poll() is None:
                program.terminate()

    def _still_open(self) -> None:
        if self.closed:
            raise TunnelError("The tunnel is closed.")
