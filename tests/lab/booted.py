"""A machine that systemd boots: this one's files under a layer of its own, with control groups, network and
processes of its own. For services as operators install them; gone with the process that made it.

systemd starts one unit and what it needs, not the whole of this machine.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab import podman
from tests.lab.images import PROJECT
from tests.lab.machine import _only_child, poll

_CGROUPS = Path("/sys/fs/cgroup")
_OFTEN = ("net_cls", "net_prio", "perf_event", "hugetlb", "rdma")
_BOOT = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" "$1/root"
cd "$1/root"
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty; do cp -a /dev/$node dev/; done
mkdir dev/net dev/shm dev/pts
mknod -m 666 dev/net/tun c 10 200
mknod -m 600 dev/console c 5 1
ln -s /proc/self/fd dev/fd
mount -t devpts devpts dev/pts
mount -t tmpfs tmpfs dev/shm
mount -t proc proc proc
mount -t sysfs sysfs sys
%(cgroups)s
for empty in run tmp etc/systemd/system etc/containers opt var/lib/containers var/lib/cni; do
  mkdir -p $empty
  mount -t tmpfs -o mode=755 tmpfs $empty
done
mkdir -p "./%(project)s"
mount --rbind "%(project)s" "./%(project)s"
cp -a "$2/." .
ip link set lo up
exec env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
  chroot . /lib/systemd/systemd --system --unit="$3" --log-target=null
"""


class Booted:
    """Boots `unit`, with the files of the folder `files` over this machine's."""

    def __init__(self, unit: str, files: Path) -> None:
        self._groups = [path / f"sinfonia-{os.getpid()}" for path, _, _ in _hierarchies()]
        self._place = Path(tempfile.mkdtemp(prefix="sinfonia-booted-"))
        names = {"cgroups": "\n".join(_mounts()), "project": PROJECT}
        for group in self._groups:
            group.mkdir(exist_ok=True)
            for setting in ("cpuset.cpus", "cpuset.mems"):  # version 1 begins with none
                if (group.parent / setting).exists() and (group / setting).exists():
                    (group / setting).write_text((group.parent / setting).read_text())
        join = "".join(f"echo $$ > {shlex.quote(str(group))}/cgroup.procs\n" for group in self._groups)
        unshare = "exec unshare --mount --pid --net --uts --ipc --cgroup --fork --kill-child=KILL"
        script = f'{join}{unshare} sh -c "$1" sh "$2" "$3" "$4"'
        self._holder = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL", "sh", "-c", script, "sh"),
                *(_BOOT % names, str(self._place), str(files), unit),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            self.pid = _only_child(self._holder.pid)
            assert poll(self._boots, 30), self._why()
        except BaseException:
            self.close()
            raise

    def _boots(self) -> bool:
        """Whether it takes orders."""
        if self._holder.poll() is not None:
            return True
        return self.run("systemctl", "is-system-running", check=False).returncode in (0, 1) and (
            self.systemctl("show", "--property=Version") != ""
        )

    def _why(self) -> str:
        return self._holder.stderr.read().decode() if self._holder.stderr else ""

    def command(self, *arguments: str) -> list[str]:
        """The command line that runs `arguments` inside."""
        inside = "--mount --pid --net --uts --ipc --cgroup --root --wd".split()
        return ["nsenter", "--target", str(self.pid), *inside, "--", *arguments]

    def run(
        self, *arguments: str, check: bool = True, timeout: float = 60.0, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside to its end; with `check`, a failure raises and shows what it printed."""
        done = subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **(env or {})},
        )
        assert not check or done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done

    def systemctl(self, *words: str) -> str:
        """What systemd says; empty where it does not."""
        return self.run("systemctl", *words, check=False).stdout.strip()

    def property(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.systemctl("show", unit, f"--property={name}", "--value")

    def journal(self, unit: str) -> str:
        """What a unit printed."""
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={unit}", check=False).stdout

    def close(self) -> None:
        """End everything inside, and take the control groups away."""
        self._holder.kill()
        self._holder.wait(10)
        if self._holder.stderr:
            self._holder.stderr.close()
        poll(lambda: not any(map(_swept, self._groups)), 10)
        self._place.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def podman_settings(folder: Path) -> None:
    """Podman's settings on machines like ours, as the operator's file below `folder`."""
    (made,) = podman.environment(folder / "etc" / "containers").values()
    policy = folder / "etc" / "containers" / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    assert Path(made).name == "containers.conf"


def _hierarchies() -> Iterator[tuple[Path, str, str]]:
    """Where this machine's control groups are mounted: place, type and options."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        place, (kind, _, options) = Path(left.split()[4]), right.split()[:3]
        if kind in ("cgroup", "cgroup2") and place.is_relative_to(_CGROUPS):
            kept = [word for word in options.split(",") if word not in ("rw", "nsdelegate", "xattr")]
            named = any(word.startswith("name=") for word in kept)
            yield place, kind, ",".join(["none"] * named + kept) if kind == "cgroup" else ""


def _mounts() -> Iterator[str]:
    """Shell commands that mount the same below the working directory."""
    found = list(_hierarchies())
    if all(place != _CGROUPS for place, _, _ in found):
        yield f"mount -t tmpfs -o mode=755 tmpfs .{_CGROUPS}"
    for place, kind, options in found:
        chosen = f"-o {shlex.quote(options)} " if options else ""
        yield f"mkdir -p .{place}; mount -t {kind} {chosen}{kind} .{place}"
    if any(
        kind == "cgroup" for _, kind, _ in found
    ):  # Podman makes its groups also where the kernel has none
        for name in _OFTEN:
            if all(place.name != name for place, _, _ in found):
                yield f"mkdir .{_CGROUPS}/{name}; mount -t tmpfs tmpfs .{_CGROUPS}/{name}"


def _swept(group: Path) -> bool:
    """Take a control group away with those below; whether it is still there."""
    for path in sorted([*group.rglob("*/"), group], reverse=True):
        if path.is_dir():
            try:
                path.rmdir()
            except OSError:
                continue
    return group.exists()
