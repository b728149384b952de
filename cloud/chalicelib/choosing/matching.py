"""Who asks, which cloudlets may be candidates, and what a matcher is.

Called by `chooser.py`, the matchers and the views. A matcher has the published Sinfonia's shape:
`fn(client_info, recipe, cloudlets)`, an iterator over one shared list. What it yields is a candidate, and it
removes it from the list; what it removes without yielding is vetoed; what it leaves is for the next matcher.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from chalicelib.accounts.apps import App
from chalicelib.accounts.recipes import Recipe
from chalicelib.choosing.reach import Reach
from chalicelib.choosing.requirements import Requirements
from chalicelib.fields import Address, Network
from chalicelib.fleet.cloudlets import Cloudlet, Trust
from chalicelib.fleet.geo import Location, distance_km


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """Who asks. `ipaddress` is what the root observed, never what the device claims.

    `requirements` are the device's own, besides those of the app. `reach` is what was measured from its
    network. `values` are what its call sets of the chart's. It leaves
    the cloudlets to `avoid`, and releases them itself; where it names a `cloudlet`, no other will do.
    """

    publickey: bytes
    ipaddress: Address
    location: Location | None = None
    requirements: Requirements = field(default_factory=Requirements)
    reach: Reach = field(default_factory=Reach)
    values: Mapping[str, Any] = field(default_factory=dict, hash=False)
    avoid: frozenset[UUID] = frozenset()
    cloudlet: UUID | None = None


Matcher = Callable[[ClientInfo, Recipe, list[Cloudlet]], Iterator[Cloudlet]]

# What one site or an access network's pool may have: 65,536 IPv4 addresses; in IPv6 what a registry gives a
# provider (RIPE-738, 5.1: /32).
_WIDEST_PREFIX = {4: 16, 6: 32}


def accepts(client: ClientInfo, cloudlet: Cloudlet) -> bool:
    """Whether a cloudlet lets this client in: in any accepted network (none: all), in no rejected one."""
    if _within(client.ipaddress, cloudlet.rejected_clients):
        return False
    return not cloudlet.accepted_clients or _within(client.ipaddress, cloudlet.accepted_clients)


def eligible(client: ClientInfo, app: App, cloudlet: Cloudlet) -> bool:
    """Whether a cloudlet may be offered: it takes guests, takes this client, and has what is demanded."""
    return (
        not cloudlet.draining
        and accepts(client, cloudlet)
        and app.requirements.admits(cloudlet, app.uuid)
        and client.requirements.admits(cloudlet, app.uuid)
    )


def is_local(client: ClientInfo, cloudlet: Cloudlet) -> bool:
    """Whether the client is on one of the cloudlet's own networks.

    Being local makes a cloudlet the first choice, so strangers are not believed that half the internet is
    theirs.
    """
    return any(
        client.ipaddress in network
        and (
            cloudlet.trust >= Trust.INVITED
            or network.is_private
            or network.prefixlen >= _WIDEST_PREFIX[network.version]
        )
        for network in cloudlet.local_networks
    )


def client_distance_km(client: ClientInfo, cloudlet: Cloudlet) -> float | None:
    """None where either place is unknown."""
    if client.location is None or cloudlet.location is None:
        return None
    return distance_km(client.location, cloudlet.location)


def _within(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address in network for network in networks)
