from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_sdk.fields import WireError, parse_json, printable
from device_sdk.wire import Candidate, Deployment, DeviceContext, Health, Problem

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["UUID", "ApplicationKey", "Status", "TunnelConfig", "Services", "Cloudlet", "StatusURL", "Location"]
FIELDS += ["type", "title", "status", "location", "network", "hardware", "Endpoint", "Resources", "uuid"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"NaN", b"[Infinity]", b"-Infinity", b"\xff", b"[" * 100_000, b"<html>", b"9" * 10_000],
    ids=lambda content: content[:9],
)
def test_what_is_not_json_is_an_error_of_ours(content: bytes) -> None:
    with pytest.raises(WireError):
        parse_json(content)


@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6) | JSON)
def test_readers_raise_nothing_but_wire_errors(value: object) -> None:
    for reader in (Deployment, Candidate, DeviceContext, Health, Problem):
        with suppress(WireError):
            reader.from_json(value)


@given(st.text(max_size=2000))
def test_what_people_see_cannot_drive_a_terminal(text: str) -> None:
    line = printable(text)
    assert len(line) <= 500
    assert line.isprintable()


def test_an_error_names_the_field() -> None:
    with pytest.raises(WireError, match=r"^\[0\]\.TunnelConfig: is missing$"):
        Deployment.from_json(
            {
                "UUID": "00000000-0000-0000-0000-000000000000",
                "ApplicationKey": "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=",
                "Status": "Ready",
            },
            "[0]",
        )


@pytest.mark.parametrize(
    "context",
    [
        {"location": {"latitude": 91, "longitude": 0}},
        {"location": {"latitude": float("nan"), "longitude": 0}},
        {"location": {"latitude": True, "longitude": 0}},
        {"location": {"latitude": 1}},
        {"location": {"latitude": 1, "longitude": -181}},
        {"location": {"latitude": 1, "longitude": 1, "accuracy_m": -1}},
        {"location": [1, 2]},
        {"network": {"addresses": "192.0.2.1"}},
        {"network": {"addresses": ["wlan0"]}},
        {"network": {"link_type": "x" * 33}},
        {"network": {"metered": 1}},
        {"hardware": {"cores": 0}},
        {"hardware": {"cores": 1.5}},
        {"hardware": {"cores": True}},
        {"hardware": {"battery_percent": 101}},
        {"hardware": {"gpu": "x" * 129}},
    ],
)
def test_a_device_says_nothing_wrong_of_itself(context: object) -> None:
    with pytest.raises(WireError):
        DeviceContext.from_json(context)
