"""What an operator can say of the API: where it listens, how roots reach it, and where metrics are. Part of
`settings.py` and `arguments.py`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from edge_agent.option_values import Address, parse_address, parse_url

DEFAULT_PORT = 7070
DEFAULT_METRICS_PORT = 9707


@dataclass(frozen=True)
class ServingSettings:
    """`advertise_url`: where roots reach the API. `metrics`: where Prometheus and a kubelet's probes read;
    None: nowhere, since what it tells is the operator's.
    """

    listen: Address
    advertise_url: str
    metrics: Address | None = None

    @classmethod
    def from_arguments(cls, arguments: Any, listen: Address, host: str) -> ServingSettings:
        """Check the parsed command line; `host` is the address where others reach the API. Raises
        `SettingsError`.
        """
        url = arguments.advertise_url or f"http://{host}:{listen.port}/api/v1/deploy"
        metrics = arguments.metrics
        return cls(
            listen,
            parse_url(url, "--advertise-url"),
            parse_address(metrics, "--metrics", DEFAULT_METRICS_PORT) if metrics else None,
        )


def listening(arguments: Any) -> Address:
    """Where the API listens."""
    return parse_address(arguments.listen, "--listen", DEFAULT_PORT)


def add_options(group: argparse._ActionsContainer) -> None:
    """Add the options to a group of the command line."""
    group.add_argument(
        "--listen",
        default=f"127.0.0.1:{DEFAULT_PORT}",
        metavar="IP[:PORT]",
        help="the API for roots and devices (default: %(default)s)",
    )
    group.add_argument(
        "--advertise-url", metavar="URL", help="how roots reach it (default: made of --listen)"
    )
    group.add_argument(
        "--metrics",
        metavar="IP[:PORT]",
        help="serve its own metrics for Prometheus there, with /healthz and /readyz; for your networks only "
        f"(default: nowhere; port {DEFAULT_METRICS_PORT})",
    )
