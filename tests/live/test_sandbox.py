"""The sandbox of a tunnel when something goes wrong with what holds it, on this machine's own kernel."""

from __future__ import annotations

import os
import signal
import socket
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
