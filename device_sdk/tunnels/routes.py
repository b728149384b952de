"""What a tunnel configuration may ask of this device: the judge between the wire and WireGuard.

Called by `target.py` for everything that a root or a cloudlet answers. Calls nothing. A cloudlet is a
stranger: it may give the app a way into its own address space, and must not be able to take over the
device's other traffic, name servers it did not give, or the lines of a configuration file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from urllib.parse import urlsplit

from device_sdk.fields import WireError
from device_sdk.wire import Service, TunnelConfig, TunnelIPv6

Address = IPv4Address | IPv6Address
Route = IPv4Network | IPv6Network

# The widest block that a tunnel may claim: a /8 is the largest private one (RFC 1918).
SHORTEST_PREFIX = {4: 8, 6: 16}
MAX_NAME_SERVERS = 3  # resolv.conf(5), MAXNS
MAX_SEARCH_DOMAINS = 6  # resolv.conf(5) before glibc 2.26
# "This" network, loopback, link-local, multicast and reserved (RFC 6890); their IPv6 kin.
_FORBIDDEN: tuple[Route, ...] = tuple(
    ip_network(block)
    for block in (
        *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"),
        *("::/128", "::1/128", "::ffff:0:0/96", "fe80::/10", "ff00::/8"),
    )
)
_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")


@dataclass(frozen=True)
class Reached:
    """How a cloudlet on the device's own network was reached over IPv6: at `address`, if link-local with the
    number of this device's interface (`fe80::1%2`); `announced` are all its addresses, without such numbers.
    """

    address: IPv6Address
    announced: frozenset[Address]


@dataclass(frozen=True)
class TunnelPlan:
    """A tunnel configuration that was found harmless, ready to be applied.

    `endpoint` is (address, UDP port); `addresses` are the device's own; `routes` lead into the tunnel.
    `endpoint6` is the same gateway, reached over IPv6. `nearby` is where it should be on the device's own
    network; `is_near` says that it is, since the endpoint that was told is at the same machine.
    """

    public_key: bytes
    endpoint: tuple[Address, int]
    addresses: tuple[Address, ...]
    routes: tuple[Route, ...]
    name_servers: tuple[Address, ...]
    search_domains: tuple[str, ...]
    endpoint6: tuple[Address, int] | None = None
    nearby: tuple[Address, int] | None = None
    is_near: bool = False

    @property
    def ways(self) -> tuple[tuple[Address, int], ...]:
        """Where the gateway may be, the best first: nearby it was just seen that the way is open."""
        told = (self.endpoint, self.endpoint6)
        found = (self.nearby, *told) if self.is_near else (*told, self.nearby)
        return tuple(one for one in found if one is not None)

    def reaches(self, address: Address) -> bool:
        """Whether `address` lies behind the tunnel."""
        return any(address in route for route in self.routes)


@dataclass(frozen=True)
class StatusAddress:
    """Where a gateway tells how far the backend is: plain HTTP through the tunnel."""

    host: str
    port: int
    path: str


def without_link(address: Address) -> Address:
    """The address as its owner knows it, without the number of this device's interface."""
    return IPv6Address(int(address)) if isinstance(address, IPv6Address) else address


def plan_tunnel(
    config: TunnelConfig, own: Sequence[Route] = (), reached: Reached | None = None
) -> TunnelPlan:
    """Judge `config`; `own` are the networks that the device is in, `reached` says how a cloudlet there was
    asked. Raises `WireError`, naming the field, if it asks for more than a way to a backend.
    """
    ipv6 = config.ipv6 or TunnelIPv6()
    endpoint = _endpoint(config.endpoint)
    endpoint6 = None if ipv6.endpoint is None else _endpoint(ipv6.endpoint, "ipv6.endpoint")
    nearby = (reached.address, (endpoint6 or endpoint)[1]) if reached else None
    gateway = [place[0] for place in (endpoint, endpoint6, nearby) if place]
    routes = tuple(_route(block, gateway) for block in config.allowed_ips)
    if not routes:
        raise WireError("allowedIPs", "must not be empty")
    addresses = tuple(_own_address(text) for text in config.address)
    if not addresses:
        raise WireError("address", "must not be empty")
    routes6 = tuple(_route(block, gateway, "ipv6.allowedIPs") for block in ipv6.allowed_ips)
    addresses6 = tuple(_own_address(text, "ipv6.address") for text in ipv6.address)
    if any(one.version == 4 for one in (*routes6, *addresses6, *([endpoint6[0]] if endpoint6 else []))):
        raise WireError("ipv6", "must hold IPv6 alone")
    routes, addresses = routes + routes6, addresses + addresses6
    _leave_alone("allowedIPs", routes, own)
    _leave_alone("address", [ip_network(address) for address in addresses], own)
    name_servers, search_domains = _names(config.dns)
    told = {place[0] for place in (endpoint, endpoint6) if place}
    return TunnelPlan(
        config.public_key,
        endpoint,
        addresses,
        routes,
        name_servers,
        search_domains,
        endpoint6,
        nearby,
        bool(reached and told & reached.announced),
    )


def status_address(url: str, plan: TunnelPlan) -> StatusAddress:
    """Where to ask `url`, a `StatusURL`. Raises `WireError` unless that is behind the tunnel."""
    try:
        parts = urlsplit(url)
        host, port = ip_address(parts.hostname or ""), parts.port or 80
    except ValueError as error:
        raise WireError("StatusURL", "must be http://ADDRESS[:PORT]/… with a literal address") from error
    if parts.scheme != "http" or parts.username is not None or not plan.reaches(host):
        raise WireError("StatusURL", "must be plain HTTP to an address behind the tunnel")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not re.fullmatch(r"[!-~]+", path):
        raise WireError("StatusURL", "must have a plain ASCII path")
    return StatusAddress(str(host), port, path)


def check_services(services: Sequence[Service], plan: TunnelPlan) -> None:
    """Raise `WireError` unless every service has a plain name and an address behind the tunnel."""
    for index, service in enumerate(services):
        path = f"Services[{index}]"
        if not _is_name(service.name):
            raise WireError(f"{path}.name", "must be a name of letters, digits and hyphens")
        if not plan.reaches(_address(service.address, f"{path}.address")):
            raise WireError(f"{path}.address", "must be behind the tunnel")


def _address(text: str, field: str) -> Address:
    try:
        address = ip_address(text)
    except ValueError as error:
        raise WireError(field, "must be an IP address") from error
    if getattr(address, "scope_id", None):
        raise WireError(field, "must not have a zone")
    return address


def _forbidden(block: Route) -> bool:
    return any(block.version == other.version and block.overlaps(other) for other in _FORBIDDEN)


def _endpoint(text: str, field: str = "endpoint") -> tuple[Address, int]:
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not re.fullmatch(r"[1-9][0-9]{0,4}", port) or int(port) > 65535 or (":" in bare) != (bare != host):
        raise WireError(field, "must be a literal address and UDP port, such as 192.0.2.7:51820")
    address = _address(bare, field)
    if address.is_unspecified or address.is_multicast or (address.version == 4 and address.is_reserved):
        raise WireError(field, "must be the address of one host")
    return address, int(port)


def _route(text: str, gateway: Sequence[Address], field: str = "allowedIPs") -> Route:
    try:
        route = ip_network(text, strict=False)
    except ValueError as error:
        raise WireError(field, "must hold address blocks such as 100.71.0.0/28") from error
    if route.prefixlen < SHORTEST_PREFIX[route.version]:
        raise WireError(field, f"{route} would take over the device's other traffic")
    if _forbidden(route):
        raise WireError(field, f"{route} is not a place where backends are")
    if any(address in route for address in gateway):
        raise WireError(field, f"{route} holds the tunnel's own endpoint")
    return route


def _leave_alone(field: str, asked: Sequence[Route], own: Sequence[Route]) -> None:
    """Raise `WireError` for a block that takes part of the networks that the device is in."""
    for block in asked:
        for network in own:
            if network.prefixlen and block.version == network.version and block.overlaps(network):
                raise WireError(field, f"{block} would take over {network}, where this device is")


def _own_address(text: str, field: str = "address") -> Address:
    """The address without its mask: what is on the other side, `allowedIPs` alone says."""
    host, slash, mask = text.partition("/")
    address = _address(host, field)
    if slash and not (mask.isascii() and mask.isdigit() and int(mask) <= address.max_prefixlen):
        raise WireError(field, "must be an address with or without a mask")
    if _forbidden(ip_network(address)):
        raise WireError(field, f"{address} can't be the address of a device")
    return address


def _names(dns: Sequence[str]) -> tuple[tuple[Address, ...], tuple[str, ...]]:
    servers: list[Address] = []
    domains: list[str] = []
    for text in dns:
        try:
            servers.append(ip_address(text))
        except ValueError:
            if not _is_name(text):
                raise WireError("dns", "must hold addresses and domain names (no underscores)") from None
            domains.append(text)
    if any(_forbidden(ip_network(server)) for server in servers):
        raise WireError("dns", "must hold name servers behind the tunnel")
    return tuple(servers[:MAX_NAME_SERVERS]), tuple(domains[:MAX_SEARCH_DOMAINS])


def _is_name(text: str) -> bool:
    return len(text) <= 253 and all(_LABEL.fullmatch(part) for part in text.removesuffix(".").split("."))
