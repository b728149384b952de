"""What an operator can say of the API: where it listens, how roots reach it, and where metrics are. Part of
`settings.py` and `arguments.py`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from edge_agent.errors import SettingsError
from edge_agent.option_values import Address, parse_address, parse_either_address, parse_url

DEFAULT_PORT = 7070
DEFAULT_METRICS_PORT = 9707
_MOST_ADDRESSES = 16


@dataclass(frozen=True)
class ServingSettings:
    """`listen`: where the API is, at one port. `advertise_url`: where roots reach it. `metrics`: where
    Prometheus and a kubelet's probes read; None: nowhere, since what it tells is the operator's.
    """

    listen: tuple[Address, ...]
    advertise_url: str
    metrics: Address | None = None

    @classmethod
    def from_arguments(cls, arguments: Any, listen: tuple[Address, ...], host: str) -> ServingSettings:
        """Check the parsed command line; `host` is the address where others reach the API. Raises
        `SettingsError`.
        """
        url = arguments.advertise_url or f"http://{Address(host, listen[0].port).told}/api/v1/deploy"
        metrics = arguments.metrics
        return cls(
            listen,
            parse_url(url, "--advertise-url"),
            parse_address(metrics, "--metrics", DEFAULT_METRICS_PORT) if metrics else None,
        )

    @property
    def port(self) -> int:
        """The API's."""
        return self.listen[0].port

    def serves(self, host: str) -> bool:
        """Whether the API listens at an address of this machine."""
        version = Address(host, self.port).version
        return any(one.host == host or (one.anywhere and one.version == version) for one in self.listen)


def listening(arguments: Any) -> tuple[Address, ...]:
    """Where the API listens; the address that others reach it at best comes first."""
    texts = dict.fromkeys(arguments.listen or [f"127.0.0.1:{DEFAULT_PORT}"])
    found = dict.fromkeys(parse_either_address(text, "--listen", DEFAULT_PORT) for text in texts)
    if len({one.port for one in found}) > 1 or len(found) > _MOST_ADDRESSES:
        raise SettingsError(f"--listen: must be at most {_MOST_ADDRESSES} addresses, all with the same port")
    return tuple(sorted(found, key=lambda one: (one.loopback, one.version)))


def add_options(group: argparse._ActionsContainer) -> None:
    """Add the options to a group of the command line."""
    group.add_argument(
        "--listen",
        action="append",
        metavar="IP[:PORT]",
        help="the API for roots and devices; IPv6 as [::]:PORT, or [fe80::1%%eth0]:PORT for one link; may be "
        f"repeated, with one port (default: 127.0.0.1:{DEFAULT_PORT})",
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
