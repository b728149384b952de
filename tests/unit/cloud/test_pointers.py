"""Signposts, against brute force over the networks that they are for."""

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from uuid import UUID

import pytest
from chalicelib.fleet import pointers
from chalicelib.fleet.cloudlets import Cloudlet, row_key
from chalicelib.fleet.pointers import MOST_POINTERS, Pointer
from hypothesis import given
from hypothesis import strategies as st


def cloudlet(*networks, realm="") -> Cloudlet:
    uuid = UUID(int=7)
    return Cloudlet(
        key=row_key(uuid, None, realm),
        uuid=uuid,
        endpoint="https://c.example.org",
        incarnation=1,
        sequence=0,
        last_keepalive=0,
        expires_at=0,
        local_networks=tuple(map(ip_network, networks)),
    )


def is_led_to(row: Cloudlet, address, realm="") -> bool:
    where = pointers.lookup(address, realm)
    for key in pointers.pointer_keys(row, private=True):
        inside = any(low <= key.place <= high for low, high in (where.narrow, where.wide))
        if key.cell == where.partition and inside and pointers.leads(Pointer(key.place, row.key), address):
            return True
    return False


near = st.integers(0, 2**12)
v4 = st.builds(
    lambda n, bits: IPv4Network((0xC0000000 + (n << 8), bits), strict=False), near, st.integers(12, 32)
)
v6 = st.builds(
    lambda n, bits: IPv6Network(((0x20010DB8 << 96) + (n << 76), bits), strict=False),
    near,
    st.integers(28, 128),
)


@given(v4 | v6, st.integers(0, 2**40), st.integers(-3, 3))
def test_an_address_is_led_to_exactly_the_networks_that_it_is_in(network, inside, beside):
    size = network.num_addresses
    edges = int(network.network_address), int(network.broadcast_address)
    for number in (edges[0] + inside % size, edges[0] + beside, edges[1] + beside):
        address = (ip_address if network.version == 4 else lambda n: ip_address(n.to_bytes(16, "big")))(
            number
        )
        assert is_led_to(cloudlet(network), address) == (address in network)


def test_private_and_shared_networks_are_no_places():
    row = cloudlet("192.168.1.0/24", "10.0.0.0/16", "100.64.0.0/16", "fd00::/48", "fe80::/64", "8.8.8.0/24")
    assert len(pointers.pointer_keys(row, private=False)) == 1
    assert len(pointers.pointer_keys(row, private=True)) == 6


def test_what_is_too_wide_to_be_ones_own_is_left_out_and_the_rest_bounded():
    assert pointers.pointer_keys(cloudlet("0.0.0.0/0", "8.0.0.0/8", "2000::/3"), private=True) == []
    assert len(pointers.pointer_keys(cloudlet("8.0.0.0/12"), private=True)) == 16
    many = cloudlet(*(f"8.8.{number}.0/24" for number in range(40)), "9.0.0.0/12")
    assert len(pointers.pointer_keys(many, private=False)) == MOST_POINTERS


@pytest.mark.parametrize("realm", ["", "acme"])
def test_a_realm_has_its_own(realm):
    row = cloudlet("8.8.8.0/24", realm="acme")
    assert is_led_to(row, ip_address("8.8.8.8"), realm) == (realm == "acme")
