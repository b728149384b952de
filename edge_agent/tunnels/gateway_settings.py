"""What an operator can say of the gateway: its port, how devices reach it, the tunnels' network, and what one
device may send. Part of `settings.py` and `arguments.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Network, IPv6Address
from typing import Any

from edge_agent.errors import SettingsError
from edge_agent.option_values import Address, parse_address, within
from edge_agent.tunnels import kilo_settings
from edge_agent.tunnels.firewall import Pace
from edge_agent.tunnels.kilo_settings import KiloSettings

DEFAULT_PORT = 51820
"""WireGuard's usual one."""
MTU = 1420
"""What WireGuard's own overhead leaves of 1500 bytes over IPv6; the published clients use it too."""
_LEAST_MTU = 1280
"""What IPv6 asks of every link (RFC 8200, 5)."""
_LEAST_RATE = 100
_MOST_RATE = 1_000_000


@dataclass(frozen=True)
class GatewaySettings:
    """`endpoint`: where devices reach the gateway, a literal IPv4 address, which the published client needs;
    of IPv6 only where the API listens on nothing else and there is no other.
    `port`: UDP, here. `network`: the tunnels' own; None: a /16 that follows from the cloudlet's UUID.
    `endpoint6`: the same gateway over IPv6, as `[2001:db8::7]:51820`. `pace`: what one device may do. `mtu`:
    of the tunnels, in bytes. `kilo`: what makes Kilo the gateway; then `network` is there, and `port`,
    `pace` and `mtu` are Kilo's own affair.
    """

    endpoint: Address
    port: int = DEFAULT_PORT
    network: IPv4Network | None = None
    endpoint6: str | None = None
    pace: Pace = field(default_factory=Pace)
    mtu: int = MTU
    kilo: KiloSettings | None = None

    @classmethod
    def from_arguments(
        cls,
        arguments: Any,
        listen: Sequence[Address],
        own_address: Callable[[], str | None],
        own_address6: Callable[[], str | None],
    ) -> GatewaySettings:
        """Check the parsed command line; `own_address` finds this machine's address where none is given, by
        itself or as that of the API, `own_address6` one of IPv6 where it has no other. Raises
        `SettingsError`.
        """
        port = arguments.wireguard_port
        if not 0 < port < 65536:
            raise SettingsError("--wireguard-port: must be 1 to 65535")
        endpoint = _endpoint(arguments.wireguard_endpoint, port, listen, own_address, own_address6)
        network, endpoint6 = _network(arguments.tunnel_network), arguments.wireguard_endpoint6
        rate = within(arguments.device_rate, "--device-rate", _LEAST_RATE, _MOST_RATE, " packets a second")
        mtu = within(arguments.tunnel_mtu, "--tunnel-mtu", _LEAST_MTU, MTU, " bytes")
        told = endpoint if arguments.wireguard_endpoint else None
        kilo = KiloSettings.from_arguments(arguments, told, own_address)
        if kilo and (rate != Pace().packets or mtu != MTU):
            raise SettingsError(
                "--device-rate, --tunnel-mtu: are for --gateway own; Kilo has its own settings"
            )
        return cls(
            endpoint,
            port,
            network,
            _endpoint6(endpoint6, port) if endpoint6 else None,
            Pace(packets=int(rate)),
            int(mtu),
            kilo,
        )


def add_options(group: argparse._ActionsContainer) -> None:
    """Add the options to a group of the command line."""
    group.add_argument(
        "--wireguard-port",
        type=int,
        default=DEFAULT_PORT,
        metavar="PORT",
        help="UDP (default: %(default)s)",
    )
    group.add_argument(
        "--wireguard-endpoint",
        metavar="IP[:PORT]",
        help="how devices reach it (default: the address of --listen, or this machine's own)",
    )
    group.add_argument(
        "--tunnel-network",
        metavar="CIDR",
        help="the tunnels' own network, which nothing else here may use (default: a free /16 of "
        "100.64.0.0/10, kept over restarts)",
    )
    group.add_argument(
        "--wireguard-endpoint6",
        metavar="[IPV6]:PORT",
        help="the same gateway over IPv6, for devices that can't reach it over IPv4 (default: not told)",
    )
    group.add_argument(
        "--tunnel-mtu",
        type=int,
        default=MTU,
        metavar="BYTES",
        help="the largest packet in a tunnel; less than %(default)s where the way to devices carries less "
        f"than 1500 bytes, {_LEAST_MTU} at least. Connections of TCP keep to it on both sides; devices send "
        "other packets as large as their own setting says (default: %(default)s)",
    )
    group.add_argument(
        "--device-rate",
        type=int,
        default=Pace().packets,
        metavar="N",
        help="packets a second that one device may send; more are dropped (default: %(default)s, some "
        "200 Mbit/s of full ones)",
    )
    kilo_settings.add_options(group)


def _endpoint(
    text: str | None,
    port: int,
    listen: Sequence[Address],
    own_address: Callable[[], str | None],
    own_address6: Callable[[], str | None],
) -> Address:
    if text:
        return parse_address(text, "--wireguard-endpoint", port)
    first = next((one for one in listen if one.version == 4), None)
    if first is not None and not (first.loopback or first.anywhere):
        return Address(first.host, port)
    found = own_address()
    if found is None and first is None:
        others = (one.host for one in listen if not (one.loopback or one.anywhere))
        found = next(others, None) or own_address6()
    if found is None:
        raise SettingsError(
            "--wireguard-endpoint IP is needed: this machine has no route to take an address from"
        )
    return Address(found, port)


def _endpoint6(text: str, port: int) -> str:
    host, _, number = text.rpartition("]")
    try:
        address = IPv6Address(host.removeprefix("["))
        bad = not host.startswith("[") or not (number == "" or number.startswith(":"))
        told = int(number[1:]) if number else port
    except (AddressValueError, ValueError):
        bad = True
    if bad or address.is_unspecified or address.is_multicast or address.scope_id or not 0 < told < 65536:
        raise SettingsError(f"--wireguard-endpoint6 {text}: must be such as [2001:db8::7]:{port}")
    return f"[{address}]:{told}"


def _network(text: str | None) -> IPv4Network | None:
    try:
        return IPv4Network(text) if text else None
    except ValueError as error:
        raise SettingsError(
            f"--tunnel-network {text}: must be an IPv4 network such as 100.71.0.0/16"
        ) from error
