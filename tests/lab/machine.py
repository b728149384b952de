"""Throw-away hosts and networks out of anonymous namespaces.

A `Machine` has network, process, mount and host-name namespaces of its own and a private /run. They are
held by one process that dies with the one that made it, whatever kills that one; with it go all programs,
interfaces and mounts inside. Nothing has a name in the host's namespaces, so nothing can be left behind.

Linux ties a parent-death signal to the *thread* that forked: make machines in a thread that lives as long.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Self

_HOLD = """
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/netns /run/lock
hostname "$1"
ip link set lo up
exec catatonit -P
"""


def poll(condition: Callable[[], object], timeout: float = 10.0, interval: float = 0.02) -> bool:
    """Ask `condition` until it is true or `timeout` seconds have gone by; return whether it became true."""
    deadline = time.monotonic() + timeout
    while True:
        if condition():
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(interval)  # noqa: TID251 - the one place where tests wait


def end_as_by_ctrl_c() -> None:
    """Have this program clean up when it is told to end: by default SIGTERM ends it on the spot."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class Program:
    """A program that runs in a machine."""

    def __init__(self, entered: subprocess.Popen[bytes]) -> None:
        self._entered = entered
        self.pid = _only_child(entered.pid)

    def send_signal(self, number: int) -> None:
        """Signal the program itself, not the process that entered the namespaces for it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def go_on(self) -> None:
        """Continue after a stop: the process that entered the namespaces stops along with the program."""
        self._entered.send_signal(signal.SIGCONT)
        self.send_signal(signal.SIGCONT)

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal, or None while it runs."""
        return self._entered.poll()

    def wait(self, timeout: float = 30.0) -> int:
        """Wait for the end; raise subprocess.TimeoutExpired after `timeout` seconds."""
        return self._entered.wait(timeout)

    def stop(self, timeout: float = 15.0) -> int:
        """Ask it to end, and kill it if it does not within `timeout` seconds."""
        if self.poll() is None:
            self.send_signal(signal.SIGTERM)
        try:
            return self.wait(timeout)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """End it as a crash would."""
        self.send_signal(signal.SIGKILL)
        return self.wait()


class Machine:
    """A host of its own, good until `close` or until the process that made it dies."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._programs: list[Program] = []
        self._holder = subprocess.Popen(
            [
                *"setpriv --pdeathsig KILL unshare --net --pid --mount --uts --mount-proc".split(),
                *("--fork", "--kill-child=KILL", "sh", "-c", _HOLD, "sh", name),
            ],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,  # unshare complains of itself when what it holds is killed
        )
        self.pid = self._holder.pid
        try:
            self.pid = _only_child(self._holder.pid)
            if not poll(lambda: _command(self.pid) == "catatonit" or self._holder.poll() is not None):
                message = f"machine {name} did not start"
                raise RuntimeError(message)
            if self._holder.poll() is not None:
                reason = self._holder.stderr.read().decode() if self._holder.stderr else ""
                message = f"machine {name} ended with status {self._holder.returncode}: {reason}"
                raise RuntimeError(message)
        except BaseException:
            self.close()
            raise

    def command(self, *arguments: str) -> list[str]:
        """Return the command line that runs `arguments` inside."""
        return ["nsenter", "--target", str(self.pid), "--net", "--pid", "--mount", "--uts", "--", *arguments]

    def run(
        self, *arguments: str, check: bool = True, timeout: float = 30.0, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside to its end; with `check`, a failure raises and shows what it printed."""
        done = subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=_environment(env),
        )
        if check and done.returncode:
            message = (
                f"{self.name}: {' '.join(arguments)}: status {done.returncode}\n{done.stdout}{done.stderr}"
            )
            raise AssertionError(message)
        return done

    def popen(
        self,
        arguments: Sequence[str],
        *,
        log: Path | IO[bytes] | None = None,
        env: Mapping[str, str] | None = None,
        stdout: int | None = None,
    ) -> Program:
        """Start a program inside; what it prints goes to the file `log`. `env` is added to ours."""
        with contextlib.ExitStack() as files:
            sink: IO[bytes] | int
            if isinstance(log, Path):
                sink = files.enter_context(log.open("ab"))
            else:
                sink = subprocess.DEVNULL if log is None else log
            program = Program(
                subprocess.Popen(
                    self.command(*arguments),
                    stdin=subprocess.DEVNULL,
                    stdout=sink if stdout is None else stdout,
                    stderr=sink,
                    env=_environment(env),
                )
            )
        self._programs.append(program)
        return program

    def processes(self) -> list[str]:
        """Return the command lines of what runs inside, the holder left out."""
        listing = self.run("ps", "-eo", "pid=,args=").stdout.splitlines()
        return [
            line.strip() for line in listing if " ps -eo" not in line and not line.strip().startswith("1 ")
        ]

    def close(self) -> None:
        """End everything inside. Saying it twice is fine."""
        if self._holder.poll() is None:
            # The first process inside, so that its parent collects it and no zombie is left to the host.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        try:
            self._holder.wait(timeout=10)
        finally:
            if self._holder.poll() is None:
                self._holder.kill()
            if self._holder.stderr:
                self._holder.stderr.close()
            for program in self._programs:
                program.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Network:
    """An IPv4 network between machines: a bridge on a machine of its own."""

    def __init__(self, name: str, cidr: str) -> None:
        self.cidr = ipaddress.IPv4Network(cidr)
        self.switch = Machine(name)
        self._ports = 0
        self.switch.run("ip", "link", "add", "br0", "type", "bridge")
        self.switch.run("ip", "link", "set", "br0", "up")

    def attach(self, machine: Machine, address: str, interface: str = "eth0") -> None:
        """Give `machine` an `interface` with `address` on this network."""
        self._ports += 1
        port = f"port{self._ports}"
        # Only the network namespace is entered: the other end is named by a process number of ours.
        subprocess.run(
            f"nsenter --target {self.switch.pid} --net -- ip link add {port}"
            f" type veth peer name {interface} netns {machine.pid}".split(),
            check=True,
            timeout=10,
        )
        self.switch.run("ip", "link", "set", port, "master", "br0", "up")
        machine.run("ip", "addr", "add", f"{address}/{self.cidr.prefixlen}", "dev", interface)
        machine.run("ip", "link", "set", interface, "up")

    def attach_host(self, address: str, interface: str, namespace: Path | None = None) -> None:
        """Give this machine itself, or a named network `namespace` of it, an interface on the network, until
        the network is taken away.
        """
        self._ports += 1
        port = f"port{self._ports}"
        inside = f"nsenter --target {self.switch.pid} --net -- ip link"
        there = f"nsenter --net={namespace} -- ip" if namespace else "ip"
        netns = namespace.name if namespace else os.getpid()
        for command in (
            f"{inside} add {port} type veth peer name {interface} netns {netns}",
            f"{inside} set {port} master br0 up",
            f"{there} addr add {address}/{self.cidr.prefixlen} dev {interface}",
            f"{there} link set {interface} up",
        ):
            subprocess.run(command.split(), check=True, timeout=10)

    def detach(self, machine: Machine, interface: str = "eth0") -> None:
        """Pull the cable."""
        machine.run("ip", "link", "del", interface, check=False)

    def close(self) -> None:
        """Take the network away; machines on it lose their interfaces."""
        self.switch.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextlib.contextmanager
def machines(*names: str) -> Iterator[list[Machine]]:
    """Make several machines and take all of them away at the end."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Machine(name)) for name in names]


@contextlib.contextmanager
def inside(machine: Machine) -> Iterator[None]:
    """Be on `machine`'s network, with this thread and those that it starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open() as here, Path(f"/proc/{machine.pid}/ns/net").open() as there:
        assert libc.setns(there.fileno(), 0) == 0
        try:
            yield
        finally:
            assert libc.setns(here.fileno(), 0) == 0


def _environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    return {**os.environ, **(extra or {})}


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _only_child(pid: int, timeout: float = 10.0) -> int:
    """Return the first child of `pid`, or `pid` itself where it ended before it had one."""
    children = Path(f"/proc/{pid}/task/{pid}/children")

    def first() -> int:
        try:
            words = children.read_text().split()
        except OSError:
            return pid
        if words:
            return int(words[0])
        return pid if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z" else 0

    found: list[int] = []

    def look() -> bool:
        child = first()
        if child:
            found.append(child)
        return bool(child)

    if not poll(look, timeout, interval=0.002):
        message = f"process {pid} started nothing"
        raise RuntimeError(message)
    return found[0]
