"""Single values as operators give them: each function returns the value, or raises `SettingsError` with the
option's name. Called by the settings of each room; calls nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from urllib.parse import urlsplit

from edge_agent.errors import InvalidRequest, SettingsError
from edge_agent.fields import network

_MOST_NETWORKS = 16


@dataclass(frozen=True)
class Address:
    """An IPv4 address and a port to listen on."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return IPv4Address(self.host).is_loopback

    @property
    def anywhere(self) -> bool:
        """Whether it stands for all of the machine's addresses."""
        return IPv4Address(self.host).is_unspecified


def parse_address(text: str, option: str, default_port: int) -> Address:
    """`IP` or `IP:PORT`."""
    host, _, port = text.partition(":")
    try:
        address = Address(str(IPv4Address(host)), int(port) if port else default_port)
    except (AddressValueError, ValueError) as error:
        raise SettingsError(f"{option} {text}: must be an IPv4 address, or address:port") from error
    if not 0 < address.port < 65536:
        raise SettingsError(f"{option} {text}: ports are 1 to 65535")
    return address


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
