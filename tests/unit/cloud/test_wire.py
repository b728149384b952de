"""What a root hears: right values in, everything else refused by name."""

import json
import math
from contextlib import suppress
from uuid import UUID

import pytest
from chalicelib.deploying.deployments import Deployment
from chalicelib.errors import InvalidRequest
from chalicelib.fields import parse_json, parse_network, parse_url, parse_uuid
from chalicelib.fleet.geo import Location
from chalicelib.fleet.wire import Keepalive, Lease, PublishedKeepalive, Registration
from chalicelib.wire import DeviceContext, parse_header_location, parse_results, parse_wait
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.cloud_agent import deployment

UUID_TEXT = "5f1c9a1e-7f35-4a39-9d52-3f1f8f0e6a11"
KEY = bytes(range(32))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
registration = {"endpoint": "http://192.0.2.7:7070/api/v1/deploy", "incarnation": 1}
published = {"uuid": UUID_TEXT, "endpoint": "http://192.0.2.7:7070/api/v1/deploy", "resources": {}}


def test_a_full_registration():
    parsed = Registration.from_json(
        {
            **registration,
            "name": "pittsburgh-1",
            "interval_seconds": 7.5,
            "location": {"latitude": 40.443322, "longitude": -79, "accuracy_m": 10, "altitude": 3},
            "local_networks": ["192.0.2.7/24", "2001:db8::/32"],
            "resources": {"cpu_ratio": 0.123456, "gpu_ratio": 100, "fans": "two", "net_rx_rate": 12.6},
            "colour": {"unknown": True},
        }
    )
    assert parsed.location == Location(40.44332, -79, 10)
    assert [str(network) for network in parsed.local_networks] == ["192.0.2.0/24", "2001:db8::/32"]
    assert parsed.resources == {"cpu_ratio": 0.1235, "gpu_ratio": 100, "net_rx_rate": 13}
    assert parsed.interval_seconds == 7.5
    assert parsed.accepted_clients == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("endpoint", None),
        ("endpoint", 5),
        ("endpoint", "ftp://192.0.2.7/"),
        ("endpoint", "http://"),
        ("endpoint", "http://user@host/"),
        ("endpoint", "http://host/#part"),
        ("endpoint", "http://host/?q=1"),
        ("endpoint", "http://host/a b"),
        ("endpoint", "http://host:99999/"),
        ("endpoint", "http://[::1/"),
        ("endpoint", "http://" + "h" * 300),
        ("incarnation", -1),
        ("incarnation", 1.5),
        ("incarnation", True),
        ("incarnation", 2**53),
        ("incarnation", "1"),
        ("name", ""),
        ("name", "n" * 129),
        ("name", "half \ud800"),
        ("name", "red \x1b[31m"),
        ("name", "two\nlines"),
        ("name", "turned \u202e round"),
        ("name", None),
        ("interval_seconds", 0.5),
        ("interval_seconds", math.nan),
        ("interval_seconds", math.inf),
        ("interval_seconds", 10**400),
        ("location", None),
        ("location", {"latitude": 91, "longitude": 0}),
        ("location", {"latitude": 0, "longitude": -180.1}),
        ("location", {"latitude": 0}),
        ("location", {"latitude": True, "longitude": 0}),
        ("location", {"latitude": "0", "longitude": 0}),
        ("location", {"latitude": math.nan, "longitude": 0}),
        ("location", {"latitude": 0, "longitude": 0, "accuracy_m": -1}),
        ("location", [0, 0]),
        ("local_networks", "192.0.2.0/24"),
        ("local_networks", ["192.0.2.0"]),
        ("local_networks", ["192.0.2.0/33"]),
        ("local_networks", ["fe80::%eth0/64"]),
        ("local_networks", [7]),
        ("accepted_clients", ["0.0.0.0/0"] * 17),
        ("rejected_clients", {"0.0.0.0/0": 1}),
        ("resources", []),
        ("resources", {"cpu_ratio": 1.01}),
        ("resources", {"cpu_ratio": -0.1}),
        ("resources", {"mem_ratio": "0.5"}),
        ("resources", {"gpu_ratio": None}),
        ("resources", {"net_rx_rate": math.inf}),
    ],
)
def test_wrong_values_are_refused_by_name(field, value):
    with pytest.raises(InvalidRequest, match=field):
        Registration.from_json({**registration, field: value})


@given(json_values)
def test_no_json_whatever_breaks_a_reader(value):
    for read in (
        Registration.from_json,
        PublishedKeepalive.from_json,
        Keepalive.from_json,
        DeviceContext.from_json,
        Deployment.from_json,
    ):
        with suppress(InvalidRequest):
            read(value)


@given(st.sampled_from([*sorted(published), "locations", "name", "local_networks"]), json_values)
def test_no_field_whatever_breaks_the_published_keepalive(field, value):
    with suppress(InvalidRequest):
        PublishedKeepalive.from_json({**published, field: value})


def test_the_published_keepalive():
    parsed = PublishedKeepalive.from_json({**published, "locations": [[1, 2], [3, 4]], "name": ""})
    assert parsed.uuid == UUID(UUID_TEXT)
    assert parsed.registration.location == Location(1, 2)
    assert parsed.registration.name is None


@pytest.mark.parametrize("locations", [[[91, 0]], [[1]], [[1, 2, 3]], [1, 2], "1,2", [[0, 0]] * 5])
def test_wrong_places_are_refused(locations):
    with pytest.raises(InvalidRequest, match="locations"):
        PublishedKeepalive.from_json({**published, "locations": locations})


@pytest.mark.parametrize("sequence", [0, -1, 1.5, True, "1", None, 2**53, math.nan])
def test_wrong_sequences_are_refused(sequence):
    with pytest.raises(InvalidRequest, match="sequence"):
        Keepalive.from_json({"sequence": sequence})


def test_an_integer_may_be_written_as_a_float():
    assert Keepalive.from_json({"sequence": 3.0}).sequence == 3


@pytest.mark.parametrize(
    "context",
    [
        {"network": []},
        {"network": {"addresses": "192.0.2.1"}},
        {"network": {"addresses": ["1" * 46]}},
        {"network": {"addresses": ["my.phone"]}},
        {"network": {"link_type": 5}},
        {"network": {"metered": "no"}},
        {"hardware": {"cores": 0}},
        {"hardware": {"memory_bytes": -1}},
        {"hardware": {"gpu": 1}},
        {"hardware": {"battery_percent": 101}},
        {"location": {"latitude": -90.5, "longitude": 0}},
    ],
)
def test_wrong_device_contexts_are_refused(context):
    with pytest.raises(InvalidRequest):
        DeviceContext.from_json(context)


def test_a_lease_says_its_token_only_where_it_is_new():
    assert Lease(15, 50).to_json() == {"interval_seconds": 15, "lease_seconds": 50}
    assert Lease(15, 50, "t").to_json()["lease_token"] == "t"


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"NaN", b'{"a": Infinity}', b"-Infinity", b"\xff", b"[" * 100_000, b"1" * 5000, b'"\\ud8"'],
)
def test_what_is_no_json(raw):
    with pytest.raises(InvalidRequest, match="body"):
        parse_json(raw)


def test_a_number_too_large_is_refused_where_it_is_used():
    with pytest.raises(InvalidRequest, match="latitude"):
        DeviceContext.from_json(parse_json(b'{"location": {"latitude": 1e999, "longitude": 0}}'))


@pytest.mark.parametrize(
    "text", ["", "1", UUID_TEXT[:-1], "{" + UUID_TEXT + "}", "urn:uuid:" + UUID_TEXT, None, 5]
)
def test_what_is_no_uuid(text):
    with pytest.raises(InvalidRequest, match="field"):
        parse_uuid(text, "field")


def test_a_uuid_may_be_in_capitals():
    assert parse_uuid(UUID_TEXT.upper(), "x") == UUID(UUID_TEXT)


@given(st.text(max_size=60))
def test_texts_never_break_parsers(text):
    for parse in (
        lambda: parse_uuid(text, "x"),
        lambda: parse_network(text, "x"),
        lambda: parse_url(text, "x"),
        lambda: parse_header_location(text),
        lambda: parse_results(text),
        lambda: parse_wait(text, 5),
    ):
        with suppress(InvalidRequest):
            parse()


@pytest.mark.parametrize(
    ("text", "results"), [(None, 1), ("1", 1), ("3", 3), ("4", 3), ("9" * 5000, 3), ("02", 2)]
)
def test_results(text, results):
    assert parse_results(text) == results


@pytest.mark.parametrize("text", ["0", "00", "-1", "1.0", "", "x", "\u0661"])
def test_wrong_results(text):
    with pytest.raises(InvalidRequest, match="results"):
        parse_results(text)


def test_wait():
    assert parse_wait(None, 5) == 5
    assert parse_wait("0", 5) == 0
    assert parse_wait("2.5", 5) == 2.5
    for text in ("-1", "26", "nan", "inf", "x", ""):
        with pytest.raises(InvalidRequest, match="wait"):
            parse_wait(text, 5)


def test_the_location_header():
    assert parse_header_location(" 40.4433, -79.9436") == Location(40.4433, -79.9436)
    for text in ("", "1", "1,2,3", "91,0", "nan,0", "a,b", "1;2"):
        with pytest.raises(InvalidRequest, match="X-Location"):
            parse_header_location(text)


app_uuid = "00000000-0000-0000-0000-000000000000"


def test_a_deployment_is_passed_on_as_the_contract_has_it():
    said = deployment(
        app_uuid,
        KEY,
        StatusURL="http://100.71.0.1/api/v1/deployment",
        Services=[{"name": "hello", "address": "100.71.0.18", "ports": [{"protocol": "TCP", "port": 80}]}],
        Unknown="dropped",
        Cloudlet={"UUID": "somebody-else"},
    )
    parsed = Deployment.from_json(said).at(UUID(UUID_TEXT), "pittsburgh-1")
    expected = {**said, "Cloudlet": {"UUID": UUID_TEXT, "Name": "pittsburgh-1"}, "RediscoverAfter": 600}
    del expected["Unknown"]
    assert parsed.to_json() == expected
    assert json.loads(json.dumps(parsed.to_json())) == expected


@pytest.mark.parametrize(
    ("said", "status"), [("Ready", "Ready"), ("Deployed", "Ready"), ("Pulling", "Deploying")]
)
def test_statuses_of_other_agents(said, status):
    assert Deployment.from_json(deployment(app_uuid, KEY, Status=said)).status == status


tunnel = deployment(app_uuid, KEY)["TunnelConfig"]


@pytest.mark.parametrize(
    "changed",
    [
        {"Status": None},
        {"UUID": "x"},
        {"ApplicationKey": "x"},
        {"Created": "yesterday"},
        {"Created": "2026-11-24"},
        {"StatusURL": "file:///etc/passwd"},
        {"Services": {}},
        {"Services": [{"name": "a", "address": "nowhere", "ports": []}]},
        {"Services": [{"name": "a", "address": "100.71.0.1", "ports": [{"protocol": "ICMP", "port": 1}]}]},
        {"TunnelConfig": None},
        {"TunnelConfig": {**tunnel, "publicKey": "short"}},
        {"TunnelConfig": {**tunnel, "endpoint": "example.org:51820"}},
        {"TunnelConfig": {**tunnel, "endpoint": "192.0.2.7"}},
        {"TunnelConfig": {**tunnel, "endpoint": "192.0.2.7:0"}},
        {"TunnelConfig": {**tunnel, "endpoint": "192.0.2.7:99999"}},
        {"TunnelConfig": {**tunnel, "address": []}},
        {"TunnelConfig": {**tunnel, "address": ["x; rm -rf /"]}},
        {"TunnelConfig": {**tunnel, "dns": ["a\nPostUp = evil"]}},
        {"TunnelConfig": {**tunnel, "allowedIPs": ["any"]}},
        {"TunnelConfig": {name: value for name, value in tunnel.items() if name != "dns"}},
    ],
)
def test_deployments_that_do_not_fit_the_contract(changed):
    with pytest.raises(InvalidRequest):
        Deployment.from_json(deployment(app_uuid, KEY, **changed))
