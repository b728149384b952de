"""The machine that the agent runs on: programs, rights, WireGuard, packet rules, ports, folders. Called by
`check.py`; starts each program with a time limit, and takes away what it makes.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from edge_agent.capabilities import may_set_up_tunnels
from edge_agent.checking.findings import Finding

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]

_PART = "machine"
_SECONDS = 15.0
_TUN = "/dev/net/tun"
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_FREE_BYTES = 1 << 30
_LINK = "sf-check"
_RULES = """\
table inet sinfonia_check {
  map m { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
  set s { type ipv4_addr; flags dynamic; size 16; }
  chain lead {
    type nat hook prerouting priority dstnat;
    dnat ip to ip saddr . meta l4proto . th dport map @m
  }
  chain hide { type nat hook postrouting priority srcnat; masquerade; }
  chain in { type filter hook input priority filter; ct state new add @s { ip saddr ct count over 9 } drop; }
}
"""
_VERSIONS = {
    "ip": (["-V"], "iproute2"),
    "wg": (["--version"], "wireguard-tools"),
    "nft": (["--version"], "nftables"),
    "podman": (["--version"], "podman"),
}


class Programs:
    """The programs of this machine. `run` is `subprocess.run`."""

    def __init__(self, run: Run = subprocess.run) -> None:
        self._run = run

    def say(self, arguments: Sequence[str], text: str = "") -> tuple[bool, str]:
        """Whether it ended well, and the first line that it said."""
        try:
            done = self._run(
                arguments, input=text.encode(), capture_output=True, timeout=_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return False, f"did not end within {_SECONDS:g} s"
        except OSError as error:
            return False, error.strerror or str(error)
        said = (done.stdout or done.stderr if done.returncode == 0 else done.stderr or done.stdout).decode(
            "utf-8", "replace"
        )
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        return done.returncode == 0, (lines[0] if lines else f"exit status {done.returncode}")[:200]

    def installed(self, names: Iterable[str]) -> Iterator[Finding]:
        """Each program with its version."""
        for name in names:
            options, package = _VERSIONS[name]
            good, said = self.say([name, *options])
            if good:
                yield Finding(_PART, name, "good", _version(said))
            else:
                yield Finding(_PART, name, "bad", said, f"install {package}, so that {name} is on the PATH")

    def helm(self, program: str | None) -> Iterator[Finding]:
        """Helm's version: 3 and 4 are known to render charts the same."""
        good, said = self.say([program or "helm", "version", "--short"])
        major = re.match(r"v(\d+)\.", said)
        if not good:
            advice = "install helm 3 or 4 (https://helm.sh), or say where it is with --helm"
            yield Finding(_PART, "helm", "bad", said, advice)
        elif major is None or major[1] not in ("3", "4"):
            yield Finding(_PART, "helm", "warning", said, "this version was never tried: 3 and 4 were")
        else:
            yield Finding(_PART, "helm", "good", said)

    def podman(self, options: Sequence[str]) -> Iterator[Finding]:
        """Whether Podman can be used as it would be."""
        form = "{{.Host.OCIRuntime.Name}}, {{.Host.CgroupManager}}, {{.Store.GraphDriverName}}"
        good, said = self.say(["podman", *options, "info", "--format", form])
        advice = "" if good else "`podman info` has to work for the user who runs the agent"
        yield Finding(_PART, "podman's runtime", "good" if good else "bad", said, advice)

    def wireguard(self) -> Iterator[Finding]:
        """The kernel's WireGuard, or wireguard-go and the device that it needs."""
        good, said = self.say(["ip", "link", "add", _LINK, "type", "wireguard"])
        if good:
            self.say(["ip", "link", "del", _LINK])
            yield Finding(_PART, "WireGuard", "good", "the kernel's")
            return
        if shutil.which("wireguard-go") is None:
            advice = "install wireguard-go, or load the kernel's module: modprobe wireguard"
            yield Finding(_PART, "WireGuard", "bad", f"the kernel has none: {said}", advice)
            return
        try:
            os.close(os.open(_TUN, os.O_RDWR | os.O_CLOEXEC))
        except OSError as error:
            advice = f"wireguard-go needs it: let the agent's user read and write {_TUN} (mode 0666 is usual)"
            yield Finding(_PART, "WireGuard", "bad", f"{_TUN}: {error.strerror}", advice)
            return
        text = "wireguard-go, since the kernel has none: slower, and otherwise the same"
        yield Finding(_PART, "WireGuard", "good", text)

    def packet_rules(self) -> Iterator[Finding]:
        """Whether the kernel takes rules such as the gateway's; nothing is changed."""
        good, said = self.say(["nft", "--check", "-f", "-"], _RULES)
        advice = (
            "" if good else "the kernel needs nf_tables with NAT and connection counts, the agent NET_ADMIN"
        )
        yield Finding(
            _PART, "packet rules", "good" if good else "bad", "nftables takes them" if good else said, advice
        )


def rights() -> Iterator[Finding]:
    """Whether tunnels can be set up."""
    who = "root" if os.geteuid() == 0 else f"user {os.geteuid()}"
    if may_set_up_tunnels():
        yield Finding(_PART, "rights", "good", f"{who}, with NET_ADMIN")
    else:
        advice = "run it as root, or give NET_ADMIN as the image and the systemd unit do"
        yield Finding(_PART, "rights", "bad", f"{who}, without NET_ADMIN", advice)


def forwarding(path: Path = _FORWARDING) -> Iterator[Finding]:
    """Whether packets are forwarded, or the agent can see to it."""
    if path.read_text().strip() == "1":
        yield Finding(_PART, "forwarding", "good", "IPv4 packets are forwarded")
    elif os.access(path, os.W_OK):
        yield Finding(_PART, "forwarding", "good", "off; the agent switches it on")
    else:
        advice = "sysctl net.ipv4.ip_forward=1; in the Helm chart gateway.forwarding=sysctl or init"
        yield Finding(_PART, "forwarding", "bad", "IPv4 packets are not forwarded", advice)


def port(kind: str, host: str, number: int, option: str, *, running: bool) -> Iterator[Finding]:
    """Whether a port (kind UDP or TCP) is free, or taken by the agent itself."""
    subject = f"{kind} port {number}"
    family = socket.SOCK_DGRAM if kind == "UDP" else socket.SOCK_STREAM
    version = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.closing(socket.socket(version, family)) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(kind == "TCP"))
        if version == socket.AF_INET6:
            trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            trial.bind(socket.getaddrinfo(host, number)[0][4])
        except OSError as error:
            if running:
                yield Finding(_PART, subject, "good", "in use: an agent runs with this --state")
                return
            advice = f"`ss -lpn 'sport = :{number}'` says by what; end it, or change {option}"
            yield Finding(_PART, subject, "bad", f"{host}: {error.strerror}", advice)
            return
    yield Finding(_PART, subject, "good", f"free on {host}")


def state(folder: Path) -> Iterator[Finding]:
    """Whether the state folder can be kept, and has room."""
    there = next((one for one in (folder, *folder.parents) if one.exists()), Path("/"))
    if not os.access(there, os.W_OK | os.X_OK):
        advice = f"let user {os.geteuid()} write there, or give another --state"
        yield Finding(_PART, "state", "bad", f"{there} can't be written", advice)
        return
    free = shutil.disk_usage(there).free
    text = f"{folder}, {free / (1 << 30):.1f} GiB free"
    few = free < _FREE_BYTES
    advice = "charts and bundles are kept there: make room" if few else ""
    yield Finding(_PART, "state", "warning" if few else "good", text, advice)
    kept = folder / "identity.json"
    if kept.exists() and kept.stat().st_mode & 0o077:
        yield Finding(_PART, "identity", "warning", f"{kept} can be read by others", f"chmod 600 {kept}")


def _version(said: str) -> str:
    found = re.search(r"v?\d+(\.\d+)+\S*", said)
    return found[0].rstrip(",") if found else said
