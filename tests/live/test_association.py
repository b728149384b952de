"""An app that keeps its backend: real cloudlets that drain and die, a device with real tunnels, requests all
the while.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator

import pytest

from device_sdk import associate
from device_sdk.calls.call import Parts
from tests.benchmarks.handoff import measure
from tests.lab.machine import Machine, Network, inside, poll
from tests.lab.needs import needs
from tests.lab.world import HELLOWORLD, PROJECT, World

EVERY_SECONDS = 0.1  # slowly, so that a machine that does much else can follow


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("world") / "world") as made:
        root = made.start_root()
        made.start_cloudlet("near", "198.51.100.21", "40.44,-79.94", roots=[root.url])
        made.start_cloudlet("next", "198.51.100.22", "40.80,-80.50", roots=[root.url])
        made.wait_for_cloudlets(2)
        yield made


def nothing_is_left(world: World) -> bool:
    """Whether the device has no program any more, and each cloudlet has removed what it deployed."""
    logs = [cloudlet.log.read_text() for cloudlet in world.cloudlets.values()]
    removed = all(log.count(" deploying ") == log.count(" removing ") for log in logs)
    return removed and not world.device.processes()


PARTS = (
    "root",
    "podman",
    "tun",
    "wireguard-go",
    "nft",
    "runc",
    "catatonit",
    "netavark",
    "ip",
    "nsenter",
    "setpriv",
)


@needs(*PARTS)
def test_a_command_runs_behind_it_and_programs_read_what_happens(world: World) -> None:
    assert world.root is not None
    words = ("associate", world.root.url, "helloworld", "--jit", "off", "--json", "--release")
    done = world.sinfonia(*words, "--", "curl", "-fsS", "http://helloworld/")
    assert "Hello" in done.stdout
    told = [json.loads(line) for line in done.stderr.splitlines()]
    assert [event["kind"] for event in told] == ["connected", "released"]
    assert poll(lambda: nothing_is_left(world), 20, 0.1), world.device.processes()


@needs("root", "ip", "nsenter")
def test_a_change_of_the_network_is_noticed() -> None:
    wait = (
        "from device_sdk.associating.surroundings import Surroundings; here = Surroundings();"
        "print(flush=True); print(here.wait(30))"
    )
    with Machine("device") as device, Network("lan", "198.51.100.0/24") as lan:
        lan.attach(device, "198.51.100.50")
        with tempfile.TemporaryFile() as log:
            program = device.popen([sys.executable, "-c", wait], log=log, env={"PYTHONPATH": str(PROJECT)})
            assert poll(lambda: log.seek(0) or log.read(), 20)
            device.run("ip", "address", "add", "198.51.100.51/24", "dev", "eth0")
            assert program.wait(20) == 0
            log.seek(0)
            assert log.read().split() == [b"True"]


CHANGES = {
    "another address": (
        "ip address del 198.51.100.200/24 dev eth0",
        "ip address add 198.51.100.201/24 dev eth0",
    ),
    "down and up": ("ip link set eth0 down", "ip link set eth0 up"),
    "another interface": ("ip link set eth0 down",),
    "and back": ("ip link set eth0 up", "ip link set eth2 down"),
}


@needs(*PARTS)
def test_what_is_under_way_survives_changes_of_the_devices_network(world: World) -> None:
    assert world.root is not None
    world.internet.attach(world.device, "198.51.100.202", "eth2")
    try:
        parts = Parts(world.folder / "moving")
        with inside(world.device), associate(world.root.url, HELLOWORLD, jit="off", parts=parts) as app:
            before = app.target.place
            for change, commands in CHANGES.items():
                with app.connect(("helloworld", 80), timeout=30) as connection:
                    connection.settimeout(30)
                    connection.sendall(b"GET / HTTP/1.0\r\n")
                    for command in commands:
                        world.device.run(*command.split())
                    connection.sendall(b"Host: helloworld\r\n\r\n")
                    assert connection.recv(9).startswith(b"HTTP/1."), change
            assert (app.target.place, app.state) == (before, "connected")
            app.release()
    finally:
        world.internet.detach(world.device, "eth2")
        world.device.run("ip", "address", "del", "198.51.100.201/24", "dev", "eth0", check=False)
        world.device.run("ip", "address", "replace", "198.51.100.200/24", "dev", "eth0")
    assert poll(lambda: nothing_is_left(world), 20, 0.1), world.device.processes()


@needs(*PARTS)
@pytest.mark.parametrize("move", ["prepared", "drain", "dead"])
def test_the_app_moves_and_nothing_is_left_behind(world: World, move: str) -> None:
    before = world.device.run("ip", "-o", "link").stdout
    found = measure(world, move, EVERY_SECONDS)
    if move == "dead":
        assert found["gap_s"] < 30
        return  # what was there is gone with its cloudlet
    assert found["lost"] == 0
    assert poll(lambda: nothing_is_left(world), 20, 0.1), world.device.processes()
    assert world.device.run("ip", "-o", "link").stdout == before
