"""Cloudlets as CAMARA sees them."""

import re
from dataclasses import replace
from uuid import UUID

import pytest
from chalicelib.camara.problems import CamaraProblem, camara_answer
from chalicelib.camara.zones import endpoint, standard_name, zone
from chalicelib.errors import InvalidRequest, NoCloudlet, NotFound, RootError, TooMany, Unavailable
from chalicelib.fleet.cloudlets import Cloudlet, RowKey
from hypothesis import given
from hypothesis import strategies as st

STANDARD = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,53}[A-Za-z0-9])?")
CLOUDLET = Cloudlet(
    key=RowKey("822a8ffffffffff", "x"),
    uuid=UUID("5f1c9a1e-7f35-4a39-9d52-3f1f8f0e6a11"),
    endpoint="http://192.0.2.7:7070/api/v1/deploy",
    incarnation=1,
    sequence=1,
    last_keepalive=0,
    expires_at=1,
    name="Pittsburgh #1",
)


def test_a_zone():
    assert zone(CLOUDLET, "acme") == {
        "edgeCloudZoneId": str(CLOUDLET.uuid),
        "edgeCloudZoneName": "Pittsburgh-1",
        "edgeCloudProvider": "acme",
    }
    own = replace(CLOUDLET, name=None, key=RowKey("vendor:822a8ffffffffff", "x"))
    assert zone(own, "acme")["edgeCloudProvider"] == "vendor"
    assert zone(own, "acme")["edgeCloudZoneName"] == "zone-5f1c9a1e"


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("http://192.0.2.7:7070/api/v1/deploy", {"ipv4Addresses": ["192.0.2.7"], "port": 7070}),
        ("https://192.0.2.7/api/v1/deploy", {"ipv4Addresses": ["192.0.2.7"], "port": 443}),
        ("http://[2001:db8::7]/x", {"ipv6Addresses": ["2001:db8::7"], "port": 80}),
        ("https://edge.example.org:8443/x", {"fqdn": "edge.example.org", "port": 8443}),
    ],
)
def test_an_endpoint(url, where):
    found = endpoint(replace(CLOUDLET, endpoint=url, jurisdiction="US-PA"), "acme")
    assert {name: found[name] for name in where} == where
    assert found["edgeCloudZone"]["edgeCloudRegion"] == "US-PA"
    assert url in found["applicationEndpointDescription"]


@given(st.text(max_size=200))
def test_names_have_the_standards_form(text):
    assert STANDARD.fullmatch(standard_name(text, "zone-1"))


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidRequest("x"), 400, "INVALID_ARGUMENT"),
        (NotFound("x"), 404, "NOT_FOUND"),
        (NoCloudlet("x"), 422, "SERVICE_NOT_APPLICABLE"),
        (TooMany("x", 7), 429, "QUOTA_EXCEEDED"),
        (Unavailable("x"), 503, "UNAVAILABLE"),
        (CamaraProblem(422, "MISSING_IDENTIFIER", "x"), 422, "MISSING_IDENTIFIER"),
        (RootError("x"), 500, "INTERNAL"),
        (ZeroDivisionError("secret"), 500, "INTERNAL"),
    ],
)
def test_errors_in_the_standards_form(error, status, code):
    answer = camara_answer(error, {"x-correlator": "c"})
    assert answer.status_code == status
    assert answer.headers["x-correlator"] == "c"
    assert (f'"status": {status}' in answer.body, f'"code": "{code}"' in answer.body) == (True, True)
    assert "secret" not in answer.body
    assert ("Retry-After" in answer.headers) == (status in {429, 503})
