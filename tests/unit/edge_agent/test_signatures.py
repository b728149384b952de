"""Detached signatures: the form, the key's name, and whatever is not one."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import InvalidRequest, Unauthorized
from edge_agent.serving.signatures import PublicKey, Signed, sign

# RFC 8037, appendix A: the key, its thumbprint, and a signature over "Example of Ed25519 signing".
SEED = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
JWS = (
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhi"
    "jcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
)


def raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


KEY = Ed25519PrivateKey.from_private_bytes(raw(SEED))
PUBLIC = PublicKey(raw(X))


def test_the_rfcs_example_verifies_detached() -> None:
    header, payload, signature = JWS.split(".")
    Signed.parse(f"{header}..{signature}", raw(payload)).verify(PUBLIC)
    with pytest.raises(Unauthorized, match="wrong"):
        Signed.parse(f"{header}..{signature}", raw(payload) + b".").verify(PUBLIC)
    assert sign({}, raw(payload), KEY.sign) == f"{header}..{signature}"


def test_a_keys_name_is_its_thumbprint() -> None:
    assert PUBLIC.thumbprint == THUMBPRINT
    assert PublicKey.from_jwk({**PUBLIC.to_jwk(), "kid": "x", "use": "sig"}) == PUBLIC


@pytest.mark.parametrize(
    "jwk",
    [
        *(None, [], {}, {"kty": "OKP", "crv": "Ed25519"}),
        {"kty": "OKP", "crv": "X25519", "x": X},
        {"kty": "EC", "crv": "Ed25519", "x": X},
        *(
            {"kty": "OKP", "crv": "Ed25519", "x": x}
            for x in (X[:-1], X + "A", X + "=", 7, ["x"], "+" + X[1:])
        ),
    ],
)
def test_other_keys_are_refused(jwk: Any) -> None:
    with pytest.raises(InvalidRequest):
        PublicKey.from_jwk(jwk)


def header_of(claims: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=") + ".." + "A" * 86


@pytest.mark.parametrize(
    "header",
    [
        *("", "x", "..", "a.b.c", JWS, "A" * 5000, "é..é", header_of([]), header_of({"alg": "none"})),
        header_of({"alg": "HS256"}),
        header_of({}),
        header_of({"alg": "EdDSA", "crit": ["b64"]}),
        header_of({"alg": "EdDSA", "b64": False}),
        header_of({"alg": "EdDSA"})[:-1],
        header_of({"alg": "EdDSA"}).replace("..", "=.."),
    ],
)
def test_what_is_no_signature_is_refused(header: str) -> None:
    with pytest.raises(Unauthorized):
        Signed.parse(header, b"")


@given(st.text(max_size=200) | st.from_regex(r"[A-Za-z0-9_-]{1,80}\.\.[A-Za-z0-9_-]{86}", fullmatch=True))
def test_nothing_else_comes_of_nonsense(header: str) -> None:
    try:
        Signed.parse(header, b"body").verify(PUBLIC)
    except Unauthorized:
        return
    raise AssertionError(header)


@given(st.binary(max_size=64), st.dictionaries(st.text(max_size=8), st.integers(), max_size=6))
def test_what_is_signed_verifies_and_says_the_same(body: bytes, claims: dict[str, int]) -> None:
    for name in ("alg", "crit", "b64"):
        claims.pop(name, None)
    signed = Signed.parse(sign(claims, body, KEY.sign), body)
    signed.verify(PUBLIC)
    assert signed.claims == {"alg": "EdDSA", **claims}
