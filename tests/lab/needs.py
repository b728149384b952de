"""What a live test needs from the machine: names it when it skips, and never skips in CI."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from tests.lab import node

_CACHE = Path(__file__).resolve().parents[2] / ".cache"
_FILES = {
    "tun": ("/dev/net/tun", "the TUN device /dev/net/tun"),
    "busybox-static": ("/bin/busybox", "the Debian package busybox-static"),
    **{
        name: (str(_CACHE / name), f"{what} in .cache (infra/setup/install --engines)")
        for name, what in (
            ("helm4", "Helm 4"),
            ("cfn-lint", "the checker of templates"),
            ("ministack", "the AWS emulator"),
            ("lambda-runtime", "Lambda's runtime client"),
            ("prometheus", "Prometheus and promtool"),
        )
    },
    "netavark": ("/usr/lib/podman/netavark", "the Debian package netavark"),
    "systemd": ("/lib/systemd/systemd", "the Debian package systemd"),
}
TUNNEL = ("root", "tun", "ip", "nsenter", "setpriv", "catatonit", "wg", "wireguard-go")
"""What a device or a gateway in a machine of the lab takes."""
CLOUDLET = (*TUNNEL, "nft", "podman", "runc", "netavark", "iptables", "curl", "helm", "busybox-static")
"""What a cloudlet with Podman takes."""
WORLD = (*CLOUDLET, "module:zeroconf", "module:chalice")
"""What `world.py` takes."""
_NO_CLUSTER = "a Kubernetes cluster (SINFONIA_TEST_KUBECONFIG)"
_LAB_CLUSTER = Path(__file__).resolve().parents[3] / "shared" / "kubernetes" / "up"
_PROGRAMS = {
    "wg": "wireguard-tools",
    "wireguard-go": "wireguard-go",
    "nft": "nftables",
    "podman": "podman",
    "runc": "runc",
    "catatonit": "catatonit",
    "iptables": "iptables",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "ping": "iputils-ping",
    "curl": "curl",
    "jq": "jq",
    "gcc": "gcc libc6-dev",
    "dbus-daemon": "dbus-daemon",
    "npm": "npm",
    "helm": "helm (make setup brings it)",
    "kubectl": "kubectl (make setup brings it)",
}


def missing(part: str, environ: Mapping[str, str] | None = None) -> str | None:
    """Say what is missing for `part` in words for a person, or None where it is there.

    A part is "root", "kubernetes", "node" (the cluster's), the name of a program, of a Python module
    ("module:NAME"), "tun", "busybox-static", "netavark", or one of the tools that
    `infra/setup/install --engines` puts into .cache.
    """
    environ = os.environ if environ is None else environ
    if part == "root":
        return None if os.geteuid() == 0 else "root rights"
    if part == "kubernetes":
        return None if environ.get("SINFONIA_TEST_KUBECONFIG") else _NO_CLUSTER
    if part == "node":
        return node.missing()
    if part.startswith("module:"):
        module = part.removeprefix("module:")
        return None if importlib.util.find_spec(module) else f"the Python module {module}"
    if part in _FILES:
        path, words = _FILES[part]
        return None if os.path.exists(path) else words  # noqa: PTH110 - a device node, not a file
    if part in _PROGRAMS:
        return None if _which(part) else f"the program {part} (package {_PROGRAMS[part]})"
    message = f"unknown part {part!r}"
    raise ValueError(message)


def needs(*parts: str) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """Mark a test (or class) as live; skip it, naming what lacks, unless CI=true: then it runs and fails."""

    def mark(test: Callable[..., object]) -> Callable[..., object]:
        for each in _marks(parts):
            test = each(test)
        return test

    return mark


def param(value: object, *parts: str, id: str) -> object:  # noqa: A002 - pytest's own word
    """Return a pytest.param that needs `parts`, for suites that run on the fake and on the real part."""
    return pytest.param(value, marks=_marks(parts), id=id)


def may_skip(lacking: list[str], environ: Mapping[str, str] | None = None) -> bool:
    """Whether a test may skip for what is lacking.

    Not in CI, where everything that can be installed is, so that a skip would hide a failure. A cluster can't
    be installed: without one CI may skip, unless one for tests lies beside the checkout.
    """
    environ = os.environ if environ is None else environ
    if environ.get("CI") != "true":
        return bool(lacking)
    return lacking == [_NO_CLUSTER] and not _LAB_CLUSTER.exists()


def reason(lacking: list[str]) -> str:
    """Put what is lacking into the words of a skip."""
    return "this machine lacks " + ", ".join(lacking) if lacking else ""


def _marks(parts: Sequence[str]) -> list[pytest.MarkDecorator]:
    lacking = [words for words in map(missing, parts) if words]
    return [pytest.mark.live, pytest.mark.skipif(may_skip(lacking), reason=reason(lacking))]


def _which(program: str) -> str | None:
    """Look on the PATH and beside this Python, where the set-up puts helm."""
    return shutil.which(program) or shutil.which(program, path=str(Path(sys.executable).parent))
