"""The links that have neighbours, as the kernel tells."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from device_sdk.nearby.links import MAX_LINKS, Link, name_of, number_of, own_links

ETHERNET, LOOPBACK, TUNNEL, NO_CARRIER, DOWN = 0x1043, 0x49, 0x10D1, 0x1003, 0x1002
IF_INET6 = """\
00000000000000000000000000000001 01 80 10 80       lo
fe800000000000000000000000000007 02 40 20 80     eth0
20010db8000000000000000000000007 02 40 00 80     eth0
fe800000000000000000000000000008 03 40 20 c0    wlan0
fe800000000000000000000000000009 04 40 20 80     tun0
"""


def links(tmp_path: Path, flags: dict[str, int], addresses: dict[str, str]) -> tuple[Link, ...]:
    file = tmp_path / "if_inet6"
    file.write_text(IF_INET6)

    def ask(name: str, what: int) -> bytes | None:
        if what == 0x8913:
            return struct.pack("H22x", flags[name]) if name in flags else None
        packed = IPv4Address(addresses[name]).packed if name in addresses else None
        return struct.pack("HH4s16x", socket.AF_INET, 0, packed) if packed else None

    return own_links(lambda: list(enumerate(flags, 1)), ask, file)


def test_loopback_tunnels_and_unplugged_links_have_no_neighbours(tmp_path: Path) -> None:
    flags = {"lo": LOOPBACK, "eth0": ETHERNET, "wlan0": ETHERNET, "tun0": TUNNEL, "a": NO_CARRIER, "b": DOWN}
    addresses = {name: f"192.0.2.{number}" for number, name in enumerate(flags)}
    assert links(tmp_path, flags, addresses) == (
        Link("eth0", "192.0.2.1", "fe80::7%eth0"),
        Link("wlan0", "192.0.2.2", None),  # its IPv6 address is tried still: somebody may have it
    )


def test_a_link_needs_an_address_of_either_family(tmp_path: Path) -> None:
    assert links(tmp_path, {"eth0": ETHERNET, "wlan0": ETHERNET}, {}) == (Link("eth0", None, "fe80::7%eth0"),)
    many = {f"eth{number}": ETHERNET for number in range(100)}
    assert len(links(tmp_path, many, dict.fromkeys(many, "192.0.2.1"))) == MAX_LINKS


def test_the_kernels_own_word() -> None:
    assert "lo" not in [link.name for link in own_links()]
    assert own_links(lambda: [(1, "nowhere")], addresses6=Path("/nonexistent")) == ()


def test_names_and_numbers() -> None:
    assert name_of(str(number_of("lo"))) == "lo"
    assert number_of("77777") == 77777
    assert name_of("77777") == "77777"
    for wrong in ("nowhere", "0", "-1", "9" * 30, ""):
        with pytest.raises(OSError, match=r"."):
            number_of(wrong)
