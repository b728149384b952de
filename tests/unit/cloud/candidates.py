"""Clients, apps and cloudlets for tests of choosing."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from uuid import UUID

from chalicelib.accounts.apps import App
from chalicelib.accounts.recipes import Recipe
from chalicelib.choosing.matching import ClientInfo
from chalicelib.fleet.cloudlets import Cloudlet, RowKey
from chalicelib.fleet.geo import Location

RECIPE = Recipe(UUID(int=0), "helloworld", "0.1.0")
APP = App(UUID(int=0), RECIPE)
HERE = Location(40.44, -79.99)


def client(address="198.51.100.7", location: Location | None = HERE, **more) -> ClientInfo:
    return ClientInfo(b"\0" * 32, ip_address(address), location, **more)


def app(*matchers: str, **more) -> App:
    return replace(APP, matchers=matchers, **more)


def cloudlet(
    number: int, location: Location | None = HERE, local=(), accepted=(), rejected=(), use=None, **more
) -> Cloudlet:
    """`use`: its resources."""
    row = Cloudlet(
        key=RowKey("cell", f"place#{number}"),
        uuid=UUID(int=number),
        endpoint="http://192.0.2.1/d",
        incarnation=1,
        sequence=0,
        last_keepalive=0,
        expires_at=1,
        location=location,
        local_networks=tuple(map(ip_network, local)),
        accepted_clients=tuple(map(ip_network, accepted)),
        rejected_clients=tuple(map(ip_network, rejected)),
        resources=use or {},
    )
    return replace(row, **more)


def numbers(cloudlets) -> list[int]:
    """The cloudlets' numbers."""
    return [each.uuid.int for each in cloudlets]
