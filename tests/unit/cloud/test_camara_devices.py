"""Which device a CAMARA request is about, and what is wrong with those that name none."""

from ipaddress import ip_address
from uuid import UUID

import pytest
from chalicelib.camara.devices import EndpointRequest, header_device, zone_device
from chalicelib.camara.problems import CamaraProblem
from chalicelib.errors import InvalidRequest

APP = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
V4 = {"publicAddress": "84.125.93.10", "publicPort": 59765}
V6 = "2001:db8:85a3:8d3:1319:8a2e:370:7344"
PEER = ip_address("198.51.100.7")


@pytest.mark.parametrize(
    ("device", "address", "given"),
    [
        ({"ipv4Address": V4}, "84.125.93.10", ("ipv4Address",)),
        (
            {"ipv4Address": {"publicAddress": "84.125.93.10", "privateAddress": "10.0.0.1"}},
            "84.125.93.10",
            None,
        ),
        ({"ipv6Address": V6}, V6, ("ipv6Address",)),
        ({"phoneNumber": "+123456789", "ipv6Address": V6}, V6, ("ipv6Address", "phoneNumber")),
        ({"ipv4Address": V4, "ipv6Address": V6}, "84.125.93.10", ("ipv4Address", "ipv6Address")),
    ],
)
def test_devices_are_known_by_their_addresses(device, address, given):
    found = zone_device({"device": device})
    assert found.address == ip_address(address)
    assert given is None or found.given == given


@pytest.mark.parametrize(
    ("device", "json"),
    [
        ({"ipv4Address": V4}, {"ipv4Address": {"publicAddress": "84.125.93.10"}}),
        ({"ipv6Address": V6}, {"ipv6Address": V6}),
    ],
)
def test_the_identifier_that_was_used(device, json):
    assert zone_device({"device": device}).to_json() == json


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "MISSING_IDENTIFIER"),
        ({"device": {"phoneNumber": "+123456789"}}, 422, "UNSUPPORTED_IDENTIFIER"),
        ({"device": {"networkAccessIdentifier": "1@example.org"}}, 422, "UNSUPPORTED_IDENTIFIER"),
    ],
)
def test_devices_that_cannot_be_identified(body, status, code):
    with pytest.raises(CamaraProblem) as caught:
        zone_device(body)
    assert (caught.value.status, caught.value.code) == (status, code)


@pytest.mark.parametrize(
    "body",
    [
        [],
        None,
        {"device": None},
        {"device": {}},
        {"device": [], "x": 1},
        {"device": {"ipv4Address": V4}, "x": 1},
        {"device": {"ipv4Address": V4, "x": 1}},
        {"device": {"ipv4Address": {**V4, "x": 1}}},
        {"device": {"ipv4Address": "84.125.93.10"}},
        {"device": {"ipv4Address": {"publicAddress": "84.125.93.10"}}},
        {"device": {"ipv4Address": {"publicPort": 1}}},
        {"device": {"ipv4Address": {**V4, "publicPort": 65536}}},
        {"device": {"ipv4Address": {**V4, "publicPort": "1"}}},
        {"device": {"ipv4Address": {"publicAddress": "84.125.93", "publicPort": 1}}},
        {"device": {"ipv4Address": {"publicAddress": V6[:15], "publicPort": 1}}},
        {"device": {"ipv6Address": "84.125.93.10"}},
        {"device": {"ipv6Address": 5}},
        {"device": {"phoneNumber": "123"}},
        {"device": {"networkAccessIdentifier": ""}},
    ],
)
def test_bodies_are_strict(body):
    with pytest.raises(InvalidRequest):
        zone_device(body)


def test_an_app_by_either_name():
    for name in ("appId", "applicationEndpointsId"):
        asked = EndpointRequest.from_json({name: APP, "device": {"ipv6Address": V6}})
        assert (asked.app_uuid, asked.name) == (UUID(APP), name)
    for body in ({"device": {"ipv6Address": V6}}, {"appId": "x", "device": {"ipv6Address": V6}}):
        with pytest.raises(InvalidRequest):
            EndpointRequest.from_json(body)


def test_version_1_goes_by_headers_or_the_caller():
    assert header_device({}, PEER).address == PEER
    assert header_device({"phone-number": "+441234567890"}, PEER).address == PEER
    both = header_device({"ipv4-address": "84.125.93.10", "public-port": "123", "ipv6-address": V6}, PEER)
    assert (str(both.address), len(both.given)) == ("84.125.93.10", 2)
    for wrong in (
        {"ipv4-address": V6},
        {"ipv6-address": "x"},
        {"public-port": "65536"},
        {"public-port": "-1"},
        {"phone-number": "call me"},
        {"network-access-identifier": "x" * 256},
    ):
        with pytest.raises(InvalidRequest):
            header_device(wrong, PEER)
