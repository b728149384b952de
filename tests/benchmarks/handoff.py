"""The gap that an app's requests see when its backend moves: one every 10 ms, each with a name to resolve and
a connection of its own, from a program inside the association's network.

A root, two cloudlets and a device, each a host of its own with the real programs. The cloudlet in use is left
for one that was prepared, drains, or is gone with all that it had. In the device's host run as `python -m
tests.benchmarks.handoff ROOT MOVE FOLDER EVERY`, and in the app's network as `… --requests FILE EVERY`.
"""

from __future__ import annotations

import itertools
import json
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.benchmarks.figures import Figures
from tests.lab.machine import poll
from tests.lab.world import BIN, PROJECT, Host, World

MOVES = ("prepared", "drain", "dead")
MOST = {"dead": 3.0, "drain": 0.2, "prepared": 0.05}
_EVERY_SECONDS = 0.01
_AT_ONCE = 2000  # so many may wait for a cloudlet that is gone
_BEFORE_SECONDS = 2.0
_AFTER_SECONDS = 2.0
_AROUND_SECONDS = 0.5
_REQUEST_SECONDS = 10.0
_LONGEST_SECONDS = 60.0


def run(max_size: int | None = None) -> Figures:
    """Return the gaps, and how many requests failed; `max_size` is of no meaning here."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, World(Path(folder) / "world") as world:
        root = world.start_root()
        world.start_cloudlet("near", "198.51.100.21", "40.44,-79.94", roots=[root.url])
        world.start_cloudlet("next", "198.51.100.22", "40.80,-80.50", roots=[root.url])
        world.wait_for_cloudlets(2)
        for move in MOVES:
            found = measure(world, move)
            figures |= {f"gap_{move}_s": found["gap_s"], f"lost_{move}": found["lost"]}
            figures["usual_gap_s"] = max(figures.get("usual_gap_s", 0.0), found["usual_gap_s"])
    unit = {name: "s" if name.endswith("_s") else "requests" for name in figures}
    compared: dict[str, float | str] = {f"gap_{move}_s": most for move, most in MOST.items()}
    return Figures("handoff", {name: round(value, 4) for name, value in figures.items()}, unit, compared)


def measure(world: World, move: str, every: float = _EVERY_SECONDS) -> dict[str, float]:
    """Let the app of a device move from the cloudlet that it is on to the other one; `every` so many seconds
    it makes a request.
    """
    assert world.root is not None
    log = world.folder / f"{move}.log"
    program = world.device.popen(
        [
            sys.executable,
            "-m",
            "tests.benchmarks.handoff",
            world.root.url,
            move,
            str(world.folder),
            str(every),
        ],
        log=log,
        env={"PYTHONPATH": str(PROJECT), "XDG_STATE_HOME": str(world.folder / f"device-{move}")},
    )
    try:
        _await(log, '"going"')
        cloudlet = world.cloudlets["near" if '"going": "near"' in log.read_text() else "next"]
        if move == "drain":
            _tell(world, cloudlet, "drain")
        elif move == "dead":
            cloudlet.vanish()
        _await(log, '"gap_s"')
        if move == "drain":
            _tell(world, cloudlet, "undrain")
        program.wait(30)
    finally:
        program.kill()
    found: dict[str, float] = json.loads(log.read_text().splitlines()[-1])
    return found


def _tell(world: World, cloudlet: Host, word: str) -> None:
    state = world.folder / cloudlet.machine.name / "state"
    cloudlet.machine.run(str(BIN / "sinfonia-agent"), word, "--state", str(state))


def _await(log: Path, word: str) -> None:
    if not poll(lambda: log.exists() and word in log.read_text(), _LONGEST_SECONDS, 0.05):
        raise AssertionError(f"no {word} within {_LONGEST_SECONDS:g} s: {log.read_text()[-3000:]}")


def _device(root_url: str, move: str, folder: Path, every: float) -> dict[str, float]:
    """The device's side of one move."""
    import device_sdk
    from device_sdk.associating.associate import associate

    told = threading.Event()

    def hear(event: Any) -> None:
        print(json.dumps(event.to_json()), flush=True)
        if event.kind == "handed_over":
            told.set()

    results = folder / f"{move}.requests"
    with associate(
        root_url, device_sdk.HELLOWORLD, jit="off", location=(40.44, -79.94), on_event=hear
    ) as app:
        before = app.target.place
        if move == "prepared":
            app.prepare()
        command = [sys.executable, "-m", "tests.benchmarks.handoff", "--requests", str(results), str(every)]
        requests = app.spawn(command)
        assert poll(lambda: results.exists() and results.read_text().count("\n") > 10, 60, 0.05)
        began = time.monotonic()
        assert poll(lambda: time.monotonic() > began + _BEFORE_SECONDS, 10)
        print(json.dumps({"going": before}), flush=True)
        if move == "prepared":
            app.switch()
        assert told.wait(_LONGEST_SECONDS), "no handover"
        moved = time.monotonic()
        assert poll(lambda: time.monotonic() > moved + _AFTER_SECONDS, 10)
        requests.terminate()
        requests.wait(30)
        assert app.target.place != before
        app.release()
    return gaps(results, began + _BEFORE_SECONDS, moved)


def gaps(results: Path, going: float, moved: float) -> dict[str, float]:
    """What the requests saw: the longest time between two that succeeded, around the moment that the app
    `moved`, and before `going`; and how many of those that were begun after it failed.
    """
    done = [json.loads(line) for line in results.read_text().splitlines() if line.endswith("]")]
    ends = sorted(end for _, end, error in done if not error)
    assert ends[-1] > moved, "no request succeeded after the move"
    between = [(later - earlier, later) for earlier, later in itertools.pairwise(ends)]
    lost = [each for each in done if each[2] and each[0] > going]
    for each in lost[:5]:
        print(json.dumps(["lost", each[0] - going, each[1] - going, each[2]]))
    return {
        "gap_s": max(
            gap for gap, later in between if abs(later - gap / 2 - moved) < gap / 2 + _AROUND_SECONDS
        ),
        "usual_gap_s": max(gap for gap, later in between if later <= going),
        "lost": float(len(lost)),
    }


def _requests(results: Path, every: float) -> None:
    """One request after the other, on time, whatever becomes of those before. What they ask for is not there:
    the page itself costs its server more than this machine has, a hundred times a second.
    """
    with results.open("w", buffering=1) as file, ThreadPoolExecutor(_AT_ONCE) as pool:
        began, pause = time.monotonic(), threading.Event()
        for number in itertools.count():
            pause.wait(max(0.0, began + number * every - time.monotonic()))
            pool.submit(_request, file.write)


def _request(put: Callable[[str], int]) -> None:
    started, error = time.monotonic(), ""
    try:
        [(_, _, _, _, address), *_] = socket.getaddrinfo("helloworld", 80, socket.AF_INET, socket.SOCK_STREAM)
        with socket.socket() as connection:
            connection.settimeout(_REQUEST_SECONDS)
            connection.connect(address)
            connection.sendall(b"GET /nothing HTTP/1.0\r\nHost: helloworld\r\n\r\n")
            page = b"".join(iter(lambda: connection.recv(65536), b""))
        error = "" if b"404" in page else "that is no answer"
    except OSError as problem:
        error = str(problem) or type(problem).__name__
    put(json.dumps([started, time.monotonic(), error]) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "--requests":
        _requests(Path(sys.argv[2]), float(sys.argv[3]))
    else:
        print(
            json.dumps(_device(sys.argv[1], sys.argv[2], Path(sys.argv[3]), float(sys.argv[4]))), flush=True
        )
