"""What an operator can say of bundles: whether the cloudlet takes what devices bring, and how much of it.
Part of `settings.py` and `arguments.py`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from edge_agent.errors import SettingsError
from edge_agent.recipes.limits import amount


@dataclass(frozen=True)
class BundleSettings:
    """`most_bytes` is the room for bundles in all, and the most that one may unpack to. 0, the default: none
    are taken, since they are code of whoever reaches the API.
    """

    most_bytes: int = 0

    @classmethod
    def from_arguments(cls, arguments: Any) -> BundleSettings:
        """Check the parsed command line; raises `SettingsError`."""
        text = arguments.take_bundles
        if text is None:
            return cls()
        most = amount(text)
        if most is None or not 1 << 20 <= most <= 1 << 50:
            raise SettingsError(f"--take-bundles {text}: must be a size such as 4Gi")
        if arguments.runtime != "podman":
            raise SettingsError("--take-bundles: a cluster's nodes take images from registries alone")
        if arguments.only_from_roots:
            raise SettingsError("--take-bundles: devices bring them, and --only-from-roots refuses devices")
        return cls(most)


def add_options(group: argparse._ActionsContainer) -> None:
    """Add the options to a group of the command line."""
    group.add_argument(
        "--take-bundles",
        metavar="SIZE",
        help="take recipes, charts and images that devices bring along, up to this size in all, such as 4Gi "
        "(Podman; which devices, --nearby says; default: none)",
    )
