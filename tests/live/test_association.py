"""An app that keeps its backend: real cloudlets that drain and die, a device with real tunnels, requests all
the while.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from uuid import UUID

import pytest

from device_sdk import AssociationEvent, NoCloudletError, Patience, associate
from device_sdk.calls.call import Parts
from tests.benchmarks.handoff import measure
from tests.lab.apart import PARTS as APART
from tests.lab.apart import Apart, uuid_of
from tests.lab.machine import Machine, Network, inside, poll
from tests.lab.needs import needs
from tests.lab.slow_path import Quality
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


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    with ExitStack() as stack:
        yield Apart(stack, tmp_path_factory.mktemp("apart"), 3)


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
        "print('ready', flush=True)\n"
        "while not here.wait(30): print('same', flush=True)\n"
        "print('changed')"
    )
    with Machine("device") as device, Network("lan", "198.51.100.0/24") as lan:
        lan.attach(device, "198.51.100.50")
        with tempfile.TemporaryFile() as log:
            program = device.popen([sys.executable, "-c", wait], log=log, env={"PYTHONPATH": str(PROJECT)})

            def said() -> list[bytes]:
                log.seek(0)
                return log.read().split()

            assert poll(said, 20)
            address = ["ip", "address", "change", "198.51.100.50/24", "dev", "eth0"]
            device.run(*address, "valid_lft", "1000", "preferred_lft", "1000")  # as a lease that is renewed
            assert poll(lambda: b"same" in said(), 20)
            device.run("ip", "address", "add", "198.51.100.51/24", "dev", "eth0")
            assert program.wait(20) == 0
            assert said()[-1] == b"changed"


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
    """And the root lets go of what was not chosen, keeps what was, and has named cloudlets prepared."""
    assert world.root is not None
    world.internet.attach(world.device, "198.51.100.202", "eth2")
    try:
        parts = Parts(world.folder / "moving")
        options = {"choose": "fastest", "results": 2, "jit": "off", "parts": parts}
        with inside(world.device), associate(world.root.url, HELLOWORLD, **options) as app:
            before = app.target.place
            other = world.cloudlets["next" if before == "near" else "near"]
            assert poll(lambda: " asked to release " in other.log.read_text(), 20)
            for change, commands in CHANGES.items():
                with app.connect(("helloworld", 80), timeout=30) as connection:
                    connection.settimeout(30)
                    connection.sendall(b"GET / HTTP/1.0\r\n")
                    for command in commands:
                        world.device.run(*command.split())
                    connection.sendall(b"Host: helloworld\r\n\r\n")
                    assert connection.recv(9).startswith(b"HTTP/1."), change
            assert (app.target.place, app.state) == (before, "connected")
            known = {each["name"]: UUID(each["uuid"]) for each in world.wait_for_cloudlets(2)}
            assert app.prepare(known[other.machine.name]).place == other.machine.name
            with pytest.raises(NoCloudletError, match="the root does not know it"):
                app.prepare(UUID(int=5))
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


@needs(*APART)
def test_a_path_that_gets_slow_is_left_once_for_the_fastest_of_the_others(apart: Apart) -> None:
    apart.be([Quality(5), Quality(60), Quality(25)])
    events: list[AssociationEvent] = []
    patience = Patience(period=0.1, stay=1.0, worse_probes=4, linger=0.2)
    with (
        inside(apart.device),
        associate(
            "http://root.example",
            "helloworld",
            choose="fastest",
            jit="off",
            parts=apart.parts(),
            patience=patience,
            measurements=False,
            on_event=events.append,
        ) as app,
    ):
        assert app.target.cloudlet.uuid == uuid_of(0)
        vitals = app._keeper._outlook._vitals
        assert poll(lambda: (vitals.best or 1.0) < 0.1, 20)
        apart.be([Quality(75), Quality(60), Quality(25)])
        # A machine that does much else may see no better one at first, and look again a minute later.
        assert poll(lambda: app.target.cloudlet.uuid != uuid_of(0), 100), events
        assert app.target.cloudlet.uuid == uuid_of(2), events  # and not the one that was named first
        with app.connect(("helloworld", 80)) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert connection.recv(5) == b"HTTP/"
        apart.be([Quality(5), Quality(60), Quality(75, jitter_ms=20)])
        assert not poll(lambda: app.target.cloudlet.uuid != uuid_of(2), 2)
    kinds = [event.kind for event in events]
    assert kinds[:4] == ["connected", "degraded", "handing_over", "handed_over"]
    assert kinds.count("handed_over") == 1
    assert poll(lambda: "released" in apart.logs[0].read_text(), 20)


@needs(*APART)
def test_an_app_that_was_suspended_stays_where_it_is_well_and_finds_what_is_lost(apart: Apart) -> None:
    apart.be([Quality(5)] * 3)
    log = apart.folder / "suspended.log"

    def kinds() -> list[str]:
        return [json.loads(line)["kind"] for line in log.read_text().splitlines()] if log.exists() else []

    words = [sys.executable, "-m", "tests.lab.apart", str(apart.folder), "1"]
    program = apart.device.popen(words, log=log, env={"PYTHONPATH": str(PROJECT)})
    assert poll(kinds, 30), log.read_text()

    def suspend(seconds: float) -> None:
        program.send_signal(signal.SIGSTOP)
        assert not poll(lambda: len(kinds()) > 1, seconds)

    for seconds in (1.6, 3.2):  # more than it takes to lose a cloudlet; more than a late step
        suspend(seconds)
        program.go_on()
        assert not poll(lambda: len(kinds()) > 1, 1.2), log.read_text()
    suspend(0.5)
    apart.programs[0].send_signal(signal.SIGUSR1)
    assert not poll(lambda: len(kinds()) > 1, 0.5)
    program.go_on()
    assert poll(lambda: "recovered" in kinds(), 30), log.read_text()
    assert kinds() == ["connected", "lost", "recovered"]
    program.stop()
