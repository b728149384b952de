"""A device without the SDK: a machine with one WireGuard tunnel, set as the agent's target says."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.lab import reach
from tests.lab.machine import Machine, Network, poll

PARTS = (
    "root",
    "tun",
    "ip",
    "nsenter",
    "setpriv",
    "catatonit",
    "wg",
    "wireguard-go",
    "curl",
    "busybox-static",
)


class Device:
    """On `network` with `address`; `folder` is for its files."""

    def __init__(self, stack: contextlib.ExitStack, folder: Path, network: Network, address: str) -> None:
        self._private = X25519PrivateKey.generate()
        self.machine = stack.enter_context(Machine("device"))
        network.attach(self.machine, address)
        self._folder = folder / f"device-{address}"
        self._folder.mkdir()

    @property
    def key(self) -> bytes:
        """Its public key."""
        return self._private.public_key().public_bytes_raw()

    def connect(self, tunnel: dict[str, Any]) -> None:
        """Bring the tunnel of a `TunnelConfig` up, by IPv4, and ask its name server."""
        run, v4 = self.machine.run, _v4
        config = self._folder / "wg0.conf"
        config.write_text(
            f"[Interface]\nPrivateKey = {base64.b64encode(self._private.private_bytes_raw()).decode()}\n"
            f"[Peer]\nPublicKey = {tunnel['publicKey']}\nEndpoint = {tunnel['endpoint']}\n"
            f"AllowedIPs = {', '.join(v4(tunnel['allowedIPs']))}\n"
        )
        run("wireguard-go", "wg0")
        assert poll(lambda: run("wg", "show", "wg0", check=False).returncode == 0), "wireguard-go"
        run("wg", "setconf", "wg0", str(config))
        run("ip", "address", "add", *v4(tunnel["address"]), "dev", "wg0")
        run("ip", "link", "set", "wg0", "mtu", "1420", "up")
        for network in v4(tunnel["allowedIPs"]):
            self._lead(network)
        server, zone = v4(tunnel["dns"])
        resolver = self._folder / "resolv.conf"
        resolver.write_text(f"nameserver {server}\nsearch {zone}\n")
        run("mount", "--bind", str(resolver), "/etc/resolv.conf")

    def lead(self, *more: str) -> None:
        """Lead more into the tunnel than the target allows, as any device can."""
        run = self.machine.run
        key, *allowed = run("wg", "show", "wg0", "allowed-ips").stdout.split()
        run("wg", "set", "wg0", "peer", key, "allowed-ips", ",".join([*allowed, *more]))
        for network in more:
            self._lead(network)

    def _lead(self, network: str) -> None:
        self.machine.run("ip", "route", "replace", network, "dev", "wg0")

    def get(self, url: str, seconds: int = 10) -> str:
        """What a GET answers, an error of HTTP's included, or why there is no answer in time."""
        done = self.machine.run("curl", "-sS", "-m", str(seconds), url, check=False, timeout=seconds + 60)
        return done.stdout or done.stderr

    def failures(self, places: Sequence[reach.Place], seconds: int = 10) -> dict[reach.Place, str]:
        """What connections to places fail by, empty where they come about in so many seconds."""
        done = self.machine.run(*reach.command(places, seconds), timeout=seconds + 60)
        return reach.failures(done.stdout)


def _v4(addresses: list[str]) -> list[str]:
    return [one for one in addresses if ":" not in one]
