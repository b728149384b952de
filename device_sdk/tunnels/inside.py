"""The program that holds an app's own network: started by `sandbox.py` in new namespaces, it answers on a
socket until that is closed, and then everything in there goes with it: the programs that run in this network,
whoever started them, and the network.

It is a program and not a thread because Linux lets only a process with one thread into a new user namespace
(unshare(2)), which is what makes tunnels possible without root. It is started by its path, isolated and
without site packages, so it imports the standard library alone.

Requests and answers are JSON, one a message (SOCK_SEQPACKET); descriptors travel beside them. An answer has
its request's number, so that one which came too late is known.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

MESSAGE_BYTES = 64 * 1024
_COMMAND_SECONDS = 10.0
_START_SECONDS = 5.0
GRACE_SECONDS = 2.0  # for programs that say goodbye when they are told to end
_KILL_SECONDS = 2.0  # until the last one that was killed is gone
_LOOK_SECONDS = 0.05
_NAMES_BYTES = 2048  # six search domains of 253 characters, three name servers
_RESOLV_CONF = Path("/etc/resolv.conf")
_NSSWITCH_CONF = Path("/etc/nsswitch.conf")

# <linux/sched.h>, <linux/mount.h>, <linux/prctl.h>, <linux/seccomp.h>, <linux/audit.h>, <linux/filter.h>
_CLONE_NEWNS = 0x00020000
_MS_BIND, _MS_REC, _MS_SLAVE, _MNT_DETACH = 0x1000, 0x4000, 0x80000, 2
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_NEW_LISTENER = 1, 8
_SECCOMP_RET_USER_NOTIF, _SECCOMP_RET_ALLOW = 0x7FC00000, 0x7FFF0000
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
ARCHITECTURES = {  # machine: (AUDIT_ARCH_…, number of bind(), number of seccomp())
    "x86_64": (0xC000003E, 49, 317),
    "aarch64": (0xC00000B7, 200, 277),
    "riscv64": (0xC00000F3, 200, 277),
}


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


class _Inside:
    """The open end of the socket, and what was started: WireGuard's daemons by interface."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer
        self._daemons: dict[str, int] = {}
        self._resolv_conf: Path | None = None
        self._number = 0  # of the request that is being answered

    def serve(self) -> None:
        """Answer until the other side closes the socket, or dies."""
        while True:
            message = self._peer.recv(MESSAGE_BYTES)
            if not message:
                return
            request = json.loads(message)
            self._number = request.pop("number")
            try:
                answer, descriptor = getattr(self, f"do_{request.pop('do')}")(**request)
            except (OSError, ValueError, LookupError, subprocess.SubprocessError) as error:
                self.answer({"error": str(error), "errno": getattr(error, "errno", None)})
            else:
                self.answer(answer, descriptor)

    def close(self) -> None:
        """End the programs in here, which have their tunnels until then, and then the daemons with their
        interfaces.
        """
        end_programs(Path("/proc/self/ns/net").stat(), {os.getpid(), *self._daemons.values()})
        for name in list(self._daemons):
            self.do_end(name)

    def do_names(self, text: str) -> tuple[Any, None]:
        """Resolve names by this resolv.conf from now on."""
        if self._resolv_conf is None:
            self._resolv_conf = _cover_names(text)
        else:
            # In one step, and never shorter: whoever reads it meanwhile gets the old or the new one.
            with self._resolv_conf.open("r+b") as file:
                os.pwrite(file.fileno(), _padded(text), 0)
        return {}, None

    def do_run(self, argv: list[str], stdin: str) -> tuple[Any, None]:
        """Run a short command."""
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False
        )
        out, err = done.stdout[: MESSAGE_BYTES // 4], done.stderr[-500:]
        return {"status": done.returncode, "out": out, "err": err}, None

    def do_socket(self, family: int, kind: int) -> tuple[Any, int]:
        """A socket that is born in here, and stays here whoever uses it."""
        return {}, socket.socket(family, kind).detach()

    def do_wireguard(self, name: str) -> tuple[Any, None]:
        """Start a WireGuard in user space. Its listener goes out first: whoever has it binds its sockets."""
        parent, child = socket.socketpair()
        with tempfile.TemporaryFile() as log:
            pid = os.fork()
            if pid == 0:
                parent.close()
                _become_wireguard(name, child, log.fileno())
            child.close()
            with parent:
                self._daemons[name] = pid
                _, descriptors, _, _ = socket.recv_fds(parent, 1, 1)
                if descriptors:
                    self.answer({"listener": True}, descriptors[0])
                    if not self._may_go_on():
                        self.do_end(name)
                        raise ValueError("it was broken off")
                    parent.send(b"g")
            if not descriptors or not self._appears(name):
                log.seek(0)
                said = log.read(4096).decode("utf-8", "replace").strip().rpartition("\n")[2]
                self.do_end(name)
                raise ValueError(f"wireguard-go: {said or 'it says nothing'}")
        return {"pid": pid}, None

    def _may_go_on(self) -> bool:
        """Whether whoever asked says so next; another request means that they gave up."""
        request = json.loads(self._peer.recv(MESSAGE_BYTES) or b"{}")
        self._number = request.get("number", 0)
        return "go" in request

    def do_control(self, name: str) -> tuple[Any, int]:
        """A connection to a WireGuard's control socket."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
            control.connect(self._control(name))
            return {}, control.detach()

    def do_end(self, name: str) -> tuple[Any, None]:
        """End a WireGuard."""
        pid = self._daemons.pop(name, None)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        return {}, None

    def _control(self, name: str) -> str:
        return f"/proc/{self._daemons[name]}/root{_run_folder()}/wireguard/{name}.sock"

    def _appears(self, name: str) -> bool:
        """Whether it comes to listen; its socket is there a moment before that."""
        deadline = time.monotonic() + _START_SECONDS
        while not self._listens(name):
            pid, _ = os.waitpid(self._daemons[name], os.WNOHANG)
            if pid:
                del self._daemons[name]
                return False
            if time.monotonic() > deadline:
                return False
            select.select([], [], [], 0.003)
        return True

    def _listens(self, name: str) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
            return control.connect_ex(self._control(name)) == 0

    def answer(self, answer: Any, descriptor: int | None = None) -> None:
        """Send an answer, and a descriptor with it that is closed here."""
        given = [] if descriptor is None else [descriptor]
        try:
            message = json.dumps({**answer, "number": self._number})
            socket.send_fds(self._peer, [message.encode()], given)
        finally:
            for one in given:
                os.close(one)


def end_programs(network: os.stat_result, spared: Collection[int] = ()) -> None:
    """End every process in a network: SIGTERM to each, and SIGKILL to what is there `GRACE_SECONDS` later.

    They are looked for, and not remembered: what an app has forked is nobody's child. Those that have left
    for another network are let be.
    """
    told: set[int] = set()
    started = time.monotonic()
    while time.monotonic() < started + GRACE_SECONDS + _KILL_SECONDS:
        patient = time.monotonic() < started + GRACE_SECONDS
        with contextlib.ExitStack() as closing:
            found = _processes(network, spared, closing)
            if not found:
                return
            for pid, process in found.items():
                if not patient:
                    _signal(process, signal.SIGKILL)
                elif pid not in told:
                    _signal(process, signal.SIGTERM)
                    _signal(process, signal.SIGCONT)  # stopped ones hear it, too
            told.update(found)
            select.select(list(found.values()), [], [], _LOOK_SECONDS)


def _processes(
    network: os.stat_result, spared: Collection[int], closing: contextlib.ExitStack
) -> dict[int, int]:
    """A descriptor of each process in a network, by its number; `closing` closes them."""
    found = {}
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # it has ended, or it is not ours to see
            pid = int(folder.name) if folder.name.isdecimal() else 0
            if pid and pid not in spared and _is_in(network, folder):
                process = os.pidfd_open(pid)
                closing.callback(os.close, process)
                if _is_in(network, folder):  # its number was not given to another meanwhile
                    found[pid] = process
    return found


def _is_in(network: os.stat_result, folder: Path) -> bool:
    return os.path.samestat((folder / "ns" / "net").stat(), network)


def _signal(process: int, number: signal.Signals) -> None:
    with contextlib.suppress(OSError):
        signal.pidfd_send_signal(process, number)


def main() -> None:
    """Serve on the descriptor that the command line names."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the app and for who started us
    if _is_shared():
        sys.exit("there is no network of its own, but the device's")
    inside = _Inside(socket.socket(fileno=int(sys.argv[1])))
    # What the system mounts later is still seen inside; what is mounted inside is not seen outside.
    _mount(None, "/", None, _MS_REC | _MS_SLAVE)
    try:
        inside.answer({"ready": True})
        inside.serve()
    except (ConnectionError, KeyboardInterrupt):
        pass
    finally:
        inside.close()


def _is_shared() -> bool:
    """Whether this network is also that of whoever started us: all that runs in it is ended one day."""
    try:
        return _is_in(Path("/proc/self/ns/net").stat(), Path(f"/proc/{os.getppid()}"))
    except OSError:  # it has ended, and so shall we
        return False


def _become_wireguard(name: str, peer: socket.socket, log: int) -> None:
    """In the forked child: hide the control socket in a mount of its own, let others make its sockets, and be
    the daemon. Never returns.
    """
    try:
        _libc("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        _libc("unshare", _CLONE_NEWNS)
        _mount("tmpfs", _run_folder(), "tmpfs", 0, "size=1m,mode=0755")
        os.dup2(log, 1)
        os.dup2(log, 2)
        listener = _install_filter()
        socket.send_fds(peer, [b"l"], [listener])
        os.close(listener)
        if peer.recv(1) == b"g":
            os.execvp("wireguard-go", ["wireguard-go", "-f", name])  # noqa: S606 - no shell is wanted
    except OSError as error:
        os.write(log, f"{error}\n".encode())
    finally:
        os._exit(1)


def _install_filter() -> int:
    """A seccomp filter that asks a listener when a socket gets an Internet address; returns the listener
    (seccomp(2)). Of what bind(2) gets, only the address's length tells them from others: 16 bytes or 28.
    """
    architecture, number_of_bind, number_of_seccomp = ARCHITECTURES[os.uname().machine]
    code = [
        (_LOAD, 0, 0, 4),  # seccomp_data.arch
        (_JUMP_IF_EQUAL, 0, 6, architecture),
        (_LOAD, 0, 0, 0),  # seccomp_data.nr
        (_JUMP_IF_EQUAL, 0, 4, number_of_bind),
        (_LOAD, 0, 0, 32),  # the low half of the third argument
        (_JUMP_IF_EQUAL, 1, 0, 16),
        (_JUMP_IF_EQUAL, 0, 1, 28),
        (_RETURN, 0, 0, _SECCOMP_RET_USER_NOTIF),
        (_RETURN, 0, 0, _SECCOMP_RET_ALLOW),
    ]
    packed = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in code))
    program = _Program(len(code), ctypes.addressof(packed))
    _libc("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    how = (_SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_NEW_LISTENER)
    return _libc("syscall", number_of_seccomp, *how, ctypes.addressof(program))


def _cover_names(text: str) -> Path:
    """Put files of our own over those by which names resolve; returns the one that may be rewritten."""
    staging = tempfile.gettempdir()
    _mount("tmpfs", staging, "tmpfs", 0, "size=1m,mode=0755")
    try:
        if _NSSWITCH_CONF.exists():
            _cover(_NSSWITCH_CONF, _hosts_by_dns(_NSSWITCH_CONF.read_text(errors="replace")), staging)
        _cover(_RESOLV_CONF, _padded(text).decode(), staging)
    finally:
        _libc("umount2", os.fsencode(staging), _MNT_DETACH)
    return _RESOLV_CONF


def _padded(text: str) -> bytes:
    """The file's content, always as long; blank lines mean nothing (resolv.conf(5))."""
    return text.encode().ljust(_NAMES_BYTES, b"\n")


def _hosts_by_dns(nsswitch: str) -> str:
    """The file with `hosts: files dns`: other sources (systemd's resolver) live outside and ask there."""
    lines = nsswitch.split("\n")
    return "\n".join("hosts: files dns" if line.split(":")[0].strip() == "hosts" else line for line in lines)


def _cover(path: Path, content: str, staging: str) -> None:
    """Put `content` over the file at `path`, links followed; where there is none, over its folder."""
    if path.is_file():
        copy = Path(staging, path.name)
        copy.write_text(content)
        _mount(str(copy), str(path.resolve()), None, _MS_BIND)
        return
    upper, work = Path(staging, "upper"), Path(staging, "work")
    upper.mkdir()
    work.mkdir()
    (upper / path.name).write_text(content)
    folder = str(path.parent)
    _mount("overlay", folder, "overlay", 0, f"lowerdir={folder},upperdir={upper},workdir={work}")


def _run_folder() -> str:
    return os.path.realpath("/var/run")


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    _libc("mount", *texts, flags, None if options is None else os.fsencode(options))


def _libc(name: str, *arguments: object) -> int:
    """Call the C library's `name`; raises `OSError` if it fails."""
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    function.restype = ctypes.c_long if name == "syscall" else ctypes.c_int
    converted = [ctypes.c_ulong(value) if isinstance(value, int) else value for value in arguments]
    result = int(function(*converted))
    if result < 0:
        code = ctypes.get_errno() or errno.EINVAL
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


if __name__ == "__main__":
    main()
