"""What calls set of a chart's values, at the root: bounded, merged, sent along with its signature."""

import json
import math
from ipaddress import ip_address
from uuid import UUID

import pytest
from chalicelib.call_values import canonical, check_values, merged
from chalicelib.choosing.matching import ClientInfo
from chalicelib.deploying.agents import body_of
from chalicelib.errors import InvalidRequest
from chalicelib.fleet.root_keys import Call, RootKeys
from chalicelib.fleet.signatures import decode, signing_input

KEY = bytes(range(32))


def test_later_values_win_and_objects_are_merged():
    below = {"a": 1, "b": {"c": 1, "d": 2}, "e": {"f": 1}}
    assert merged(below, {"b": {"c": 3}, "e": 4}) == {"a": 1, "b": {"c": 3, "d": 2}, "e": 4}
    assert below["b"] == {"c": 1, "d": 2}


@pytest.mark.parametrize(
    "value", [None, [], "x", {"x": "y" * 4096}, {"x": math.nan}, {"x": "\ud800"}, {"a": [[[[[[[[1]]]]]]]]}]
)
def test_values_that_are_too_much(value):
    with pytest.raises(InvalidRequest, match="values"):
        check_values(value, "values")
    assert check_values({"a": [[[[[[1]]]]]]}, "values")


def test_only_a_deploy_says_what_is_set():
    client = ClientInfo(KEY, ip_address("192.0.2.1"), values={"b": "ü", "a": 1})
    assert body_of("POST", client) == '{"values":{"a":1,"b":"ü"}}'.encode()
    assert body_of("GET", client) == b""
    assert body_of("POST", ClientInfo(KEY, ip_address("192.0.2.1"))) == b""
    assert json.loads(canonical({"a": 1})) == {"a": 1}


def test_the_body_is_signed_with_the_call():
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    keys = RootKeys([b"0123456789abcdef"], lambda: 1_795_523_890.0)
    call = Call(UUID(int=1), "POST", "/a/b", ip_address("192.0.2.1"), None, b'{"values":{"a":1}}')
    protected, _, signature = keys.sign(call, "x" * 22).partition("..")
    public = Ed25519PublicKey.from_public_bytes(decode(keys.key_set["keys"][0]["x"]))
    public.verify(decode(signature), signing_input(protected, call.body))
    with pytest.raises(InvalidSignature):
        public.verify(decode(signature), signing_input(protected, b'{"values":{"a":2}}'))
