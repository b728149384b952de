"""Cloudlets as DynamoDB items, in the low-level JSON of its API: `{"name": {"type": value}}`.

Called by `table.py`. The attribute names are those of its model; they are short because each of a million
rows carries them.
"""

from base64 import b64decode
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from uuid import UUID

from chalicelib.fields import Network
from chalicelib.fleet.cloudlets import (
    STALE_SECONDS,
    Cloudlet,
    Hardware,
    RowKey,
    Trust,
    pack_networks,
    unpack_networks,
)
from chalicelib.fleet.geo import Location

Item = Mapping[str, Mapping[str, Any]]
_UNKNOWN = Hardware()

RESOURCES = {
    "c": "cpu_ratio",
    "m": "mem_ratio",
    "g": "gpu_ratio",
    "r": "net_rx_rate",
    "t": "net_tx_rate",
}


def to_item(cloudlet: Cloudlet) -> dict[str, dict[str, Any]]:
    """The attributes of a row, its key left out, as DynamoDB's JSON has them."""
    numbers: dict[str, float] = {
        "expires_at": cloudlet.expires_at + STALE_SECONDS,
        "i": cloudlet.incarnation,
        "s": cloudlet.sequence,
        "k": cloudlet.last_keepalive,
        **{
            short: cloudlet.resources[name] for short, name in RESOURCES.items() if name in cloudlet.resources
        },
    }
    if cloudlet.location is not None:
        numbers |= {"y": cloudlet.location.latitude, "x": cloudlet.location.longitude}
    if cloudlet.price is not None:
        numbers["q"] = cloudlet.price
    for short, value in (
        ("p", cloudlet.published),
        ("w", cloudlet.trust),
        ("hc", cloudlet.hardware.cores),
        ("hm", cloudlet.hardware.memory_bytes),
        ("z", cloudlet.draining),
        ("u", not cloudlet.callable),
    ):
        if value:
            numbers[short] = value
    item: dict[str, dict[str, Any]] = {name: {"N": _number(value)} for name, value in numbers.items()}
    item["uuid"] = {"S": str(cloudlet.uuid)}
    for short, text in (
        ("e", cloudlet.endpoint or None),
        ("n", cloudlet.name),
        ("j", cloudlet.jurisdiction),
        ("hg", cloudlet.hardware.gpu),
    ):
        if text is not None:
            item[short] = {"S": text}
    if cloudlet.cached:
        item["b"] = {"B": pack_apps(cloudlet.cached)}
    for short, networks in (
        ("l", cloudlet.local_networks),
        ("a", cloudlet.accepted_clients),
        ("d", cloudlet.rejected_clients),
    ):
        if networks:
            item[short] = {"B": pack_networks(networks)}
    return item


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def from_item(item: Item) -> Cloudlet:
    """The row that an item holds; binary values may be base64 text, as in DynamoDB's answers."""
    return Cloudlet(
        key=RowKey(item["cell"]["S"], item["place"]["S"]),
        uuid=UUID(item["uuid"]["S"]),
        endpoint=item["e"]["S"] if "e" in item else "",
        incarnation=int(item["i"]["N"]),
        sequence=int(item["s"]["N"]),
        last_keepalive=int(item["k"]["N"]),
        expires_at=int(item["expires_at"]["N"]) - STALE_SECONDS,
        name=item["n"]["S"] if "n" in item else None,
        location=Location(float(item["y"]["N"]), float(item["x"]["N"])) if "y" in item else None,
        local_networks=_networks(item["l"]["B"]) if "l" in item else (),
        accepted_clients=_networks(item["a"]["B"]) if "a" in item else (),
        rejected_clients=_networks(item["d"]["B"]) if "d" in item else (),
        resources={name: float(item[short]["N"]) for short, name in RESOURCES.items() if short in item},
        published="p" in item,
        trust=Trust(int(item["w"]["N"])) if "w" in item else Trust.UNSIGNED,
        price=float(item["q"]["N"]) if "q" in item else None,
        jurisdiction=item["j"]["S"] if "j" in item else None,
        hardware=_hardware(item) if {"hc", "hm", "hg"} & item.keys() else _UNKNOWN,
        cached=_apps(item["b"]["B"]) if "b" in item else (),
        draining="z" in item,
        callable="u" not in item,
    )


def _hardware(item: Item) -> Hardware:
    return Hardware(
        cores=int(item["hc"]["N"]) if "hc" in item else None,
        memory_bytes=int(item["hm"]["N"]) if "hm" in item else None,
        gpu=item["hg"]["S"] if "hg" in item else None,
    )


@lru_cache(4096)
def _networks(packed: bytes | str) -> tuple[Network, ...]:
    return unpack_networks(_bytes(packed))


def _bytes(packed: bytes | str) -> bytes:
    return b64decode(packed) if isinstance(packed, str) else packed


def pack_apps(apps: tuple[UUID, ...]) -> bytes:
    """Apps' UUIDs, 16 bytes each."""
    return b"".join(app.bytes for app in apps)


@lru_cache(1024)
def _apps(value: bytes | str) -> tuple[UUID, ...]:
    packed = _bytes(value)
    return tuple(UUID(bytes=packed[at : at + 16]) for at in range(0, len(packed), 16))
