"""A network of an app's own, with or without root: new namespaces that a small program holds (`inside.py`).

Made by `wireguard.py`. Nothing of it has a name anywhere, and it lasts as long as the socket between the
program and this process: whatever ends this process, nothing is left behind, nor what an app has forked.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from device_sdk.errors import DeviceError, TunnelError
from device_sdk.fields import printable
from device_sdk.tunnels import inside
from device_sdk.tunnels.births import Births

CALL_SECONDS = 15.0
_TUN = Path("/dev/net/tun")
_CLOSE_SECONDS = 10.0  # in which the program ends those inside, some of them by force
_REFUSED = ("unshare failed", "write failed")
"""What unshare(1) says where the system allows no namespaces."""
_LACKS_NAMESPACES = (
    "This system gives users no network namespaces, which a tunnel without root needs: run the command with "
    "sudo, or ask for kernel.apparmor_restrict_unprivileged_userns=0 or user.max_user_namespaces > 0."
)


class Sandbox:
    """A network with nothing in it but a loopback device, and the files by which names resolve there.

    Raises `DeviceError` where this system does not allow it. Safe between threads; calls queue up behind each
    other, and take at most `call_seconds` each.
    """

    def __init__(self, resolv_conf: str, call_seconds: float = CALL_SECONDS) -> None:
        need("unshare", "nsenter", "env", "ip")
        self._guard = threading.Lock()
        self._spawned: list[subprocess.Popen[bytes]] = []
        self._closed = False
        self._call_seconds = call_seconds
        self._number = 0
        self._network: int | None = None
        """The network, held open: by its number it is known, and another may get that when it is gone."""
        self._peer, self._program = _start()
        self._peer.settimeout(call_seconds)
        try:
            self._await_ready()
            self._network = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            self.names(resolv_conf)
        except BaseException:
            self.close()
            raise

    @property
    def path(self) -> str:
        """The network inside, as programs of this system can open it."""
        return f"/proc/{self._program.pid}/ns/net"

    def names(self, resolv_conf: str) -> None:
        """Let names resolve by this text from now on."""
        self._call(do="names", text=resolv_conf)

    def run(self, argv: Sequence[str], stdin: str = "") -> str:
        """The output of a short command that runs inside. Raises `TunnelError`, which never tells `stdin`."""
        answer, _ = self._call(do="run", argv=list(argv), stdin=stdin)
        if answer["status"]:
            said = printable(str(answer["err"]).strip(), 200)
            raise TunnelError(f"A step of the tunnel failed: {' '.join(argv[:3])}: {said}.")
        return str(answer["out"])

    def make_socket(self, family: int, kind: int) -> socket.socket:
        """A socket that was made inside; it stays there, whoever uses it."""
        _, descriptor = self._call(do="socket", family=int(family), kind=int(kind))
        return socket.socket(fileno=descriptor)

    def start_wireguard(self, name: str) -> None:
        """Start a WireGuard in user space with an interface of this name inside; it sends from out here."""
        need_userspace()
        with self._guard:
            answer, listener = self._exchange({"do": "wireguard", "name": name})
            if listener is None:
                raise TunnelError(f"WireGuard did not start: {printable(str(answer.get('error')), 200)}.")
            Births(listener)
            answer, _ = self._exchange({"go": True})
            if "error" in answer:
                raise TunnelError(f"WireGuard did not start: {printable(str(answer['error']), 200)}.")

    def control(self, name: str) -> socket.socket:
        """A connection to that WireGuard's control socket."""
        _, descriptor = self._call(do="control", name=name)
        return socket.socket(fileno=descriptor)

    def end_wireguard(self, name: str) -> None:
        """End it; its interface goes with it."""
        self._call(do="end", name=name)

    def spawn(
        self, command: Sequence[str], environ: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a program inside, as the user that we are. It and what it forks are ended, with SIGTERM
        first, when the sandbox is closed or this process dies.
        """
        user = ["--preserve-credentials", "--user"] if os.geteuid() else []
        enter = ["nsenter", "--target", str(self._program.pid), *user, "--net", "--mount", "--"]
        folder = _working_folder()
        there = ["env", f"--chdir={folder}", "--"] if folder else []
        with self._guard:
            if self._closed:
                raise TunnelError("The tunnel is closed.")
            started = subprocess.Popen([*enter, *there, *command], env=environ)
            self._spawned = [*(one for one in self._spawned if one.returncode is None), started]
        return started

    def close(self) -> None:
        """Let go: the program and all that runs inside end. May be called again."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            self._peer.close()
        try:
            self._program.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._program.kill()
            self._program.wait(_CLOSE_SECONDS)
        if self._network is not None:
            if self._program.returncode:  # it was killed, and has ended nobody
                inside.end_programs(os.fstat(self._network))
            os.close(self._network)
        for program in self._spawned:  # those that were about to enter
            program.terminate()
        if self._program.stderr:
            self._program.stderr.close()

    def _await_ready(self) -> None:
        try:
            self._receive()
        except TunnelError as error:
            self._program.kill()
            said = self._program.communicate(timeout=_CLOSE_SECONDS)[1].decode("utf-8", "replace").strip()
            if os.geteuid() and any(sign in said for sign in _REFUSED):
                raise DeviceError(_LACKS_NAMESPACES) from error
            last = printable(said.rpartition("\n")[2], 200)
            raise DeviceError(f"This system can't make a network for the app: {last or error}.") from error

    def _call(self, **request: Any) -> tuple[dict[str, Any], int]:
        with self._guard:
            answer, descriptor = self._exchange(request)
        if "error" in answer:
            raise TunnelError(f"A step of the tunnel failed: {printable(str(answer['error']), 200)}.")
        return answer, -1 if descriptor is None else descriptor

    def _exchange(self, request: Mapping[str, Any]) -> tuple[dict[str, Any], int | None]:
        if self._closed:
            raise TunnelError("The tunnel is closed.")
        self._number += 1
        try:
            self._peer.send(json.dumps({**request, "number": self._number}).encode())
        except TimeoutError as error:
            raise self._too_long() from error
        except OSError as error:
            raise TunnelError("The tunnel's own program has ended.") from error
        while True:
            answer, descriptor = self._receive()
            if answer.get("number") == self._number:
                return answer, descriptor
            if descriptor is not None:  # of a call that nobody waits for any more
                os.close(descriptor)

    def _receive(self) -> tuple[dict[str, Any], int | None]:
        try:
            message, descriptors, _, _ = socket.recv_fds(self._peer, inside.MESSAGE_BYTES, 1)
        except TimeoutError as error:
            raise self._too_long() from error
        except OSError as error:
            raise TunnelError("The tunnel's own program has ended.") from error
        if not message:
            raise TunnelError("The tunnel's own program has ended.")
        answer: dict[str, Any] = json.loads(message)
        return answer, descriptors[0] if descriptors else None

    def _too_long(self) -> TunnelError:
        return TunnelError(f"A step of the tunnel took longer than {self._call_seconds:g} s.")


def need(*programs: str) -> None:
    """Raise `DeviceError` for programs that are missing, saying where they are."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise DeviceError(
            f"A tunnel needs {', '.join(missing)}; on Debian: apt install wireguard-go iproute2 util-linux."
        )


def need_userspace() -> None:
    """Raise `DeviceError` for what a WireGuard in user space lacks on this device."""
    need("wireguard-go")
    need_filter(os.uname().machine)
    if not _TUN.exists():
        raise DeviceError(
            f"There is no {_TUN}, which a tunnel needs: run (as root) modprobe tun, or give a container "
            f"--device {_TUN}."
        )


def need_filter(machine: str) -> None:
    """Raise `DeviceError` for processors whose system calls `inside.py` does not know."""
    if machine not in inside.ARCHITECTURES:
        known = ", ".join(inside.ARCHITECTURES)
        raise DeviceError(
            f"On {machine} a tunnel needs root and the kernel's WireGuard; without them it works on {known}."
        )


def _start() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """The program, and our end of the socket to it."""
    with contextlib.ExitStack() as closing:
        try:
            ours, theirs = map(
                closing.enter_context, socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            )
            program = subprocess.Popen(
                _command(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                # Not in the terminal's group, whose Ctrl-C is for the app. A session of its own would also be
                # a scheduling group of its own (sched(7), autogroup): half the throughput on a busy machine.
                process_group=0,
            )
        except OSError as error:
            raise DeviceError(f"The tunnel's own program can't be started: {error.strerror}.") from error
        return socket.socket(fileno=ours.detach()), program


def _command(descriptor: int) -> list[str]:
    """The program in new namespaces. Without root also a new user namespace, in which we are who we are but
    may set up the network.
    """
    user = ["--user", "--map-current-user", "--keep-caps"] if os.geteuid() else []
    python = [sys.executable, "-I", "-S", "-X", "utf8", str(Path(inside.__file__))]
    return ["unshare", *user, "--net", "--mount", "--", *python, str(descriptor)]


def _working_folder() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # it was removed: there is nothing better than what the namespace begins with
        return None
