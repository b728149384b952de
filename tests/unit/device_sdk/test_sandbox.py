"""What the tunnels' own programs say where this system lacks something."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from device_sdk.errors import DeviceError, TunnelError
from device_sdk.tunnels import inside
from device_sdk.tunnels.control import configure, peer_state
from device_sdk.tunnels.inside import _libc
from device_sdk.tunnels.routes import plan_tunnel
from device_sdk.tunnels.sandbox import need, need_filter
from device_sdk.wire import TunnelConfig
from tests.fakes.device_sdk_server import tunnel_config

PLAN = plan_tunnel(TunnelConfig.from_json(tunnel_config()))


def test_a_missing_program_is_named_with_where_it_is() -> None:
    with pytest.raises(DeviceError, match=r"needs no-such-program; on Debian: apt install wireguard-go"):
        need("sh", "no-such-program")


@pytest.mark.parametrize("machine", ["s390x", "i686", "armv7l", ""])
def test_a_processor_that_is_not_known_is_named(machine: str) -> None:
    with pytest.raises(DeviceError, match=f"On {machine} a tunnel needs root and the kernel's WireGuard"):
        need_filter(machine)
    need_filter("x86_64")
    need_filter("aarch64")


def test_the_program_inside_needs_nothing_but_the_standard_library() -> None:
    code = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='x'); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(Path(inside.__file__))],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert not [name for name in done.stdout.split() if name.startswith("device_sdk")]


def test_the_c_librarys_errors_are_told() -> None:
    with pytest.raises(OSError, match="umount2") as raised:
        _libc("umount2", b"/no/such/place", 0)
    assert raised.value.errno in (errno.ENOENT, errno.EPERM)


class Daemon:
    """The other side of a control socket: gives `answer`, in pieces, then hangs up if it is to."""

    def __init__(self, *pieces: bytes) -> None:
        self.here, self._there = socket.socketpair()
        self.asked = b""
        self._pieces = pieces
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with self._there:
            while not self.asked.endswith(b"\n\n"):
                self.asked += self._there.recv(4096)
            for piece in self._pieces:
                self._there.sendall(piece)

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(10)
        self.here.close()


def test_the_gateway_is_the_only_peer_with_the_plans_routes_alone() -> None:
    with Daemon(b"errno=0\n\n") as daemon:
        configure(daemon.here, PLAN, b"\x01" * 32)
    lines = daemon.asked.decode().split("\n")
    assert lines[0] == "set=1"
    assert "replace_peers=true" in lines
    assert f"private_key={'01' * 32}" in lines
    assert [line for line in lines if line.startswith("allowed_ip=")] == [
        "allowed_ip=100.71.0.1/32",
        "allowed_ip=100.71.0.16/29",
    ]
    assert "endpoint=192.0.2.7:51820" in lines


def test_an_answer_in_pieces_is_read_whole() -> None:
    pieces = (
        b"last_handshake_time_sec=7\nlast_hand",
        b"shake_time_nsec=500000000\nrx_bytes=5\n",
        b"errno=0\n\n",
    )
    with Daemon(*pieces) as daemon:
        state = peer_state(daemon.here)
    assert (state.handshake_at, state.received_bytes, state.sent_bytes) == (7.5, 5, 0)


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ((b"errno=-22\n\n",), "refuses the configuration: errno=-22"),
        ((b"rx_bytes=1",), "does not answer as expected"),
        ((), "does not answer as expected"),
        ((b"x" * 70_000,), "as expected|can't be asked"),
        ((b"rx_bytes=many\nerrno=0\n\n",), "can't be understood"),
    ],
)
def test_a_control_socket_that_answers_nonsense_is_told(pieces: tuple[bytes, ...], words: str) -> None:
    with Daemon(*pieces) as daemon, pytest.raises(TunnelError, match=words):
        peer_state(daemon.here)


def test_the_program_inside_does_not_begin_in_the_devices_own_network() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(Path(inside.__file__)), str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 1
    assert done.stderr == "there is no network of its own, but the device's\n"


def test_a_control_socket_that_is_closed_is_told() -> None:
    here, there = socket.socketpair()
    there.close()
    here.close()
    with pytest.raises(TunnelError, match=r"WireGuard can.t be asked: .*descriptor"):
        peer_state(here)


def test_what_has_no_descriptor_left_is_told(tmp_path: Path) -> None:
    """A process that may open no more files gets an error of ours, and no traceback."""
    code = (
        "import resource\nfrom device_sdk import SinfoniaError\n"
        "from device_sdk.tunnels.sandbox import Sandbox\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
        "try: Sandbox('')\n"
        "except SinfoniaError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=dict(os.environ),
    )
    assert "files" in done.stdout, done.stderr
