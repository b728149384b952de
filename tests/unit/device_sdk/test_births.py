"""Sockets that are put in the place of another process's, by this machine's own kernel and without rights."""

from __future__ import annotations

import ast
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from device_sdk.tunnels.births import Births
from device_sdk.tunnels.inside import ARCHITECTURES
from tests.lab.machine import poll

pytestmark = pytest.mark.skipif(
    os.uname().machine not in ARCHITECTURES, reason="seccomp's numbers are not known for this processor"
)
PROGRAM = """
import json, os, socket, sys
from device_sdk.tunnels.inside import _install_filter
peer = socket.socket(fileno=int(sys.argv[1]))
listener = _install_filter()
socket.send_fds(peer, [b"l"], [listener])
os.close(listener)
while question := peer.recv(4096):
    family, address, blocking = json.loads(question)
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.setblocking(blocking)
    try:
        made.bind(address if isinstance(address, str) else tuple(address))
        answer = {"name": repr(made.getsockname()), "blocking": os.get_blocking(made.fileno())}
        answer["told"] = made.getsockopt(socket.IPPROTO_IP, 8) if family == socket.AF_INET else None
    except OSError as error:
        answer = {"errno": error.errno}
    peer.send(json.dumps(answer).encode())
    made.close()
"""
Ask = Callable[..., dict[str, Any]]


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as tried:
            tried.bind(("::1", 0))
    except OSError:
        return False
    return True


def serving() -> int:
    return sum(thread.name == "sinfonia-births" for thread in threading.enumerate())


@pytest.fixture
def ask() -> Iterator[Ask]:
    """A process behind the filter, which binds sockets as it is told."""
    with ExitStack() as stack:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.enter_context(ours)
        ours.settimeout(30)
        with theirs:
            command = [sys.executable, "-c", PROGRAM, str(theirs.fileno())]
            program = stack.enter_context(subprocess.Popen(command, pass_fds=[theirs.fileno()]))
        stack.callback(program.kill)
        _, (listener,), _, _ = socket.recv_fds(ours, 1, 1)
        before = serving()
        Births(listener)

        def asking(family: int, address: Any, *, blocking: bool = True) -> dict[str, Any]:
            ours.send(json.dumps([family, address, blocking]).encode())
            answer: dict[str, Any] = json.loads(ours.recv(4096))
            return answer

        yield asking
        program.kill()
        program.wait(10)
        assert poll(lambda: serving() == before), "nobody is left to ask, and it still waits"


@pytest.mark.parametrize("blocking", [True, False])
def test_what_is_bound_in_there_is_a_socket_of_ours(ask: Ask, blocking: bool) -> None:
    for _ in range(3):
        answer = ask(socket.AF_INET, ["127.0.0.1", 0], blocking=blocking)
        host, port = ast.literal_eval(answer["name"])
        assert (host, answer["blocking"]) == ("0.0.0.0", blocking)
        assert port > 0


def test_it_does_not_stick_to_an_address(ask: Ask) -> None:
    assert ask(socket.AF_INET, ["127.0.0.1", 0])["told"] == 0  # IP_PKTINFO (ip(7))


@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")
def test_so_it_is_in_ipv6(ask: Ask) -> None:
    assert ask(socket.AF_INET6, ["::1", 0])["name"].startswith("('::', ")


def test_sockets_of_other_kinds_are_left_alone(ask: Ask) -> None:
    name = f"\0sinfonia births {os.getpid()}"
    assert ask(socket.AF_UNIX, name).get("errno") is None
