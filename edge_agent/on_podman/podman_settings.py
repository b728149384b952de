"""What an operator can say of Podman: where it keeps things. Part of `settings.py` and `arguments.py`."""

from __future__ import annotations

import argparse
from typing import Any


def podman_options(arguments: Any) -> tuple[str, ...]:
    """Podman's own options, which come before its command."""
    folders = {
        "--root": arguments.podman_root,
        "--runroot": arguments.podman_runroot,
        "--network-config-dir": arguments.podman_network_dir,
    }
    return tuple(word for option, folder in folders.items() if folder for word in (option, str(folder)))


def add_options(group: argparse._ActionsContainer) -> None:
    """Add the options to a group of the command line."""
    group.add_argument("--podman-root", metavar="DIR", help="Podman's storage, if not its default")
    group.add_argument("--podman-runroot", metavar="DIR", help="Podman's run-time state, if not its default")
    group.add_argument(
        "--podman-network-dir", metavar="DIR", help="Podman's network files, if not its default"
    )
