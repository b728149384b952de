"""Whether this device can make tunnels: programs, TUN device, namespaces, WireGuard. Called by `doctor.py`.

Everything is tried for real, in a network of its own that is gone afterwards. `root` is where the system's
files are.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from device_sdk.device.findings import Finding
from device_sdk.device.hardware import read
from device_sdk.errors import SinfoniaError
from device_sdk.tunnels.sandbox import Sandbox

_PACKAGES = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "env": "coreutils",
    "ip": "iproute2",
    "wireguard-go": "wireguard-go",
}
_IN_CONTAINER = "in a container, start it with --device /dev/net/tun"
# Of proc(5), apparmor(7) and Debian's kernels: what says, with which value, that users get no namespaces.
_REFUSALS = (
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "AppArmor keeps user namespaces from programs",
        "0",
    ),
    ("kernel/unprivileged_userns_clone", "0", "users may make no user namespaces", "1"),
    ("user/max_user_namespaces", "0", "no user namespaces may be made", "10000"),
    ("user/max_net_namespaces", "0", "no network namespaces may be made", "10000"),
)


def programs() -> Finding:
    """The programs that a tunnel is made with."""
    missing = [program for program in _PACKAGES if shutil.which(program) is None]
    if not missing:
        return Finding("ok", "all there")
    packages = " ".join(dict.fromkeys(_PACKAGES[program] for program in missing))
    return Finding("problem", f"missing: {', '.join(missing)}", f"on Debian: apt install {packages}")


def tun(root: Path) -> Finding:
    """The device that WireGuard in user space works through."""
    path = root / "dev/net/tun"
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return Finding("problem", f"there is no {path}", f"modprobe tun; {_IN_CONTAINER}")
    except PermissionError:
        advice = f"chmod 666 {path} (what udev gives it; it allows nothing by itself); {_IN_CONTAINER}"
        return Finding("problem", f"{path} may not be opened", advice)
    except OSError as error:
        return Finding("problem", f"{path}: {error.strerror}", f"modprobe tun; {_IN_CONTAINER}")
    return Finding("ok", str(path))


def namespaces(root: Path) -> Finding:
    """Networks of an app's own, without root in a user namespace."""
    try:
        Sandbox("").close()
    except SinfoniaError as error:
        return refusal(root, privileged=os.geteuid() == 0) or Finding(
            "problem", str(error), "run the command with sudo"
        )
    return Finding("ok", "as root" if os.geteuid() == 0 else "without root")


def refusal(root: Path, *, privileged: bool) -> Finding | None:
    """The system's setting that allows no namespaces, if there is one."""
    for name, value, meaning, better in _REFUSALS[3:] if privileged else _REFUSALS:
        if read(root / "proc/sys" / name).strip() == value:
            setting = f"{name.replace('/', '.')}={better}"
            sudo = ", or run the command with sudo" if not privileged else ""
            return Finding("problem", f"{meaning} ({name}={value})", f"sysctl -w {setting}{sudo}")
    return None


def notifications(root: Path) -> Finding:
    """By which sockets of a WireGuard in user space are made outside its network (seccomp_unotify(2))."""
    known = read(root / "proc/sys/kernel/seccomp/actions_avail").split()
    if "user_notif" in known:
        return Finding("ok", "the kernel has them")
    return Finding("problem", "the kernel has no seccomp notifications", "a kernel of 5.9 or later")


def wireguard() -> Finding:
    """A WireGuard that starts: the kernel's for root, else the one in user space."""
    try:
        sandbox = Sandbox("")
    except SinfoniaError:
        return Finding("problem", "not tried: there is no network to try it in", "see namespaces")
    try:
        if os.geteuid() == 0 and shutil.which("wg") and _in_kernel(sandbox):
            return Finding("ok", "the kernel's")
        sandbox.start_wireguard("wg0")
    except SinfoniaError as error:
        advice = "see tun and programs; in a container, its seccomp profile may forbid notifications"
        return Finding("problem", str(error), advice)
    finally:
        sandbox.close()
    return Finding("ok", "wireguard-go, in user space")


def _in_kernel(sandbox: Sandbox) -> bool:
    try:
        sandbox.run(["ip", "link", "add", "wg1", "type", "wireguard"])
    except SinfoniaError:
        return False
    return True
