"""The main job on one machine: `make demo`.

Makes hosts out of namespaces, starts the real programs in them, and shows one call on a device giving it a
backend through a WireGuard tunnel; then the chosen cloudlet vanishes, and at last the root does too. Every
step is checked; the first that did not really happen ends the demo with status 1.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.lab.machine import end_as_by_ctrl_c, poll
from tests.lab.needs import missing
from tests.lab.world import World

FOLDER = Path(__file__).resolve().parents[1] / ".build" / "demo"
LOGS = FOLDER.parent / "demo-logs"
NEEDS = (
    "root tun ip nsenter setpriv catatonit wg wireguard-go nft podman runc netavark iptables curl helm"
    " busybox-static"
)
CLOUDLETS = {  # name: address, latitude and longitude
    "pittsburgh": ("198.51.100.21", "40.4433,-79.9436"),
    "frankfurt": ("198.51.100.22", "50.1109,8.6821"),
    "melbourne": ("198.51.100.23", "-37.8136,144.9631"),
}
HERE = "40.44,-79.95"  # the device is in Pittsburgh
PAGE = ("--", "curl", "-sS", "--fail", "--max-time", "10", "http://helloworld/")


class StepError(Exception):
    """A step did not really happen; the message says what is wrong."""


class Show:
    """What a person sees: a line a step, with the time that it took and what was found."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._colour = sys.stdout.isatty()

    def title(self, text: str) -> None:
        """Begin a scene."""
        print(f"\n{self._paint('1', text)}", flush=True)

    @contextmanager
    def step(self, text: str) -> Iterator[Callable[[str], None]]:
        """Show a step as it begins and as it ends; what is passed to the callable follows as a remark."""
        begun = time.monotonic()
        remarks: list[str] = []
        if self._colour:
            print(f"  … {text}", end="\r", flush=True)
        try:
            yield remarks.append
        except BaseException:
            print(f"  {self._paint('31', '✗')} {text}", flush=True)
            raise
        took = time.monotonic() - begun
        print(f"  {self._paint('32', '✓')} {text:<74} {took:6.2f} s", flush=True)
        for remark in remarks:
            print(f"      {self._paint('2', remark)}", flush=True)

    def end(self) -> None:
        """Say that all is done."""
        print(
            f"\n{self._paint('1', 'All of it really happened')}, in {time.monotonic() - self._start:.0f} s."
        )

    def _paint(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._colour else text


def main(arguments: list[str] | None = None) -> int:
    """Run the demo.

    Returns 0 if every step happened, 1 if one did not, 2 if the demo can't run here, 130 if it was stopped.
    """
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.parse_args(arguments)
    lacking = [words for words in map(missing, NEEDS.split()) if words]
    if lacking:
        print(
            f"demo: this machine lacks {', '.join(lacking)}; `make setup` as root installs it",
            file=sys.stderr,
        )
        return 2
    end_as_by_ctrl_c()
    FOLDER.parent.mkdir(exist_ok=True)
    with (FOLDER.parent / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("demo: another demo is running in this checkout", file=sys.stderr)
            return 2
        return _guarded(Show())


def _guarded(show: Show) -> int:
    before = _traces()
    try:
        try:
            _run(show)
        finally:
            with show.step("Everything is taken away again: nothing is left behind"):
                if not poll(lambda: not _traces() - before, 5):
                    raise StepError(f"left behind: {sorted(_traces() - before)}")
    except KeyboardInterrupt:
        print("\ndemo: stopped", file=sys.stderr)
        return 130
    except (StepError, AssertionError, subprocess.TimeoutExpired) as error:
        print(f"\ndemo: {error}\nThe programs' logs are in {LOGS}", file=sys.stderr)
        return 1
    show.end()
    return 0


def _run(show: Show) -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)  # of a demo that was killed
    with World(FOLDER) as world:
        try:
            _scenes(show, world)
        finally:
            _keep_logs()


def _scenes(show: Show, world: World) -> None:
    show.title("A root and three cloudlets far apart")
    with show.step("A root starts: the Chalice app over an embedded DynamoDB"):
        root = world.start_root()
    for name, (address, location) in CLOUDLETS.items():
        with show.step(f"A cloudlet starts in {name.title()}: Podman, WireGuard, sinfonia-agent"):
            world.start_cloudlet(name, address, location, roots=[root.url])
    with show.step("The cloudlets have registered themselves with the root") as remark:
        for cloudlet in world.wait_for_cloudlets(len(CLOUDLETS)):
            remark(f"{cloudlet['name']:<12} {cloudlet['endpoint']}")

    show.title("A device in Pittsburgh wants its backend")
    with show.step("sinfonia find: the nearest first") as remark:
        found = json.loads(
            world.sinfonia(
                "find", root.url, "helloworld", "--json", "--jit=off", "--results=3", f"--location={HERE}"
            ).stdout
        )
        names = [candidate["Name"] for candidate in found]
        _expect(names[:1] == ["pittsburgh"], f"expected pittsburgh first, got {names}")
        for candidate in found:
            remark(f"{candidate['Name']:<12} {candidate.get('DistanceKm', 0):8.0f} km")
    first = _fetch(show, world, root.url, "--jit=off")
    _expect(first == "pittsburgh", f"expected pittsburgh to serve, got {first}")

    show.title("The chosen cloudlet vanishes")
    with show.step(f"The power fails in {first.title()}"):
        world.cloudlets[first].vanish()
    second = _fetch(show, world, root.url, "--jit=off")
    _expect(second not in ("", first), f"{first} is gone and yet {second or 'nobody'} serves")

    show.title("The root vanishes; a cloudlet appears on the device's own network")
    with show.step("The root is cut off"):
        root.vanish()
    with show.step("A just-in-time cloudlet starts at home, with no root, and announces itself"):
        world.start_cloudlet("kitchen", "192.168.77.30", options=["--announce"])
    third = _fetch(show, world, root.url, "--jit=prefer")
    _expect(third == "kitchen", f"expected the kitchen to serve, got {third}")


def _fetch(show: Show, world: World, root_url: str, jit: str) -> str:
    """Run curl around the SDK, check the page, and return the name of the cloudlet that served it."""
    options = (jit, f"--location={HERE}")
    with show.step("sinfonia run … -- curl http://helloworld/") as remark:
        done = world.sinfonia("run", root_url, "helloworld", *options, *PAGE, check=False)
        if done.returncode:
            raise StepError(f"sinfonia run ended with status {done.returncode}:\n{done.stderr}")
        for line in done.stderr.strip().splitlines():
            remark(line)
        page = done.stdout.strip()
        _expect("Hello" in page, f"that is not the page of helloworld: {page[:200]!r}")
        remark(f"page: {_text(page)}")
    return next((name for name in world.cloudlets if name in page), "")


def _text(page: str) -> str:
    """Return what a browser would show of a small page."""
    inside = page[page.find("<body>") :] if "<body>" in page else page
    words = (part.split(">", 1)[-1].strip() for part in inside.split("<"))
    return " ".join(word for word in words if word)


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise StepError(message)


def _traces() -> frozenset[str]:
    """Return what of ours could be left on this machine: tunnels' interfaces, files, mounts, processes."""
    links: list[dict[str, Any]] = json.loads(subprocess.check_output(["ip", "-json", "link"], timeout=10))
    found = {f"interface {link['ifname']}" for link in links if link["ifname"].startswith("sf")}
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    found |= {f"mount {line.split()[1]}" for line in mounts if str(FOLDER) in line}
    found |= {f"folder {path}" for path in (FOLDER,) if path.exists()}
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(FOLDER) in command and process.parent.name != str(os.getpid()):
            found.add(f"process {process.parent.name} {command[:80]}")
    return frozenset(found)


def _keep_logs() -> None:
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    for log in FOLDER.glob("*.log"):
        shutil.copy(log, LOGS)


if __name__ == "__main__":
    sys.exit(main())
