"""Throughput and round trip through the SDK's tunnel without root, beside a bare `wireguard-go` pair.

A device and a gateway, each a host of its own. The gateway has two interfaces with a `wireguard-go` each; on
the device the one's other end is set up by hand with root, as anybody would, and the other's is the SDK's, as
an ordinary user. The same client pumps bytes through both in turn, so that a busy moment of this machine hits
both; a ratio is the median of those of neighbouring turns, above 1 where the SDK's tunnel is the better one.
Runs in the device's host as `python -m tests.benchmarks.dataplane client ROUNDS KEYS`, in the gateway's as
`… serve`.
"""

from __future__ import annotations

import base64
import json
import math
import socket
import statistics
import sys
import threading
import time
from contextlib import ExitStack
from ipaddress import ip_address, ip_network

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.benchmarks.figures import Figures
from tests.lab import ordinary
from tests.lab.machine import Machine, Network, poll
from tests.lab.world import PROJECT

ROUNDS = 15
PORT = 5001
GATEWAY, DEVICE = "198.51.100.7", "198.51.100.50"
OURS, BARE = ("100.71.0.1", "100.71.0.2"), ("100.72.0.1", "100.72.0.2")
_PUMP_SECONDS = 0.5
_ECHOES = 200
_BLOCK = bytes(128 * 1024)


def run(max_size: int | None = None) -> Figures:
    """Return medians over `max_size` rounds (at most 15)."""
    rounds = min(ROUNDS, max_size or ROUNDS)
    keys = {name: X25519PrivateKey.generate() for name in ("our_gateway", "our_device", "gateway", "device")}
    with ExitStack() as stack:
        lan = stack.enter_context(Network("lan", "198.51.100.0/24"))
        gateway, device = (stack.enter_context(Machine(name)) for name in ("gateway", "device"))
        lan.attach(gateway, GATEWAY)
        lan.attach(device, DEVICE)
        _end_of(gateway, "wg0", keys["our_gateway"], 51820, keys["our_device"], OURS, None)
        _end_of(gateway, "wg1", keys["gateway"], 51821, keys["device"], BARE, None)
        _end_of(device, "wg1", keys["device"], 51821, keys["gateway"], BARE[::-1], f"{GATEWAY}:51821")
        this = (sys.executable, "-m", "tests.benchmarks.dataplane")
        gateway.popen([*this, "serve"], env={"PYTHONPATH": str(PROJECT)})
        environment = {**ordinary.prepare(device), "PYTHONPATH": str(PROJECT)}
        ours = f"{_text(keys['our_device'])},{_text(keys['our_gateway'].public_key())}"
        command = (*ordinary.USER, *this, "client", str(rounds), ours)
        done = device.run(*command, timeout=60 + 10 * rounds, env=environment)
    return _figures(json.loads(done.stdout.splitlines()[-1]))


def _figures(rounds: list[dict[str, dict[str, float]]]) -> Figures:
    def median(way: str, name: str) -> float:
        return statistics.median(each[way][name] for each in rounds)

    def ratio(name: str) -> float:
        return statistics.median(each["ours"][name] / each["bare"][name] for each in rounds)

    figures = {
        "throughput_ratio": ratio("megabits"),
        "rtt_ratio": 1 / ratio("rtt_ms"),
        "throughput_mbps": median("ours", "megabits"),
        "bare_throughput_mbps": median("bare", "megabits"),
        "rtt_ms": median("ours", "rtt_ms"),
        "bare_rtt_ms": median("bare", "rtt_ms"),
    }
    figures = {name: round(value, 4) for name, value in figures.items()}
    units = {"throughput_ratio": "x", "rtt_ratio": "x", "throughput_mbps": "Mbit/s"}
    units |= {"bare_throughput_mbps": "Mbit/s", "rtt_ms": "ms", "bare_rtt_ms": "ms"}
    return Figures("dataplane", figures, units, {"throughput_ratio": 0.95, "rtt_ratio": 0.95})


def _text(key) -> str:
    raw = key.private_bytes_raw() if isinstance(key, X25519PrivateKey) else key.public_bytes_raw()
    return base64.b64encode(raw).decode()


def _end_of(machine, name, key, port, peer, addresses, endpoint) -> None:
    """One end of a tunnel, by hand; `addresses` are this end's and the other's."""
    machine.run("wireguard-go", name)
    machine.run("sh", "-c", f"umask 077; echo '{_text(key)}' > /run/{name}.key")
    there = ["endpoint", endpoint] if endpoint else []
    command = ["wg", "set", name, "private-key", f"/run/{name}.key", "listen-port", str(port), "peer"]
    command += [_text(peer.public_key()), "allowed-ips", f"{addresses[1]}/32", *there]
    machine.run(*command)
    machine.run("ip", "address", "add", f"{addresses[0]}/32", "dev", name)
    machine.run("ip", "link", "set", name, "mtu", "1420", "up")
    machine.run("ip", "route", "add", f"{addresses[1]}/32", "dev", name)


def _serve() -> None:
    """Sink, pump or echo, as a connection's first byte says."""
    with socket.create_server(("0.0.0.0", PORT)) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection:
        wish = connection.recv(1)
        if wish == b"p":
            until = time.perf_counter() + _PUMP_SECONDS
            while time.perf_counter() < until:
                connection.sendall(_BLOCK)
        while part := connection.recv(len(_BLOCK)):
            if wish == b"e":
                connection.sendall(part)
        if wish == b"s":
            connection.sendall(b"!")


def _measured(connect) -> dict[str, float]:
    """Megabits per second, up and down together, and milliseconds there and back."""
    moved = seconds = 0.0
    with connect() as up:
        up.sendall(b"s")
        started = time.perf_counter()
        while time.perf_counter() < started + _PUMP_SECONDS:
            up.sendall(_BLOCK)
            moved += len(_BLOCK)
        up.shutdown(socket.SHUT_WR)
        up.recv(1)
        seconds += time.perf_counter() - started
    with connect() as down:
        started = time.perf_counter()
        down.sendall(b"p")
        down.shutdown(socket.SHUT_WR)
        while part := down.recv(len(_BLOCK)):
            moved += len(part)
        seconds += time.perf_counter() - started
    with connect() as back:
        back.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        back.sendall(b"e")
        times = []
        for _ in range(_ECHOES):
            started = time.perf_counter()
            back.sendall(b"x" * 64)
            back.recv(64)
            times.append(time.perf_counter() - started)
    return {"megabits": moved * 8 / seconds / 1e6, "rtt_ms": statistics.median(times) * 1000}


def _client(rounds: int, keys: str) -> None:
    from device_sdk.keys import KeyPair
    from device_sdk.tunnels.routes import TunnelPlan
    from device_sdk.tunnels.wireguard import WireGuardLink

    private, public = (base64.b64decode(key) for key in keys.split(","))
    endpoint = (ip_address(GATEWAY), 51820)
    plan = TunnelPlan(public, endpoint, (ip_address(OURS[1]),), (ip_network(f"{OURS[0]}/32"),), (), ())
    link = WireGuardLink(plan, KeyPair.from_private(private))
    ways = {
        "ours": lambda: link.connect((OURS[0], PORT), 10),
        "bare": lambda: socket.create_connection((BARE[0], PORT), 10),
    }
    for connect in ways.values():
        assert poll(lambda connect=connect: _reaches(connect), 30), "no way through"
    found = []
    for number in range(rounds):
        order = sorted(ways, reverse=bool(number % 2))
        found.append({name: _measured(ways[name]) for name in order})
    link.close()
    assert all(math.isfinite(value) for each in found for way in each.values() for value in way.values())
    print(json.dumps(found))


def _reaches(connect) -> bool:
    try:
        connect().close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _serve()
    else:
        _client(int(sys.argv[2]), sys.argv[3])
