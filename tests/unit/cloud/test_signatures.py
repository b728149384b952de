"""Signatures of registrations: what verifies, and what does not. Keys: what a root signs its calls with."""

import base64
import json
from ipaddress import ip_address
from uuid import UUID, uuid4

import pytest
from chalicelib.errors import Forbidden, InvalidRequest, Unauthorized
from chalicelib.fleet.geo import Location
from chalicelib.fleet.root_keys import LIFE_SECONDS, Call, RootKeys, new_id
from chalicelib.fleet.signatures import decode, encode, sign, signing_input, uuid_of, verify_registration
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

HERE = "root.example:8443"
BODY = b'{"incarnation": 1}'
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
UUID_OF_KEY = uuid_of(PUBLIC)
JWK = {"kty": "OKP", "crv": "Ed25519", "x": encode(PUBLIC)}
CLAIMS = {"jwk": JWK, "aud": "https://root.example:8443/some/path", "iat": 1}


def signed(body: bytes = BODY, **changed: object) -> str:
    return sign({**CLAIMS, **changed}, body, KEY.sign)


def verify(header: str, *, body: bytes = BODY, uuid: UUID = UUID_OF_KEY, authority: str = HERE) -> None:
    verify_registration(header, body, uuid, authority)


def test_the_owner_of_the_key_is_believed():
    verify(signed())


def test_rfc_8037s_own_example_has_the_signature_that_it_says():
    """RFC 8037, appendix A.4."""
    key = Ed25519PrivateKey.from_private_bytes(decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"))
    assert encode(key.sign(signing_input("eyJhbGciOiJFZERTQSJ9", b"Example of Ed25519 signing"))) == (
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    )


def test_the_uuid_is_the_keys():
    assert (UUID_OF_KEY.version, UUID_OF_KEY.variant) == (8, "specified in RFC 4122")
    with pytest.raises(Forbidden):
        verify(signed(), uuid=uuid_of(bytes(32)))
    with pytest.raises(Forbidden):
        verify(signed(), uuid=uuid4())


@pytest.mark.parametrize("body", [b"", BODY + b" ", b'{"incarnation": 2}'])
def test_another_body_is_not_what_was_signed(body):
    with pytest.raises(Unauthorized, match="this body"):
        verify(signed(), body=body)


@pytest.mark.parametrize(
    ("audience", "authority", "same"),
    [
        ("https://root.example/", "root.example", True),
        ("https://root.example", "root.example:443", True),
        ("https://ROOT.example:443/a", "root.EXAMPLE", True),
        ("http://root.example:80", "root.example", True),
        ("http://[2001:db8::1]:8080/", "[2001:db8::1]:8080", True),
        ("https://root.example:80", "root.example", False),
        ("https://root.example", "root.example:8443", False),
        ("https://other.example", "root.example", False),
        ("https://root.example.evil", "root.example", False),
        ("https://user@root.example", "root.example", False),
        ("root.example", "root.example", False),
        ("ftp://root.example", "root.example", False),
        ("https://", "", False),
        ("https://[", "root.example", False),
    ],
)
def test_a_signature_is_for_one_root(audience, authority, same):
    header = signed(aud=audience)
    if same:
        verify(header, authority=authority)
    else:
        with pytest.raises(Unauthorized):
            verify(header, authority=authority)


@pytest.mark.parametrize(
    "changed",
    [
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": None},
        {"crit": ["exp"]},
        {"b64": False},
        {"jwk": None},
        {"jwk": {}},
        {"jwk": {**JWK, "kty": "EC"}},
        {"jwk": {**JWK, "crv": "X25519"}},
        {"jwk": {**JWK, "x": encode(bytes(31))}},
        {"jwk": {**JWK, "x": "é" * 43}},
        {"jwk": {**JWK, "x": "A" * 42 + "B"}},
        {"jwk": [JWK]},
        {"aud": None},
        {"aud": 7},
        {"aud": ["https://root.example:8443"]},
        {"more": "x" * 3000},
    ],
)
def test_what_is_signed_otherwise_is_refused(changed):
    with pytest.raises(Unauthorized):
        verify(signed(**changed))


def test_forged_and_cut_signatures_are_refused():
    header = signed()
    protected, _, signature = header.split(".")
    other = Ed25519PrivateKey.generate()
    for wrong in (
        "",
        "..",
        header + ".",
        header[:-1],
        f"{protected}.{encode(BODY)}.{signature}",
        f"{protected}..{encode(bytes(64))}",
        f"..{signature}",
        sign(CLAIMS, BODY, other.sign),
        header[:-1] + ("B" if header[-1] != "B" else "C"),
        f"{encode(b'[]')}..{signature}",
        f"{encode(b'{')}..{signature}",
        f"{encode(b'[' * 1000)}..{signature}",
    ):
        with pytest.raises(Unauthorized):
            verify(wrong)


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: f"{encode(raw)}..{'A' * 86}"))
def test_no_header_breaks_the_reader(header):
    with pytest.raises(Unauthorized):
        verify(header)


@given(st.binary(max_size=40))
def test_base64url_has_one_spelling(raw):
    assert decode(encode(raw)) == raw
    for wrong in (encode(raw) + "=", encode(raw) + "A" * (5 - len(encode(raw)) % 4), "+/" + encode(raw)):
        with pytest.raises(InvalidRequest):
            decode(wrong)


NOW = 1_795_000_000.5
CALL = Call(uuid4(), "POST", "/app/key?wait=5", ip_address("198.51.100.7"), Location(40.4, -79.9, 7))
SECRETS = [b"the new secret..", b"the old secret.."]


def opened(header: str, jwk: dict[str, str], body: bytes = b"") -> dict[str, object]:
    protected, _, signature = header.split(".")
    key = Ed25519PublicKey.from_public_bytes(decode(jwk["x"]))
    key.verify(decode(signature), signing_input(protected, body))
    return json.loads(base64.urlsafe_b64decode(protected + "=="))


def test_a_call_is_signed_for_one_cloudlet_and_device():
    keys = RootKeys(SECRETS, lambda: NOW)
    first = keys.key_set["keys"][0]
    assert opened(keys.sign(CALL, "an id"), first) == {
        "alg": "EdDSA",
        "kid": first["kid"],
        "aud": str(CALL.cloudlet),
        "iat": int(NOW),
        "exp": int(NOW) + LIFE_SECONDS,
        "jti": "an id",
        "htm": "POST",
        "htu": "/app/key?wait=5",
        "ip": "198.51.100.7",
        "loc": "40.4,-79.9",
    }
    nowhere = Call(CALL.cloudlet, "GET", "/app/key", CALL.client_ip)
    assert "loc" not in opened(keys.sign(nowhere, "an id"), first)


def test_keys_rotate_with_the_secrets():
    """Old: [old]. Rotated: [new, old]. In the end: [new]. Each set has a key of the one before."""
    new, old = SECRETS
    sets = [RootKeys(each, lambda: NOW).key_set["keys"] for each in ([old], [new, old], [new])]
    assert sets[1] == [sets[2][0], sets[0][0]]
    assert len({jwk["kid"] for jwk in sets[1]}) == 2
    opened(RootKeys([new, old], lambda: NOW).sign(CALL, "id"), sets[2][0])
    with pytest.raises(InvalidSignature):
        opened(RootKeys([new, old], lambda: NOW).sign(CALL, "id"), sets[0][0])


def test_the_thumbprint_is_rfc_8037s():
    """Appendix A.3 of RFC 8037."""
    from chalicelib.fleet.root_keys import _jwk

    jwk = _jwk(decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"))
    assert jwk["kid"] == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_ids_are_never_the_same():
    ids = {new_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(len(each) == 22 for each in ids)
