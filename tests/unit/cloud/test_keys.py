"""A device's key in every spelling that clients use."""

import base64
import contextlib
from urllib.parse import quote

import pytest
from chalicelib.errors import InvalidRequest
from chalicelib.keys import json_form, parse_application_key, path_form
from hypothesis import example, given
from hypothesis import strategies as st

keys = st.binary(min_size=32, max_size=32)
SLASHES = b"\xff" * 32  # standard base64 of this is all slashes


@given(keys)
@example(SLASHES)
@example(b"\xfb\xef\xbe" * 10 + b"\xfb\xef")  # all pluses
@example(b"\0" * 32)
def test_every_spelling_is_the_same_key(key):
    standard, urlsafe = base64.b64encode(key).decode(), base64.urlsafe_b64encode(key).decode()
    for spelling in (
        standard,
        standard.rstrip("="),
        urlsafe,
        urlsafe.rstrip("="),
        quote(standard, safe=""),
        quote(standard),
        key.hex(),
        key.hex().upper(),
        standard + "/",
        urlsafe + "/",
    ):
        assert parse_application_key(spelling) == key


@given(keys)
def test_forms(key):
    assert len(json_form(key)) == 44
    assert len(path_form(key)) == 43
    assert parse_application_key(json_form(key)) == parse_application_key(path_form(key)) == key
    assert "/" not in path_form(key)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "A" * 42,
        "A" * 44,
        "A" * 42 + "B",  # bits that no 32 bytes have
        "A" * 43 + "==",
        "A" * 43 + "//",
        "A" * 40 + " " + "AA",
        "é" * 43,
        "g" * 64,
        "0" * 63,
        "0" * 65,
        "%zz",
        "%2F" * 43,
        "A" * 43 + "\n",
        "0" * 64 + "\n",
    ],
)
def test_what_is_no_key(text):
    with pytest.raises(InvalidRequest, match="application_key"):
        parse_application_key(text)


@given(st.text(max_size=70))
def test_no_text_breaks_it(text):
    with contextlib.suppress(InvalidRequest):
        assert len(parse_application_key(text)) == 32
