"""One WireGuard interface in a sandbox: what is done in there, and what is taken back where a step fails."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from device_sdk.errors import TunnelError
from device_sdk.keys import KeyPair
from device_sdk.tunnels.passage import Passage
from device_sdk.tunnels.routes import plan_tunnel
from device_sdk.wire import TunnelConfig
from tests.fakes.device_sdk_server import tunnel_config

PLAN = plan_tunnel(TunnelConfig.from_json(tunnel_config()))
KEY = KeyPair.from_private(b"\x01" * 32)


class FakeSandbox:
    """Notes in `did` what is asked for. The step that has the word `fails` in it does; WireGuard gives
    `answer` to each question.
    """

    path = "/no/such/network"  # the kernel's WireGuard can't be made there

    def __init__(self, fails: str = "", answer: bytes = b"errno=0\n\n") -> None:
        self.did: list[str] = []
        self.asked: list[str] = []
        self.fails, self.answer = fails, answer
        self.sockets: list[socket.socket] = []

    def run(self, argv: list[str], stdin: str = "") -> str:
        return self._do(" ".join(argv) + f" {stdin}")

    def start_wireguard(self, name: str) -> None:
        self._do(f"start {name}")

    def control(self, name: str) -> socket.socket:
        self._do(f"control {name}")
        here, there = socket.socketpair()
        self.sockets.append(here)
        threading.Thread(target=self._serve, args=(there,), daemon=True).start()
        return here

    def end_wireguard(self, name: str) -> None:
        self._do(f"end {name}")

    def make_socket(self, family: int, kind: int) -> socket.socket:
        self.sockets.append(socket.socket(family, kind))
        return self.sockets[-1]

    def _do(self, step: str) -> str:
        self.did.append(step)
        if self.fails and self.fails in step:
            raise TunnelError(f"A step of the tunnel failed: {self.fails}.")
        return ""

    def _serve(self, there: socket.socket) -> None:
        with there:
            question = b""
            while data := there.recv(4096):
                question += data
                if question.endswith(b"\n\n"):
                    self.asked.append(question.decode())
                    question = b""
                    there.sendall(self.answer)


def passage(sandbox: Any, number: int = 3) -> Passage:
    return Passage(sandbox, number, PLAN, KEY)


def test_a_passage_has_routes_of_its_own_and_leads_when_told() -> None:
    sandbox = FakeSandbox()
    made = passage(sandbox)
    start, control, batch, rule = sandbox.did
    assert (start, control) == ("start wg3", "control wg3")
    lines = batch.splitlines()
    assert "link set wg3 mtu 1420 up" in lines
    assert [line for line in lines if line.startswith("route")] == [
        "route replace 100.71.0.1/32 dev wg3 table 51823",
        "route replace 100.71.0.16/29 dev wg3 table 51823",
    ]
    assert rule.strip() == "ip -4 rule add oif wg3 lookup 51823"
    made.lead()
    assert sandbox.did[-1].splitlines() == [
        "ip -batch - route replace 100.71.0.1/32 dev wg3",
        "route replace 100.71.0.16/29 dev wg3",
    ]
    made.close()
    assert sandbox.did[-1] == "end wg3"
    assert sandbox.sockets[0].fileno() == -1


@pytest.mark.parametrize("step", ["start", "control", "-batch", "rule"])
def test_a_step_that_fails_is_told_and_all_is_taken_back(step: str) -> None:
    sandbox = FakeSandbox(fails=step)
    with pytest.raises(TunnelError, match=step):
        passage(sandbox)
    assert sandbox.did[-1] == "end wg3"
    assert all(one.fileno() == -1 for one in sandbox.sockets)


def test_a_wireguard_that_refuses_its_configuration_is_not_left_behind() -> None:
    sandbox = FakeSandbox(answer=b"errno=-22\n\n")
    with pytest.raises(TunnelError, match="refuses the configuration: errno=-22"):
        passage(sandbox)
    assert sandbox.did == ["start wg3", "control wg3", "end wg3"]
    assert sandbox.sockets[0].fileno() == -1


def test_what_went_wrong_first_is_told_though_it_can_not_be_taken_back() -> None:
    sandbox = FakeSandbox(fails="wg3")
    with pytest.raises(TunnelError, match="wg3"):
        passage(sandbox)
    assert sandbox.did == ["start wg3", "end wg3"]


def test_what_is_known_of_the_gateway_and_greeting_it_anew() -> None:
    sandbox = FakeSandbox(answer=b"last_handshake_time_sec=7\nrx_bytes=5\ntx_bytes=6\nerrno=0\n\n")
    made = passage(sandbox)
    state = made.state()
    assert (state.handshake_at, state.received_bytes, state.sent_bytes) == (7.0, 5, 6)
    made.greet_again(KEY)
    configured, asked, again = sandbox.asked
    assert asked.startswith("get=1")
    assert again == configured
    made.let_go()
    assert "end wg3" not in sandbox.did, "its sandbox ends"


def test_a_closed_one_says_so() -> None:
    made = passage(FakeSandbox())
    made.close()
    with pytest.raises(TunnelError, match=r"WireGuard can't be asked: .*descriptor"):
        made.state()


def test_a_socket_for_an_interface_that_is_gone_is_not_left_open() -> None:
    sandbox = FakeSandbox()
    made = passage(sandbox, 4711)
    with pytest.raises(OSError):
        made.make_socket(socket.AF_INET)
    assert sandbox.sockets[-1].fileno() == -1
