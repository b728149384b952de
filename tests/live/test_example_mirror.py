"""The example app with its real backend: from its recipe, on cloudlets with Podman, through the tunnel; and
what the backend does with clients that mean no good.
"""

from __future__ import annotations

import contextlib
import csv
import json
import random
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from device_sdk.examples.mirror.backend import Backend
from device_sdk.examples.mirror.breakdown import PARTS
from device_sdk.examples.mirror.camera import Picture, moving_disc
from tests.lab.machine import Machine, inside, poll
from tests.lab.needs import WORLD, needs
from tests.lab.world import BIN, PROJECT, World

MIRROR = "6d697272-6f72-4000-8000-000000000000"
EXAMPLE = (sys.executable, "-m", "device_sdk.examples.mirror")
FRAMES = 40


def outline(picture: Picture) -> bytes:
    """Sobel's operator, as the backend has it; the rim is black."""
    wide, grey = picture.width, picture.grey
    out = bytearray(len(grey))
    for y in range(1, picture.height - 1):
        for at in range(y * wide + 1, (y + 1) * wide - 1):
            above, below = at - wide, at + wide
            across = grey[above + 1] + 2 * grey[at + 1] + grey[below + 1]
            across -= grey[above - 1] + 2 * grey[at - 1] + grey[below - 1]
            down = grey[below - 1] + 2 * grey[below] + grey[below + 1]
            down -= grey[above - 1] + 2 * grey[above] + grey[above + 1]
            out[at] = min(255, abs(across) + abs(down))
    return bytes(out)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with World(tmp_path_factory.mktemp("world")) as world:
        root = world.start_root()
        world.start_cloudlet("near", "198.51.100.21", "40.4,-79.9", roots=[root.url], more_images=["mirror"])
        world.wait_for_cloudlets(1)
        yield world


@needs(*WORLD, "gcc")
def test_the_app_gets_its_backend_and_says_where_each_frames_time_went(world, tmp_path):
    files = {name: tmp_path / f"times.{name}" for name in ("csv", "json", "plot", "picture")}
    options = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    world.device.run(
        *(*EXAMPLE, world.root.url, "--jit=off", f"--frames={FRAMES}", "--fps=20", *options),
        timeout=110,
        env={"XDG_STATE_HOME": str(tmp_path), "PYTHONPATH": str(PROJECT)},
    )
    told = json.loads(files["json"].read_text())
    frames = told["frames"]
    assert told["summary"]["frames"] == len(frames) >= 20
    assert told["summary"]["cloudlets"] == ["near"]
    for frame in frames:
        assert sum(frame[part] for part in PARTS) == pytest.approx(frame["total"], abs=0.01)
        assert all(frame[part] >= 0 for part in PARTS), frame
        assert frame["processing"] > 0
    with files["csv"].open() as lines:
        assert [float(row["total"]) for row in csv.DictReader(lines)] == [f["total"] for f in frames]
    head, grey = files["picture"].read_bytes().split(b"\n255\n", 1)
    assert head == b"P5\n320 240"
    (last,) = islice(moving_disc(), FRAMES - 1, FRAMES)
    assert grey == outline(last)
    assert_plot(files["plot"], len(frames))


def assert_plot(path: Path, frames: int) -> None:
    """A bar for each frame inside the picture, and none longer than the scale."""
    drawing = ET.fromstring(path.read_text())
    bars = [
        shape for shape in drawing.findall(".//{*}rect") if "x" in shape.attrib and shape.get("width") != "13"
    ]
    edges = {bar.get("x") for bar in bars}
    assert len(edges) == frames
    for bar in bars:
        x, y, width, height = (float(bar.get(name, "nan")) for name in ("x", "y", "width", "height"))
        assert 62 <= x < x + width <= 900
        assert 78 <= y < y + height <= 420 - 48 + 0.01
    assert any(f"{frames} frames from near" in (text.text or "") for text in drawing.findall(".//{*}text"))


@needs(*WORLD, "gcc")
def test_the_same_app_behind_sinfonia_run_knows_its_backend_by_name_alone(world):
    app = (*EXAMPLE, "--at", "mirror", "--frames=5")
    done = world.sinfonia("run", world.root.url, MIRROR, "--jit=off", "--", *app, timeout=110)
    assert "5 frames, 0 lost" in done.stdout


@needs(*WORLD, "gcc")
def test_frames_go_on_where_the_cloudlet_is_taken_away_in_the_middle(world, tmp_path):
    root = world.root
    world.start_cloudlet("next", "198.51.100.22", "41.4,-79.9", roots=[root.url], more_images=["mirror"])
    world.wait_for_cloudlets(2)
    told, log = tmp_path / "times.json", tmp_path / "log"
    options = ("--jit=off", "--location=40.4,-79.9", "--fps=20", "--frames=2000", f"--json={told}")
    env = {"XDG_STATE_HOME": str(tmp_path), "PYTHONPATH": str(PROJECT)}
    program = world.device.popen([*EXAMPLE, root.url, *options], log=log, env=env)
    assert poll(lambda: re.search(r"^connected: \w+", log.read_text(), re.MULTILINE), 60), log.read_text()
    (first,) = re.findall(r"^connected: (\w+)", log.read_text(), re.MULTILINE)
    (other,) = world.cloudlets.keys() - {first}
    state = str(world.folder / first / "state")
    world.cloudlets[first].machine.run(str(BIN / "sinfonia-agent"), "drain", "--state", state)
    assert poll(lambda: f"handed_over: {other}" in log.read_text(), 60), log.read_text()
    since = time.monotonic()
    assert poll(lambda: time.monotonic() > since + 1)  # frames, from there
    program.send_signal(signal.SIGINT)
    assert program.wait(30) == 0, log.read_text()
    summary = json.loads(told.read_text())["summary"]
    assert summary["cloudlets"] == [first, other]
    assert summary["lost"] <= 2, "it was not in reach for longer than a frame"


FRAME = struct.Struct("!4sIHH")
ANSWER = struct.Struct("!IHHQQQ")
PATIENCE = 1  # seconds that the backend gives a frame, here
MOST = 8


class Mirror:
    """The backend's program, made to notice its own mistakes, on a machine of its own."""

    def __init__(self, folder: Path, machine: Machine) -> None:
        self._machine, self._log = machine, folder / "log"
        source, program = PROJECT / "infra/images/mirror/mirror.c", folder / "mirror"
        checks = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
        patience = f"-DFRAME_SECONDS={PATIENCE}"
        made = [
            "gcc",
            "-O1",
            *checks,
            patience,
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pthread",
            "-o",
            str(program),
        ]
        subprocess.run([*made, str(source)], check=True, timeout=120)
        self.program = machine.popen([str(program)], log=self._log)
        assert poll(self._answers, 30), self._log.read_text()

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), self.connect():
            return True
        return False

    def connect(self, timeout: float = 30.0) -> socket.socket:
        with inside(self._machine):
            return socket.create_connection(("127.0.0.1", 8080), timeout)

    def is_well(self) -> None:
        """Serves a good client, and has complained of nothing."""
        picture = Picture(5, 4, bytes(range(0, 200, 10)))
        assert poll(lambda: self._has_room())
        with self.connect() as connection:
            answer = Backend(connection, time.monotonic).outline(picture)
        assert answer.picture.grey == outline(picture)
        assert self.program.poll() is None
        assert self._log.read_text() == ""

    def _has_room(self) -> bool:
        with contextlib.suppress(OSError), self.connect() as connection:
            Backend(connection, time.monotonic).compare_clocks()
            return True
        return False


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    with Machine("backend") as machine:
        yield Mirror(tmp_path_factory.mktemp("mirror"), machine)


def is_ended(connection: socket.socket, seconds: float = 30.0) -> bool:
    """Whether the other side ends the connection, whatever it says before."""
    connection.settimeout(seconds)
    try:
        while connection.recv(65536):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


backend = needs("root", "ip", "nsenter", "setpriv", "catatonit", "gcc")


@backend
@pytest.mark.parametrize(
    "head",
    [
        FRAME.pack(b"SFM2", 1, 3, 3),
        FRAME.pack(b"\0\0\0\0", 0, 0, 0),
        FRAME.pack(b"SFM1", 1, 65535, 65535),
        FRAME.pack(b"SFM1", 1, 1281, 720),
        FRAME.pack(b"SFM1", 1, 65535, 15),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_a_frame_that_is_none_or_too_large_ends_the_connection_alone(mirror: Mirror, head: bytes) -> None:
    with mirror.connect() as connection:
        connection.sendall(head)
        assert is_ended(connection)
    mirror.is_well()


@backend
@pytest.mark.parametrize(
    ("width", "height"),
    [(0, 0), (65535, 0), (0, 65535), (1, 1), (2, 2), (1, 65535), (65535, 14), (1280, 720)],
)
def test_frames_of_odd_sizes_are_answered(mirror: Mirror, width: int, height: int) -> None:
    picture = Picture(width, height, random.Random(0).randbytes(width * height))
    with mirror.connect() as connection:
        answer = Backend(connection, time.monotonic).outline(picture)
    if width * height < 100_000:
        assert answer.picture.grey == outline(picture)
    mirror.is_well()


@backend
@pytest.mark.parametrize("cut", [0, 1, 11, 12, 13, 5000])
@pytest.mark.parametrize("reset", [False, True], ids=["ended", "reset"])
def test_frames_that_are_cut_off_cost_nothing(mirror: Mirror, cut: int, reset: bool) -> None:
    whole = FRAME.pack(b"SFM1", 7, 100, 100) + bytes(10_000)
    for _ in range(3 * MOST):  # more than it has places
        with mirror.connect() as connection:
            connection.sendall(whole[:cut])
            if reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    mirror.is_well()


@backend
def test_noise_of_any_kind_is_survived(mirror: Mirror) -> None:
    chance = random.Random(7)
    for _ in range(60):
        head = FRAME.pack(
            b"SFM1", chance.getrandbits(32), chance.choice([0, 1, 3, 9, 400]), chance.randrange(500)
        )
        noise = chance.choice([head, b"", b"SFM1"]) + chance.randbytes(chance.randrange(3000))
        with contextlib.suppress(ConnectionError), mirror.connect() as connection:
            connection.sendall(noise)
    mirror.is_well()


def trickle(connection: socket.socket, ended: threading.Event) -> None:
    """A byte of a frame at a time, never silent for long."""
    with contextlib.suppress(OSError):
        for byte in FRAME.pack(b"SFM1", 1, 100, 100) + bytes(10_000):
            connection.sendall(bytes([byte]))
            if ended.wait(0.05):
                return


def swallow(connection: socket.socket, ended: threading.Event) -> None:
    """Frames, as fast as they go, whose answers nobody reads."""
    frame = FRAME.pack(b"SFM1", 1, 1280, 720) + bytes(1280 * 720)
    with contextlib.suppress(OSError):
        while not ended.is_set():
            connection.sendall(frame)


@backend
@pytest.mark.parametrize("hostile", [trickle, swallow])
def test_slow_clients_lose_their_places_and_hold_nobody_up(
    mirror: Mirror, hostile: Callable[[socket.socket, threading.Event], None]
) -> None:
    ended = threading.Event()
    with contextlib.ExitStack() as closing:
        good = closing.enter_context(mirror.connect())
        served = Backend(good, time.monotonic)
        slow = [closing.enter_context(mirror.connect()) for _ in range(MOST - 1)]
        threads = [threading.Thread(target=hostile, args=(one, ended)) for one in slow]
        closing.callback(lambda: [thread.join(30) for thread in threads])
        closing.callback(ended.set)
        for thread in threads:
            thread.start()
        with mirror.connect() as too_many:
            assert is_ended(too_many, 10)
        picture = Picture(5, 4, bytes(range(0, 200, 10)))
        waiting = select.poll()
        for one in slow:
            waiting.register(one, select.POLLHUP | select.POLLERR)
        gone: set[int] = set()

        def all_gone() -> bool:
            assert served.outline(picture).picture.grey == outline(picture)
            gone.update(number for number, _ in waiting.poll(0))
            return len(gone) == len(slow)

        assert poll(all_gone, 60 * PATIENCE)
    mirror.is_well()
