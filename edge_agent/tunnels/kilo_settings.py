"""What an operator can say of Kilo as the gateway: which node devices enter at, and where status and names
are served behind it. Part of `gateway_settings.py`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge_agent.errors import SettingsError
from edge_agent.option_values import Address, matching, parse_address

STATUS_PORT = 7080
NAMES_PORT = 7053
_SERVICE = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)/([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)")
_NODE = r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"


@dataclass(frozen=True)
class KiloSettings:
    """`namespace` and `service` name the Service that leads devices to `status` (its port 80) and `names`
    (its port 53), where the agent listens. `node`: the one that devices enter at; None: as Kilo's annotations
    say. `endpoint`: what devices are told instead of that node's own.
    """

    namespace: str
    service: str
    status: Address
    names: Address
    node: str | None = None
    endpoint: str | None = None

    @classmethod
    def from_arguments(
        cls, arguments: Any, endpoint: Address | None, own_address: Callable[[], str | None]
    ) -> KiloSettings | None:
        """Check the parsed command line; None where Kilo was not asked for. Raises `SettingsError`."""
        given = {
            "--kilo-service": arguments.kilo_service,
            "--kilo-status": arguments.kilo_status,
            "--kilo-names": arguments.kilo_names,
            "--kilo-node": arguments.kilo_node,
        }
        if arguments.gateway != "kilo":
            for option in (name for name, value in given.items() if value):
                raise SettingsError(f"{option}: this option is for --gateway kilo")
            return None
        _check_together(arguments)
        named = _SERVICE.fullmatch(arguments.kilo_service)
        if not named:
            raise SettingsError(f"--kilo-service {arguments.kilo_service}: must be NAMESPACE/NAME")
        node = matching(arguments.kilo_node, "--kilo-node", _NODE, "the name of a node")
        return cls(
            named[1],
            named[3],
            _listening(arguments.kilo_status, "--kilo-status", STATUS_PORT, own_address),
            _listening(arguments.kilo_names, "--kilo-names", NAMES_PORT, own_address),
            node,
            endpoint.told if endpoint else None,
        )


def add_options(group: argparse._ActionsContainer) -> None:
    """Add the options to a group of the command line."""
    group.add_argument(
        "--gateway",
        choices=("own", "kilo"),
        default="own",
        help="what devices' tunnels end at: a WireGuard interface of the agent's own, or Kilo's on a cluster"
        " that runs it: the agent then makes Peer objects and no interface, and devices reach Services by"
        " their own addresses. Needs --tunnel-network, addresses that your nodes don't masquerade (default:"
        " own)",
    )
    group.add_argument(
        "--kilo-service",
        metavar="NAMESPACE/NAME",
        help="the Service by which devices reach the agent's status (port 80, TCP) and names (port 53, UDP"
        " and TCP); the Helm chart makes one",
    )
    group.add_argument(
        "--kilo-status",
        metavar="IP[:PORT]",
        help="listen there for what comes to its port 80 (default: this machine's own address, "
        f"{STATUS_PORT})",
    )
    group.add_argument(
        "--kilo-names",
        metavar="IP[:PORT]",
        help="listen there for what comes to its port 53 (default: this machine's own address, "
        f"{NAMES_PORT})",
    )
    group.add_argument(
        "--kilo-node",
        metavar="NAME",
        help="the node that devices enter at (default: one that Kilo's annotation makes a leader, else the"
        " first with an endpoint)",
    )


def _check_together(arguments: Any) -> None:
    """Raise `SettingsError` for options that make no sense with, or without, Kilo."""
    if arguments.runtime != "kubernetes":
        raise SettingsError("--gateway kilo: is for --runtime kubernetes")
    if not arguments.kilo_service:
        raise SettingsError("--gateway kilo: --kilo-service NAMESPACE/NAME is needed")
    if not arguments.tunnel_network:
        raise SettingsError(
            "--gateway kilo: --tunnel-network CIDR is needed, addresses that your nodes don't masquerade"
        )
    if arguments.wireguard_endpoint6:
        raise SettingsError("--wireguard-endpoint6: is for --gateway own; with Kilo tunnels carry IPv4")
    if not (arguments.prometheus or arguments.max_age):
        raise SettingsError(
            "--gateway kilo: Kilo does not say which devices are there, so backends would never end: give"
            " --prometheus URL, where a WireGuard exporter's metrics are, or --max-age SECONDS, or both"
        )


def _listening(text: str | None, option: str, port: int, own_address: Callable[[], str | None]) -> Address:
    host = text or own_address()
    if host is None:
        raise SettingsError(f"{option} IP is needed: this machine has no route to take an address from")
    address = parse_address(host, option, port)
    if address.anywhere:
        raise SettingsError(f"{option} {text}: must be one address of this machine")
    return address
