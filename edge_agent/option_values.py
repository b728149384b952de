"""Single values as operators give them: each function returns the value, or raises `SettingsError` with the
option's name. Called by the settings of each room; calls nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from edge_agent.errors import InvalidRequest, SettingsError
from edge_agent.fields import network

_MOST_NETWORKS = 16


@dataclass(frozen=True)
class Address:
    """An address and a port to listen on. A link-local one of IPv6 names its interface: `fe80::1%eth0`."""

    host: str
    port: int

    @property
    def version(self) -> int:
        """4 or 6."""
        return ip_address(self.host).version

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return ip_address(self.host).is_loopback

    @property
    def anywhere(self) -> bool:
        """Whether it stands for all of the machine's addresses of its version."""
        return ip_address(self.host).is_unspecified

    @property
    def told(self) -> str:
        """Address and port as others are told, to whom this machine's names of interfaces mean nothing."""
        host = self.host.partition("%")[0]
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


def parse_address(text: str, option: str, default_port: int) -> Address:
    """`IP` or `IP:PORT`, of IPv4."""
    host, _, port = text.partition(":")
    try:
        address = str(IPv4Address(host))
    except ValueError as error:
        raise SettingsError(f"{option} {text}: must be an IPv4 address, or address:port") from error
    return Address(address, _port(text, option, port) if port else default_port)


def parse_either_address(text: str, option: str, default_port: int) -> Address:
    """The same, or `[IPV6]:PORT`, or `IPV6`; a link-local one with its interface."""
    if text.count(":") < 2:
        return parse_address(text, option, default_port)
    found = re.fullmatch(r"\[(.*)\](?::(.+))?", text)
    host, port = (found[1], found[2]) if found else (text, None)
    try:
        address = IPv6Address(host)
    except ValueError as error:
        form = "must be an IPv4 address, address:port, or [IPv6]:port"
        raise SettingsError(f"{option} {text}: {form}") from error
    scope = address.scope_id or ""
    if address.is_link_local != bool(re.fullmatch(r"[!-.0-~]{1,15}", scope)) or address.is_multicast:
        raise SettingsError(
            f"{option} {text}: a link-local address, and no other, names its interface: fe80::1%eth0"
        )
    return Address(str(address), _port(text, option, port) if port else default_port)


def _port(text: str, option: str, port: str) -> int:
    if not port.isascii() or not port.isdigit() or not 0 < int(port[:6]) < 65536:
        raise SettingsError(f"{option} {text}: ports are 1 to 65535")
    return int(port)


def parse_url(text: str, option: str) -> str:
    """An http(s) URL of at most 256 characters."""
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good or len(text) > 256 or re.search(r"\s", text):
        raise SettingsError(f"{option} {text}: must be an http(s) URL of at most 256 characters")
    return text


def parse_networks(texts: Sequence[str], option: str) -> tuple[str, ...]:
    """CIDR blocks, at most 16."""
    if len(texts) > _MOST_NETWORKS:
        raise SettingsError(f"{option}: at most {_MOST_NETWORKS} networks")
    try:
        return tuple(str(network(text, option)) for text in texts)
    except InvalidRequest as error:
        raise SettingsError(str(error)) from error


def matching(text: str | None, option: str, pattern: str, what: str) -> str | None:
    """A text that matches the whole pattern, or None where none is given; `what` says what it has to be."""
    if text is not None and not re.fullmatch(pattern, text):
        raise SettingsError(f"{option} {text}: must be {what}")
    return text


def within(value: float, option: str, low: float, high: float, unit: str = " seconds") -> float:
    """A number between two limits; NaN is in none."""
    if not low <= value <= high:
        raise SettingsError(f"{option}: must be {low:.10g} to {high:.10g}{unit}")
    return value
