"""Who may be offered to whom."""

from dataclasses import replace

import pytest
from chalicelib.choosing.matching import accepts, client_distance_km, eligible, is_local
from chalicelib.choosing.requirements import Requirements
from chalicelib.fleet.cloudlets import Hardware, Trust

from tests.unit.cloud.candidates import APP, client, cloudlet


@pytest.mark.parametrize(
    ("address", "accepted", "rejected", "expected"),
    [
        ("198.51.100.7", [], [], True),
        ("2001:db8::7", [], [], True),
        ("198.51.100.7", ["203.0.113.0/24"], [], False),
        ("198.51.100.7", ["203.0.113.0/24", "198.51.100.0/24"], [], True),
        ("2001:db8::7", ["0.0.0.0/0"], [], False),
        ("2001:db8::7", ["0.0.0.0/0", "::/0"], [], True),
        ("198.51.100.7", ["0.0.0.0/0"], ["198.51.100.7/32"], False),
        ("198.51.100.7", [], ["198.51.100.0/24"], False),
        ("2001:db8::7", [], ["198.51.100.0/24"], True),
    ],
)
def test_who_is_let_in(address, accepted, rejected, expected):
    row = cloudlet(1, accepted=accepted, rejected=rejected)
    assert accepts(client(address), row) is expected
    assert eligible(client(address), APP, row) is expected


def test_a_draining_cloudlet_is_offered_to_nobody():
    assert not eligible(client(), APP, cloudlet(1, draining=True))


def test_what_the_app_demands_and_what_the_device_demands_both_hold():
    gpu, cores = Requirements(gpu=True), Requirements(cores=4)
    demanding = replace(APP, requirements=gpu)
    with_gpu = cloudlet(1, hardware=Hardware(gpu="A2"))
    with_both = cloudlet(2, hardware=Hardware(gpu="A2", cores=4))
    assert eligible(client(), demanding, with_gpu)
    assert not eligible(client(requirements=cores), demanding, with_gpu)
    assert not eligible(client(requirements=gpu), APP, cloudlet(3, hardware=Hardware(cores=4)))
    assert eligible(client(requirements=cores), demanding, with_both)


def test_local_is_who_is_on_one_of_its_own_networks():
    row = cloudlet(1, local=["198.51.100.0/24", "2001:db8::/48"])
    assert is_local(client("198.51.100.9"), row)
    assert is_local(client("2001:db8::9"), row)
    assert not is_local(client("192.0.2.9"), row)


@pytest.mark.parametrize(
    ("network", "address", "believed"),
    [
        ("0.0.0.0/0", "8.8.8.8", False),
        ("8.0.0.0/8", "8.8.8.8", False),
        ("::/0", "2a00::1", False),
        ("2a00::/16", "2a00::1", False),
        ("8.8.0.0/16", "8.8.8.8", True),
        ("2a00::/32", "2a00::1", True),
        ("10.0.0.0/8", "10.1.2.3", True),
    ],
)
def test_strangers_are_not_believed_that_half_the_internet_is_theirs(network, address, believed):
    row = cloudlet(1, local=(network,))
    assert is_local(client(address), row) == believed
    assert is_local(client(address), replace(row, trust=Trust.SIGNED)) == believed
    assert is_local(client(address), replace(row, trust=Trust.INVITED))


def test_no_distance_where_a_place_is_unknown():
    assert client_distance_km(client(), cloudlet(1)) == 0
    assert client_distance_km(client(location=None), cloudlet(1)) is None
    assert client_distance_km(client(), cloudlet(1, None)) is None
