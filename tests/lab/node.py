"""The one node of the tests' cluster, where that node is a network namespace of this machine.

Used by what does a node's work there that the cluster itself lacks: `policies.py`, `kilo.py`.
"""

from __future__ import annotations

import functools
import os
import subprocess
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from tests.lab.machine import Network

_NAMESPACES = Path("/run/netns")
_NO_NODE = "a cluster whose node is a network namespace of this machine"


def missing() -> str | None:
    """Say in words for a person that the node is not here; None where it is, or where there is no cluster."""
    kubeconfig = os.environ.get("SINFONIA_TEST_KUBECONFIG")
    return None if not kubeconfig or _find(kubeconfig) else _NO_NODE


def namespace() -> Path:
    """The file of the node's network namespace."""
    found = _find(os.environ["SINFONIA_TEST_KUBECONFIG"])
    assert found, f"there has to be {_NO_NODE}"
    return found


def address() -> str:
    """The node's address, which is the API server's."""
    return server(Path(os.environ["SINFONIA_TEST_KUBECONFIG"]).read_text())


def run(*command: str, check: bool = True, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command in the node's network, with `text` as its input; with `check`, a failure raises."""
    done = subprocess.run(
        ["nsenter", f"--net={namespace()}", *command],
        input=text,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stderr}{text or ''}"
    return done


def attach(stack: ExitStack, network: Network, address: str, interface: str) -> None:
    """Give the node an interface on a network. It is taken away before the network, which takes its time."""
    network.attach_host(address, interface, namespace())
    stack.callback(run, "ip", "link", "del", interface, check=False)


def server(kubeconfig: str) -> str:
    """The address in the kubeconfig's current context; empty for a name, or for this machine's loopback."""
    config: dict[str, Any] = yaml.safe_load(kubeconfig)
    context = next(one["context"] for one in config["contexts"] if one["name"] == config["current-context"])
    cluster = next(one["cluster"] for one in config["clusters"] if one["name"] == context["cluster"])
    host = urlsplit(cluster["server"]).hostname or ""
    try:
        return "" if ip_address(host).is_loopback else host
    except ValueError:
        return ""


@functools.cache
def _find(kubeconfig: str) -> Path | None:
    """The named network namespace in which the API server's address lives."""
    if not Path(kubeconfig).is_file() or not _NAMESPACES.is_dir() or os.geteuid():
        return None
    host = server(Path(kubeconfig).read_text())
    if not host:
        return None
    for path in sorted(_NAMESPACES.iterdir()):
        command = ["nsenter", f"--net={path}", "ip", "-o", "address", "show", "to", host]
        done = subprocess.run(command, capture_output=True, timeout=10, check=False)
        if done.returncode == 0 and done.stdout.strip():
            return path
    return None
