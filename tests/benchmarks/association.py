"""From the SDK's call to the first byte of the backend's page through the tunnel, phase by phase.

A root, three cloudlets on the Internet and later one at home, and a device, each a host of its own with the
real programs; the image is present and every round starts with no backend. Four ways of calling: the nearest
cloudlet alone (`total_s` and its phases), three targets of which the first (`three_total_s`) or the fastest
(`fastest_total_s`) is taken, and a cloudlet at home found by Zeroconf (`jit_total_s`). And beside the
published client, as whole programs that run one and the same command: `program_s` and `published_total_s`,
their `ratio`, turn by turn with a key that nobody had before. Run in the device's host as `python -m
tests.benchmarks.association ROOT ROUNDS CASE`, where it prints the rounds as JSON.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import statistics
import sys
import tempfile
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

from tests.benchmarks.figures import Figures
from tests.lab.machine import poll
from tests.lab.world import BIN, HELLOWORLD, PROJECT, Host, World

ROUNDS = 5
PHASES = ("root_s", "agent_s", "container_s", "tunnel_s", "first_byte_s")
CASES: dict[str, dict[str, Any]] = {
    "one": {"jit": "off", "results": 1},
    "three": {"jit": "off", "results": 3},
    "fastest": {"jit": "off", "results": 3},
    "jit": {"jit": "prefer", "results": 1},
}
PUBLISHED = PROJECT / ".cache" / "published-client" / "bin" / "sinfonia-tier3"
_PLACES = {"near": "40.44,-79.94", "next": "39.95,-75.16", "far": "41.88,-87.63"}
_FETCH = "until curl -sS --fail -m 2 http://helloworld/ 2>/dev/null; do sleep 0.05; done"


def run(max_size: int | None = None) -> Figures:
    """Return the median of each phase and of each whole, over `max_size` rounds (at most 5)."""
    rounds = min(ROUNDS, max_size or ROUNDS)
    with tempfile.TemporaryDirectory() as folder, World(Path(folder) / "world") as world:
        root = world.start_root()
        for number, (name, place) in enumerate(_PLACES.items(), 21):
            world.start_cloudlet(name, f"198.51.100.{number}", place, roots=[root.url])
        world.wait_for_cloudlets(len(_PLACES))
        agent_s = statistics.median(_ask_agent(world, world.cloudlets["near"]) for _ in range(rounds))
        figures = _in_device(world, "one", rounds)
        three = {case: _in_device(world, case, rounds)["total_s"] for case in ("three", "fastest")}
        programs = _programs(world, rounds)
        world.start_cloudlet("home", "192.168.77.30", options=["--announce"])
        jit = _in_device(world, "jit", rounds)["total_s"]
    # The SDK sees the root and the agent as one; what the agent takes was asked of it alone.
    figures["agent_s"] = agent_s
    figures["root_s"] = max(0.0, figures["root_s"] - agent_s)
    ordered = {key: figures[key] for key in ("total_s", *PHASES)}
    ordered |= {"three_total_s": three["three"], "fastest_total_s": three["fastest"], "jit_total_s": jit}
    ordered |= programs
    ordered = {key: round(value, 4) for key, value in ordered.items()}
    compared: dict[str, float | str] = {
        "total_s": 3.0,
        "agent_s": "a deploy call made to the agent alone",
        "program_s": "published_total_s",
        "ratio": 0.7,
    }
    units = {key: "x" if key == "ratio" else "s" for key in ordered}
    return Figures("association", ordered, units, compared)


def _in_device(world: World, case: str, rounds: int) -> dict[str, float]:
    """Run the rounds of a case in the device's host; return the medians."""
    assert world.root is not None
    done = world.device.run(
        *(sys.executable, "-m", "tests.benchmarks.association", world.root.url, str(rounds), case),
        timeout=60 + 20 * rounds,
        env={"PYTHONPATH": str(PROJECT), "XDG_STATE_HOME": str(world.folder / "device")},
    )
    measured = json.loads(done.stdout.splitlines()[-1])
    return {key: statistics.median(each[key] for each in measured) for key in measured[0]}


def _programs(world: World, rounds: int) -> dict[str, float]:
    """Our command and the published client's, from start to end, each with a new key."""
    assert world.root is not None
    url, fetch = world.root.url, ("/bin/sh", "-c", _FETCH)
    where = ("--jit=off", "--location=40.44,-79.94", "--quiet", "--release")
    commands = {
        "program_s": (str(BIN / "sinfonia"), "run", url, HELLOWORLD, *where, "--", *fetch),
        "published_total_s": (str(PUBLISHED), url, HELLOWORLD, *fetch),
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number, (name, command) in itertools.product(range(rounds), commands.items()):
        home = world.folder / f"{name}{number}"
        home.mkdir()
        names = ("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME")
        started = time.perf_counter()
        done = world.device.run(*command, timeout=90, env=dict.fromkeys(names, str(home)))
        times[name].append(time.perf_counter() - started)
        assert "Hello" in done.stdout, done
    medians = {name: statistics.median(each) for name, each in times.items()}
    return {**medians, "ratio": medians["program_s"] / medians["published_total_s"]}


def _ask_agent(world: World, cloudlet: Host) -> float:
    """Return the seconds of one deploy call to the agent from the root's host, with a key of its own."""
    assert world.root is not None
    key = urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
    url = f"{cloudlet.url}/api/v1/deploy/{HELLOWORLD}/{key}?wait=0"
    done = world.root.machine.run(
        "curl", "-sS", "--fail", "-o", "/dev/null", "-w", "%{time_total}", "-X", "POST", url
    )
    return float(done.stdout)


def _round(root_url: str, case: str) -> dict[str, float] | None:
    """One association and its end; None if a cloudlet was too busy to be among the targets."""
    import device_sdk

    times = [time.perf_counter()]
    targets = device_sdk.deploy_backend(root_url, HELLOWORLD, location=(40.44, -79.94), **CASES[case])
    complete = len(targets) >= CASES[case]["results"] and targets[0].jit == (case == "jit")
    times.append(time.perf_counter())
    if case in ("one", "jit"):
        tunnel, chosen = device_sdk.open_tunnel(targets[0]), None
    else:
        how = "fastest" if case == "fastest" else "first"
        chosen = device_sdk.choose(targets, how, ready_timeout=30)
        tunnel = chosen.tunnel
    with tunnel:
        times.append(time.perf_counter())
        tunnel.wait_ready(timeout=30)
        times.append(time.perf_counter())
        with tunnel.connect(("helloworld", 80)) as page:
            page.sendall(b"GET / HTTP/1.0\r\nHost: helloworld\r\n\r\n")
            first = page.recv(1)
            times.append(time.perf_counter())
            rest = page.makefile("rb").read()
        assert b"Hello" in first + rest, "that is not the page of helloworld"
        tunnel.release()
    if chosen is not None:
        chosen.wait_released(30)
    root_and_agent, tunnel_up, ready, first_byte = (b - a for a, b in itertools.pairwise(times))
    if not complete:
        return None
    return {
        "total_s": times[-1] - times[0],
        "root_s": root_and_agent,
        "tunnel_s": tunnel_up,
        "container_s": ready,
        "first_byte_s": first_byte,
    }


def _gone(root_url: str, jit: str) -> bool:
    import device_sdk

    try:
        device_sdk.find_deployments(root_url, HELLOWORLD, jit=jit)
    except device_sdk.SinfoniaError:
        return True
    return False


if __name__ == "__main__":
    found: list[dict[str, float]] = []
    for _ in range(3 * int(sys.argv[2])):
        if len(found) == int(sys.argv[2]):
            break
        # A key that nobody had before: a backend that is still being removed would be waited for.
        with tempfile.TemporaryDirectory() as home:
            os.environ["XDG_STATE_HOME"] = home
            found += filter(None, [_round(sys.argv[1], sys.argv[3])])
            poll(lambda: _gone(sys.argv[1], CASES[sys.argv[3]]["jit"]), 10, 0.1)
    print(json.dumps(found))
