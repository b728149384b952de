"""`python -m tests.rounds_sdk [N] [--json]`: kill the SDK at random points, N times, and see what is left.

On a device of its own, each round starts `sinfonia run` with and without root in turn, and while it starts
or when the app runs kills, ends or stops something of it: the command, the app, WireGuard, the program that
holds the namespaces, or all at once. Then the command is ended as well if it still runs, and nothing may
stay: no process, interface, mount, claim on a tunnel, temporary file.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab import ordinary
from tests.lab.machine import Machine, Network, end_as_by_ctrl_c, poll

ADDRESS = "198.51.100.7"
_DEEDS = ("KILL", "KILL", "TERM", "INT", "STOP")
_VICTIMS = ("device_sdk.cli run", "device_sdk.cli run", "inside.py", "wireguard-go", "sleep 300", "")
"""Words of a command line; the command itself is twice as likely, the last one means all."""
_MOST_SECONDS = 3.0
_UP_SHARE = 0.6  # of the rounds: something happens only when the app runs
_GONE_SECONDS = 15.0
_APP = "trap '' INT; echo on; exec sleep 300"
_LOOK = (
    "ip -o link; ip route; ip rule; ip netns list; cat /proc/mounts; ls -A /run /run/wireguard /run/tmp 2>&1;"
    " ls -A /run/state/sinfonia/keys 2>&1; awk 'NR>1 && $8 ~ /^@/ {print $8}' /proc/net/unix"
)


@dataclass
class Tally:
    """What was seen; `left` names what stayed behind, by round, and has to be empty."""

    rounds: int = 0
    tunnels_up: int = 0
    deeds: Counter[str] = field(default_factory=Counter)
    left: dict[int, str] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether nothing was left."""
        return not self.left


class Device:
    """A device, and a stand-in for a cloudlet on the same network."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.folder = folder
        lan = stack.enter_context(Network("lan", "198.51.100.0/24"))
        cloudlet, self.machine = (stack.enter_context(Machine(name)) for name in ("cloudlet", "device"))
        lan.attach(cloudlet, ADDRESS)
        lan.attach(self.machine, "198.51.100.50")
        log = folder / "cloudlet.log"
        stand_in = [sys.executable, "-m", "tests.fakes.device_sdk_cloudlet", ADDRESS, "--ready-after", "0.3"]
        stack.callback(cloudlet.popen(stand_in, log=log).kill)
        assert poll(lambda: log.exists() and "serving" in log.read_text()), log.read_text()
        self.lan, self.cloudlet = lan, cloudlet
        self.machine.run("mkdir", "-m", "777", "/run/tmp")
        self.environment = {**ordinary.prepare(self.machine), "TMPDIR": "/run/tmp"}
        self.log = folder / "run.log"

    def start(self, *, root: bool, app: str = _APP):
        """`sinfonia run` with an app, a line for the shell."""
        run = ["run", f"http://{ADDRESS}:7070", "helloworld", "--jit", "off", "--quiet", "--"]
        command = [sys.executable, "-m", "device_sdk.cli", *run, "sh", "-c", app]
        user = () if root else ordinary.USER
        # Each user has its own state folder: root must not leave files that the other can't read.
        state = {"XDG_STATE_HOME": "/run/root-state" if root else ordinary.STATE}
        self.log.write_bytes(b"")
        return self.machine.popen([*user, *command], log=self.log, env={**self.environment, **state})

    def is_up(self) -> bool:
        """Whether the app runs behind its tunnel."""
        return "on" in self.log.read_text(errors="replace").split()

    def do(self, deed: str, words: str) -> None:
        """Send the signal to whatever has these words in its command line."""
        pids = [line.split()[0] for line in self.machine.processes() if words in line]
        if pids:
            self.machine.run("kill", f"-{deed}", *pids, check=False)

    def state(self) -> str:
        """All that could be left behind."""
        return "\n".join([self.machine.run("sh", "-c", _LOOK).stdout, *self.machine.processes()])


def run(rounds: int, seed: int, folder: Path) -> Tally:
    """Do so many deeds."""
    chance, tally = random.Random(seed), Tally()
    with ExitStack() as stack:
        device = Device(stack, folder)
        for root in (True, False):  # keys come into being, and stay
            program = device.start(root=root)
            assert poll(device.is_up, _GONE_SECONDS), device.log.read_text()
            _end(program, device)
        before = device.state()
        for number in range(rounds):
            _round(device, chance, tally, root=bool(number % 2))
            _check(device, before, tally)
            if not tally.good:
                break
    return tally


def _round(device: Device, chance: random.Random, tally: Tally, *, root: bool) -> None:
    program = device.start(root=root)
    if chance.random() < _UP_SHARE:
        poll(lambda: device.is_up() or program.poll() is not None, _GONE_SECONDS)
        poll(lambda: False, chance.uniform(0, 0.3))
    else:
        poll(lambda: False, chance.uniform(0, _MOST_SECONDS))
    tally.tunnels_up += device.is_up()
    deed, words = chance.choice(_DEEDS), chance.choice(_VICTIMS)
    tally.deeds[f"{deed} {words or 'all'}"] += 1
    device.do(deed, words)
    poll(lambda: False, chance.uniform(0, 0.5))
    device.do("CONT", "")
    program.go_on()
    _end(program, device)


def _end(program, device: Device) -> None:
    """End the command as its user would, and hold it to that."""
    device.do("TERM", "device_sdk.cli run")
    if not poll(lambda: program.poll() is not None, _GONE_SECONDS):
        program.kill()
        raise AssertionError(f"the command did not end:\n{device.log.read_text()[-2000:]}")


def _check(device: Device, before: str, tally: Tally) -> None:
    tally.rounds += 1
    seen: list[str] = []

    def gone() -> bool:
        seen[:] = [device.state()]
        return seen[0] == before

    if not poll(gone, _GONE_SECONDS, 0.05):
        kept = set(before.splitlines())
        tally.left[tally.rounds] = "\n".join(line for line in seen[0].splitlines() if line not in kept)
    said = device.log.read_text(errors="replace")
    if "Traceback" in said and not said.endswith("KeyboardInterrupt\n"):  # while Python still imports
        tally.left[tally.rounds] = said[-3000:]


def main() -> int:
    """Run from the command line; the exit status says whether nothing was left."""
    parser = argparse.ArgumentParser(prog="python -m tests.rounds_sdk", description=__doc__)
    parser.add_argument("rounds", nargs="?", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    end_as_by_ctrl_c()
    with tempfile.TemporaryDirectory() as folder:
        tally = run(options.rounds, options.seed, Path(folder))
    told = {**vars(tally), "good": tally.good}
    sys.stdout.write(f"{json.dumps(told) if options.json else tally}\n")
    return 0 if tally.good else 1


if __name__ == "__main__":
    sys.exit(main())
