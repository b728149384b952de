"""What an operator says of the cloudlet itself: its name, where it is, for which networks, and what it has.
Part of `settings.py` and `arguments.py`.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass, field
from typing import Any

from edge_agent.deployments.requirements import Hardware, Offer
from edge_agent.errors import InvalidRequest, SettingsError
from edge_agent.fields import parse_location_header
from edge_agent.option_values import matching, parse_networks, within
from edge_agent.wire import Location

_JURISDICTION = r"[A-Z]{2}(-[A-Z0-9]{1,3})?"
HIGHEST_PRICE = 1_000_000
"""An hour, in the currency of whoever is told it."""


@dataclass(frozen=True)
class SiteSettings:
    """Networks are CIDR texts. Of the `offer` only what the operator says; the rest is measured."""

    name: str | None = None
    location: Location | None = None
    local_networks: tuple[str, ...] = ()
    accept: tuple[str, ...] = ()
    reject: tuple[str, ...] = ()
    offer: Offer = field(default_factory=Offer)

    @classmethod
    def from_arguments(cls, arguments: Any) -> SiteSettings:
        """Check the parsed command line; raises `SettingsError`."""
        law, price = arguments.jurisdiction, arguments.price
        offer = Offer(_hardware(arguments), parse_jurisdiction(law, "--jurisdiction"), _price(price))
        return cls(
            _name(arguments.name),
            _location(arguments.location),
            parse_networks(arguments.local_network, "--local-network"),
            parse_networks(arguments.accept, "--accept"),
            parse_networks(arguments.reject, "--reject"),
            offer,
        )


def add_options(group: argparse._ActionsContainer) -> None:
    """Add the options that say where it is and for whom to a group of the command line."""
    group.add_argument("--name", help="what people call it")
    group.add_argument("--location", metavar="LAT,LON", help="where it is, in degrees")
    for option, what in (
        ("--local-network", "a network that it is on: devices there prefer it"),
        ("--accept", "only clients of these networks are sent here"),
        ("--reject", "clients of these networks never are"),
    ):
        group.add_argument(
            option, action="append", default=[], metavar="CIDR", help=f"{what}; may be repeated"
        )


def add_offer_options(group: argparse._ActionsContainer) -> None:
    """Add the options that say what it has to a group of the command line."""
    group.add_argument("--price", type=float, metavar="N", help="an hour, in the currency of its roots")
    group.add_argument("--jurisdiction", metavar="CODE", help="whose law holds, as DE or US-PA (ISO 3166)")
    group.add_argument("--cores", type=int, metavar="N", help="CPU cores for backends (default: as found)")
    group.add_argument("--memory", metavar="SIZE", help="such as 16G (default: as found)")
    group.add_argument("--gpu", metavar="MODEL", help="a GPU for backends (default: as found)")


def parse_jurisdiction(text: str | None, option: str) -> str | None:
    """Whose law holds."""
    return matching(text, option, _JURISDICTION, "an ISO 3166 code: DE, or US-PA")


def _price(value: float | None) -> float | None:
    return None if value is None else within(value, "--price", 0, HIGHEST_PRICE, " an hour")


def _hardware(arguments: Any) -> Hardware:
    cores, gpu = arguments.cores, arguments.gpu
    if cores is not None and not 1 <= cores <= 4096:
        raise SettingsError("--cores: must be 1 to 4096")
    if gpu is not None and not (1 <= len(gpu) <= 64 and gpu.isprintable()):
        raise SettingsError("--gpu: must have 1 to 64 printable characters")
    return Hardware(cores, _size(arguments.memory), gpu)


def _size(text: str | None) -> int | None:
    found = re.fullmatch(r"([0-9]{1,9})([KMGT])i?B?", text) if text is not None else None
    value = int(found[1]) << (10 * " KMGT".index(found[2])) if found else 0
    if text is not None and not 0 < value <= 1 << 50:
        raise SettingsError(f"--memory {text}: must be a size such as 16G, at most 1024T")
    return value or None


def _name(text: str | None) -> str | None:
    if text is not None and not 1 <= len(text) <= 128:
        raise SettingsError("--name: must have 1 to 128 characters")
    if text is not None and not text.isprintable():
        raise SettingsError("--name: must have printable characters only")
    return text


def _location(text: str | None) -> Location | None:
    try:
        place = parse_location_header(text)
    except InvalidRequest as error:
        raise SettingsError(f"--location {text}: must be latitude,longitude in degrees") from error
    return Location(*place) if place else None
