"""Every value from the wire: what is taken, and what is refused with the field's name."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import fields
from edge_agent.errors import InvalidRequest

KEY = bytes.fromhex("fb" * 31 + "f0")


@given(st.binary(min_size=32, max_size=32))
def test_a_key_is_taken_in_every_encoding(key: bytes) -> None:
    standard = base64.b64encode(key).decode()
    urlsafe = base64.urlsafe_b64encode(key).decode()
    for text in (standard, standard.rstrip("="), urlsafe, urlsafe.rstrip("="), key.hex(), key.hex().upper()):
        assert fields.parse_application_key(text) == key
    assert fields.format_key(key) == standard


@pytest.mark.parametrize(
    "text",
    [
        "",
        "short",
        "A" * 42,
        "A" * 44,
        "A" * 43 + "==",
        "A" * 42 + "B=",  # 33 bytes' worth of bits: not the form that 32 bytes have
        "é" + "A" * 42,
        "A" * 42 + " ",
        "A" * 42 + "\n",
        "0" * 63,
        "0" * 65,
        "g" * 64,
        "A" * 100_000,
    ],
)
def test_other_texts_are_no_keys(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^application_key: "):
        fields.parse_application_key(text)


@given(st.text())
def test_any_text_is_a_key_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidRequest):
        assert len(fields.parse_application_key(text)) == 32


@pytest.mark.parametrize(
    "text", ["", "x", "0" * 32, "{00000000-0000-0000-0000-000000000000}", "urn:uuid:0", "0" * 36]
)
def test_other_texts_are_no_uuids(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^app_uuid: "):
        fields.parse_uuid(text, "app_uuid")


@pytest.mark.parametrize(("text", "count"), [(None, 1), ("1", 1), ("2", 2), ("3", 3), ("4", 3), ("999", 3)])
def test_results(text: str | None, count: int) -> None:
    assert fields.parse_results(text) == count


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "1.5", "NaN", "two", "\N{ARABIC-INDIC DIGIT ONE}", "1" * 30, " 1"]
)
def test_results_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^results: "):
        fields.parse_results(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [(None, 5.0), ("0", 0.0), ("2.5", 2.5), ("25", 25.0), ("1e1", 10.0)]
)
def test_wait(text: str | None, seconds: float) -> None:
    assert fields.parse_wait(text, 5.0) == seconds


@pytest.mark.parametrize("text", ["", "-1", "25.1", "nan", "inf", "1_0", "0x1", "soon", "1e999"])
def test_wait_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^wait: "):
        fields.parse_wait(text, 5.0)


@pytest.mark.parametrize(
    ("text", "place"), [("40.44,-79.94", (40.44, -79.94)), (" -90 , 180 ", (-90.0, 180.0))]
)
def test_location_header(text: str, place: tuple[float, float]) -> None:
    assert fields.parse_location_header(text) == place
    assert fields.parse_location_header(None) is None


@pytest.mark.parametrize(
    "text", ["", "1", "1,2,3", "91,0", "0,181", "nan,0", "inf,0", "a,b", "1;2", "1," + "0" * 80]
)
def test_location_header_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^X-Location: "):
        fields.parse_location_header(text)


def test_client_ip() -> None:
    assert fields.parse_client_ip("192.0.2.1") == "192.0.2.1"
    assert fields.parse_client_ip("2001:db8::1") == "2001:db8::1"
    with pytest.raises(InvalidRequest, match=r"^X-ClientIP: "):
        fields.parse_client_ip("192.0.2.1, 192.0.2.2")


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"1", b'"x"', b"null", b'{"a": NaN}', b'{"a": -Infinity}', b"\xff", b"[" * 100_000]
)
def test_bodies_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"^body: "):
        fields.parse_body(body)


def test_an_empty_body_is_an_empty_object() -> None:
    assert fields.parse_body(b"") == fields.parse_body(b" \r\n") == fields.parse_body(b"{}") == {}


@pytest.mark.parametrize("value", [True, "1", None, [], 91, -91, float("nan"), float("inf")])
def test_numbers_refused(value: object) -> None:
    with pytest.raises(InvalidRequest, match=r"^latitude: "):
        fields.number({"latitude": value}, "latitude", -90, 90)


def test_integers() -> None:
    assert fields.integer({"cores": 4.0}, "cores", 1, 8) == 4
    with pytest.raises(InvalidRequest, match=r"^cores: "):
        fields.integer({"cores": 4.5}, "cores", 1, 8)
