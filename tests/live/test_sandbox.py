"""The sandbox of a tunnel when something goes wrong with what holds it, on this machine's own kernel."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_sdk.errors import TunnelError
from device_sdk.tunnels.sandbox import Sandbox
from tests.lab.machine import poll
from tests.lab.needs import needs

live = needs("root", "tun", "ip", "nsenter", "setpriv", "wireguard-go")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    made = Sandbox("")
    yield made
    made.close()


def daemon_of(sandbox: Sandbox) -> int:
    """The WireGuard in there."""
    holder = sandbox._program.pid
    return int(Path(f"/proc/{holder}/task/{holder}/children").read_text().split()[0])


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


HARD_TO_END = """
setsid sh -c 'trap "echo bye; exit 0" TERM; echo polite $$; while :; do sleep 0.02; done' &
setsid sh -c 'trap "" TERM; echo stubborn $$; while :; do sleep 0.02; done' &
sh -c 'echo stopped $$; kill -STOP $$; exec sleep 300' &
unshare --net sh -c 'echo elsewhere $$; exec sleep 300' &
echo main $$
trap '' TERM
while :; do sleep 0.02; done
"""
NAMES = {"polite", "stubborn", "stopped", "elsewhere", "main"}
APP = """
import sys
from device_sdk.tunnels.sandbox import Sandbox
made = Sandbox("")
made.spawn(["sh", "-c", sys.argv[1]])
sys.stdin.read()
made.close()
"""


@pytest.fixture
def said(tmp_path: Path) -> Iterator[Path]:
    """Where programs that are hard to end say who they are. What still runs in the end is killed."""
    file = tmp_path / "said"
    file.touch()
    yield file
    for pid in numbers(file).values():
        if is_there(pid):
            os.kill(pid, signal.SIGKILL)


def numbers(said: Path) -> dict[str, int]:
    lines = [line.split() for line in said.read_text().splitlines()]
    return {line[0]: int(line[1]) for line in lines if len(line) == 2}


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def started(said: Path) -> dict[str, int]:
    """The numbers of them all, once they have started."""
    assert poll(lambda: numbers(said).keys() == NAMES), said.read_text()
    assert poll(lambda: is_stopped(numbers(said)["stopped"]))
    return numbers(said)


def ended(said: Path, pids: dict[str, int]) -> bool:
    """Whether all have but the one that had left, and those that say goodbye have."""
    here = {name for name, pid in pids.items() if is_there(pid)}
    return here == {"elsewhere"} and "bye" in said.read_text()


@live
@pytest.mark.parametrize("end", ["closed", "killed", "killed holder"])
def test_nothing_of_an_app_outlives_its_network(end: str, said: Path) -> None:
    with said.open("wb") as file:
        app = subprocess.Popen([sys.executable, "-c", APP, HARD_TO_END], stdin=subprocess.PIPE, stdout=file)
    try:
        pids = started(said)
        if end == "killed":
            app.kill()
        elif end == "killed holder":
            holder = Path(f"/proc/{app.pid}/task/{app.pid}/children").read_text().split()[0]
            os.kill(int(holder), signal.SIGKILL)
        app.communicate(timeout=30)
        assert poll(lambda: ended(said, pids)), (pids, said.read_text())
    finally:
        app.kill()
        app.wait(30)


@live
def test_ctrl_c_is_for_the_app_and_processor_time_is_the_apps(sandbox: Sandbox) -> None:
    holder = sandbox._program.pid
    assert os.getpgid(holder) != os.getpgrp()
    assert os.getsid(holder) == os.getsid(0), "a session would be a scheduling group of its own"


@live
def test_the_death_of_its_holder_is_told_and_takes_wireguard_along(sandbox: Sandbox) -> None:
    sandbox.start_wireguard("wg0")
    daemon = daemon_of(sandbox)
    os.kill(sandbox._program.pid, signal.SIGKILL)
    assert poll(lambda: not is_there(daemon))
    for call in (lambda: sandbox.run(["true"]), lambda: sandbox.make_socket(2, 1)):
        with pytest.raises(TunnelError, match="has ended"):
            call()
    sandbox.close()


@live
def test_wireguards_death_leaves_the_rest_usable(sandbox: Sandbox) -> None:
    sandbox.start_wireguard("wg0")
    os.kill(daemon_of(sandbox), signal.SIGKILL)
    assert poll(lambda: "wg0" not in sandbox.run(["ip", "-o", "link"]))
    sandbox.end_wireguard("wg0")
    sandbox.start_wireguard("wg0")
    assert "wg0" in sandbox.run(["ip", "-o", "link"])


@live
def test_a_wireguard_that_cannot_start_says_why_and_leaves_nothing(sandbox: Sandbox) -> None:
    sandbox.start_wireguard("wg0")
    with pytest.raises(TunnelError, match="WireGuard did not start"):
        sandbox.start_wireguard("a-name-that-is-too-long-for-an-interface")
    with pytest.raises(TunnelError, match="did not start"):
        sandbox.start_wireguard("lo")
    assert (
        len(Path(f"/proc/{sandbox._program.pid}/task/{sandbox._program.pid}/children").read_text().split())
        == 1
    )


SLOW_TO_LISTEN = f"""#!{sys.executable}
import os, select, socket
os.mkdir("/run/wireguard")
control = socket.socket(socket.AF_UNIX)
control.bind("/run/wireguard/wg0.sock")
select.select([], [], [], 0.3)
control.listen()
select.select([], [], [])
"""


@live
def test_a_wireguard_has_started_when_it_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "wireguard-go"
    program.write_text(SLOW_TO_LISTEN)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    sandbox = Sandbox("")
    try:
        sandbox.start_wireguard("wg0")
        sandbox.control("wg0").close()
    finally:
        sandbox.close()


@live
def test_a_late_answer_is_not_taken_for_the_next_ones() -> None:
    """Also with a descriptor: everything stood still in the middle of a call, and goes on."""
    sandbox = Sandbox("", call_seconds=0.5)
    try:
        os.kill(sandbox._program.pid, signal.SIGSTOP)
        with pytest.raises(TunnelError, match=r"longer than 0\.5 s"):
            sandbox.make_socket(socket.AF_INET, socket.SOCK_STREAM)
        with pytest.raises(TunnelError, match="longer than"):
            sandbox.run(["echo", "first"])
        os.kill(sandbox._program.pid, signal.SIGCONT)
        assert poll(lambda: _echo(sandbox, "second") == "second\n")
        assert sandbox.run(["echo", "third"]) == "third\n"
    finally:
        sandbox.close()


def _echo(sandbox: Sandbox, word: str) -> str:
    try:
        return sandbox.run(["echo", word])
    except TunnelError:
        return ""


@live
def test_a_start_of_wireguard_that_was_broken_off_is_taken_back() -> None:
    sandbox = Sandbox("", call_seconds=2.0)
    try:
        with sandbox._guard:
            sandbox._exchange({"do": "wireguard", "name": "wg0"})
        # Whoever asked gave up before saying that it may go on; the next call is another one.
        with pytest.raises(TunnelError):
            sandbox.run(["true"])
        sandbox.start_wireguard("wg0")
        assert "wg0" in sandbox.run(["ip", "-o", "link"])
    finally:
        sandbox.close()


@live
def test_nonsense_costs_a_call_and_not_the_sandbox(sandbox: Sandbox) -> None:
    for argv in (["no-such-program"], ["false"], []):
        with pytest.raises(TunnelError):
            sandbox.run(argv)
    with pytest.raises(TunnelError):
        sandbox.control("wg7")
    with pytest.raises(TunnelError):
        sandbox.make_socket(socket.AF_INET, 99)
    sandbox.end_wireguard("wg7")
    assert sandbox.run(["echo", "on"]) == "on\n"
