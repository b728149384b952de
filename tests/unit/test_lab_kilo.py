"""What the lab's stand-in for Kilo makes of Peer objects."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.lab.kilo import Peer, config

KEY = base64.b64encode(b"k" * 32).decode()


def peer(**spec: Any) -> Peer | None:
    return Peer.read({"spec": {"publicKey": KEY, "allowedIPs": ["100.64.0.1/32"], **spec}})


def test_peers_become_wireguards():
    found = [peer(), peer(publicKey=base64.b64encode(b"l" * 32).decode(), persistentKeepalive=10)]
    text = config("secret", [one for one in found if one])
    assert text.startswith("[Interface]\nPrivateKey = secret\nListenPort = 51820\n")
    assert f"[Peer]\nPublicKey = {KEY}\nAllowedIPs = 100.64.0.1/32\n" in text
    assert text.count("PersistentKeepalive = 10") == 1


@pytest.mark.parametrize(
    "spec",
    [
        {"publicKey": "short"},
        {"publicKey": base64.b64encode(b"k" * 31).decode()},
        {"allowedIPs": ["100.64.0.1/24"]},
        {"allowedIPs": ["here"]},
        {"allowedIPs": []},
        {"persistentKeepalive": -1},
    ],
)
def test_what_is_no_peer_is_passed_over(spec):
    assert peer(**spec) is None
