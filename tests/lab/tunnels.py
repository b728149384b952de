"""A cloudlet with a gateway, two devices with tunnels to it, and a pod on a network behind it that knows no
way to the tunnels: for tests of the gateway with real packets.
"""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge_agent.deployments.addresses import Plan
from edge_agent.tunnels.gateway import WireGuardGateway
from tests.lab.machine import Machine, Network

PARTS = ("root", "tun", "wg", "wireguard-go", "nft", "ip", "ping", "curl", "busybox-static")
PLAN = Plan(IPv4Network("100.71.0.0/16"), IPv6Network("fd5f:1c9a:1e7f:354a::/64"))
POD = IPv4Address("10.89.0.2")
ECHO = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 8053))
while True:
    data, sender = s.recvfrom(100)
    s.sendto(data, sender)
"""
ASK = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(1)
s.connect((sys.argv[1], int(sys.argv[2])))
s.send(b"hello")
print(s.recv(100).decode())
"""
Forwards = Mapping[tuple[IPv4Address, str, int], tuple[IPv4Address, int]]


@dataclass
class Device:
    """A device's key and its block of tunnel addresses; as a peer, with where its service's ports lead."""

    number: int
    secret: bytes = field(default_factory=lambda: X25519PrivateKey.generate().private_bytes_raw())
    forwards: Forwards = field(default_factory=dict)

    @property
    def key(self) -> bytes:
        return X25519PrivateKey.from_private_bytes(self.secret).public_key().public_bytes_raw()

    @property
    def device(self) -> IPv4Address:
        return PLAN.network[8 * self.number + 1]

    @property
    def device6(self) -> IPv6Address:
        found = PLAN.twin(self.device)
        assert found is not None
        return found

    @property
    def service(self) -> IPv4Address:
        return self.device + 1

    def leading(self, port: int = 80, protocol: str = "TCP", to: int = 8080) -> Device:
        """The same device, whose service's port leads to the pod's."""
        forwards = {**self.forwards, (self.service, protocol, port): (POD, to)}
        return Device(self.number, self.secret, forwards)


class RealPlace:
    """Machines: `cloudlet` with the gateway, `devices` with a tunnel each, `pod` behind the cloudlet."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        lan = stack.enter_context(Network("lan", "198.51.100.0/24"))
        pods = stack.enter_context(Network("pods", "10.89.0.0/24"))
        self.cloudlet, self.pod = (stack.enter_context(Machine(name)) for name in ("cloudlet", "pod"))
        lan.attach(self.cloudlet, "198.51.100.7")
        pods.attach(self.cloudlet, "10.89.0.1", "pods0")
        pods.attach(self.pod, str(POD))
        self.folder = folder
        self.now = 0.0
        self.gateway = self.made()
        self.gateway.up()
        public = X25519PrivateKey.from_private_bytes(b"g" * 32).public_key().public_bytes_raw()
        self.public = base64.b64encode(public).decode()
        self.one, self.two = Device(1), Device(2)
        self.devices = {}
        for device in (self.one, self.two):
            self.devices[device.number] = stack.enter_context(Machine(f"device{device.number}"))
            lan.attach(self.devices[device.number], f"198.51.100.{100 + device.number}")
            self._tunnel(device)
        (folder / "index.html").write_text("a pod's page")
        self.pod.popen(
            ["busybox", "httpd", "-f", "-v", "-p", "8080", "-h", str(folder)], log=folder / "pod.log"
        )
        self.pod.popen(["busybox", "httpd", "-f", "-p", "9090", "-h", str(folder)])
        self.pod.popen(["python3", "-c", ECHO])
        self.cloudlet.popen(["busybox", "httpd", "-f", "-p", "7070", "-h", str(folder)])
        for address in (str(PLAN.gateway), f"[{PLAN.gateway6}]"):
            self.cloudlet.popen(["busybox", "httpd", "-f", "-p", f"{address}:80", "-h", str(folder)])

    def made(self, **options: Any) -> WireGuardGateway:
        """A gateway as a new run of the agent would make it; `options` are the gateway's own."""

        def run(arguments: list[str], **how: Any) -> subprocess.CompletedProcess[bytes]:
            return subprocess.run(self.cloudlet.command(*arguments), **how)

        return WireGuardGateway("sf-0123abcd", b"g" * 32, 51820, PLAN, lambda: self.now, run, **options)

    def _tunnel(self, device: Device) -> None:
        machine = self.devices[device.number]
        config = self.folder / f"{device.number}.conf"
        config.write_text(
            f"[Interface]\nPrivateKey = {base64.b64encode(device.secret).decode()}\n"
            f"[Peer]\nPublicKey = {self.public}\nAllowedIPs = 0.0.0.0/0, ::/0\n"
            "Endpoint = 198.51.100.7:51820\n"
        )
        machine.run("wireguard-go", "wg0")
        machine.run("ip", "address", "add", f"{device.device}/32", "dev", "wg0")
        machine.run("ip", "link", "set", "wg0", "up", "mtu", "1420")
        machine.run("ip", "address", "add", f"{device.device6}/128", "dev", "wg0", "nodad")
        machine.run("ip", "route", "add", str(PLAN.network6), "dev", "wg0")
        for network in (str(PLAN.network), "10.89.0.0/24", "203.0.113.0/24"):
            machine.run("ip", "route", "add", network, "dev", "wg0")

    @staticmethod
    def public_of(device: Device) -> str:
        """The device's public key, as `wg` writes it."""
        return base64.b64encode(device.key).decode()

    def renew(self) -> None:
        """Begin a test without peers, and with devices that have no sessions."""
        self.gateway.sync([])
        for number, machine in self.devices.items():
            machine.run("wg", "set", "wg0", "peer", self.public, "remove")
            machine.run("wg", "setconf", "wg0", str(self.folder / f"{number}.conf"))

    def reaches(self, device: Device, address: IPv4Address, port: int = 80, protocol: str = "TCP") -> bool:
        if protocol == "UDP":
            return self.echoes(device, address, port)
        return self.curl(device, f"http://{address}:{port}/").stdout == "a pod's page"

    def echoes(self, device: Device, address: IPv4Address, port: int) -> bool:
        machine = self.devices[device.number]
        return machine.run("python3", "-c", ASK, str(address), str(port), check=False).stdout == "hello\n"

    def curl(self, device: Device, url: str, *options: str) -> subprocess.CompletedProcess[str]:
        return self.devices[device.number].run("curl", "-sS", "-m", "2", *options, url, check=False)
