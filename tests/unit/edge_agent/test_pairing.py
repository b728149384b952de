"""Pairing at the cloudlet: what a code is good for, what a wrong one costs, and what strangers can't do."""

from __future__ import annotations

import hashlib
import hmac
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from spake2 import SPAKE2_A
from werkzeug.test import Client, TestResponse

from edge_agent.errors import SettingsError
from edge_agent.nearby.codes import ATTEMPTS, MAX_MINUTES
from edge_agent.nearby.devices import Device
from edge_agent.nearby.pairing import MAX_SESSIONS, SESSION_SECONDS
from edge_agent.serving.signatures import PublicKey, decoded, encoded
from tests.contract.document import problems
from tests.fakes.edge_agent_nearby import Home

DEVICE = PublicKey(Ed25519PrivateKey.generate().public_key().public_bytes_raw())


class Stranger:
    """A device that knows the contract, and a code that may be wrong."""

    def __init__(self, home: Home, digits: str) -> None:
        self.http, self.half = (
            Client(home.api),
            SPAKE2_A(digits.encode(), b"sinfonia device", b"sinfonia cloudlet"),
        )
        self.message: bytes = self.half.start()

    def begin(self) -> TestResponse:
        answer = self.http.post("/api/v1/pairing", json={"message": encoded(self.message)})
        if answer.status_code == 200:
            self.offer = answer.get_json()
        return answer

    def finish(self, name: str = "laptop", changed: dict[str, str] | None = None) -> TestResponse:
        theirs, own = decoded(self.offer["message"], ""), PublicKey.from_text(self.offer["key"], "")
        self.secret: bytes = self.half.finish(theirs)
        self.said = self.message + theirs + DEVICE.raw + own.raw + name.encode()
        proof = {"key": DEVICE.text, "name": name, "confirmation": encoded(self.proof(b"sinfonia device"))}
        return self.http.post(f"/api/v1/pairing/{self.offer['session']}", json=proof | (changed or {}))

    def proof(self, side: bytes) -> bytes:
        return hmac.new(self.secret, side + b"\0" + self.said, hashlib.sha256).digest()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_who_knows_the_code_is_kept_and_told_the_cloudlets_key(home: Home) -> None:
    device = Stranger(home, home.code().digits)
    assert device.begin().status_code == 200
    assert problems("PairingOffer", device.offer) == []
    answer = device.finish()
    assert answer.status_code == 200, answer.data
    assert decoded(answer.get_json()["confirmation"], "") == device.proof(b"sinfonia cloudlet")
    assert device.offer["key"] == home.key.text
    assert home.devices.all() == [Device(DEVICE, "laptop", "2026-11-24T12:38:10Z")]
    assert home.devices.key(DEVICE.thumbprint) == DEVICE
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in home.folder.glob("devices/*"))


def test_a_code_is_good_once(home: Home) -> None:
    digits = home.code().digits
    one, other = Stranger(home, digits), Stranger(home, digits)
    assert [one.begin().status_code, other.begin().status_code] == [200, 200]
    assert [one.finish().status_code, other.finish("other").status_code] == [200, 403]
    assert Stranger(home, digits).begin().status_code == 403
    assert len(home.devices.all()) == 1


def test_three_wrong_ones_and_it_is_no_longer_good(home: Home) -> None:
    digits = home.code().digits
    right = Stranger(home, digits)
    right.begin()
    wrong = f"{(int(digits) + 1) % 10**6:06}"
    said = []
    for _ in range(ATTEMPTS):
        stranger = Stranger(home, wrong)
        stranger.begin()
        answer = stranger.finish()
        assert answer.status_code == 403
        said.append(answer.get_json()["detail"])
    assert "2 more" in said[0]
    assert "sinfonia-agent pair" in said[2]
    assert right.finish().status_code == 403, "a session that began before is no way around"
    assert home.devices.all() == []
    assert not (home.folder / "pairing-code").exists()


def test_attempts_are_counted_over_restarts_of_the_agent(home: Home) -> None:
    wrong = f"{(int(home.code().digits) + 1) % 10**6:06}"
    for left in (2, 1, 0):
        again = Home(home.folder)
        stranger = Stranger(again, wrong)
        stranger.begin()
        stranger.finish()
        code = again.codes.current()
        assert (code.attempts if code else 0) == left


@pytest.mark.parametrize("later", [601.0, -MAX_MINUTES * 60.0])
def test_it_ends_with_its_time_also_where_the_clock_goes_back(home: Home, later: float) -> None:
    stranger = Stranger(home, home.code().digits)
    stranger.begin()
    home.time += later
    assert home.codes.current() is None
    assert stranger.finish().status_code == 403


def test_without_a_code_nobody_begins(home: Home) -> None:
    answer = Stranger(home, "123456").begin()
    assert answer.status_code == 403
    assert "sinfonia-agent pair" in answer.get_json()["detail"]


def test_a_new_code_takes_the_place_of_the_last(home: Home) -> None:
    first = Stranger(home, home.code().digits)
    first.begin()
    home.code()
    assert first.finish().status_code == 403


def test_sessions_are_few_and_end(home: Home) -> None:
    digits = home.code().digits
    strangers = [Stranger(home, digits) for _ in range(MAX_SESSIONS + 1)]
    assert [one.begin().status_code for one in strangers] == [200] * MAX_SESSIONS + [503]
    home.clock.seconds += SESSION_SECONDS
    assert strangers[0].finish().status_code == 404
    assert strangers[-1].begin().status_code == 200
    assert strangers[-1].finish().status_code == 200
    assert strangers[-1].http.post("/api/v1/pairing/none", json={}).status_code == 400


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "other"},
        {"key": PublicKey(b"\1" * 32).text},
        {"confirmation": encoded(bytes(32))},
    ],
    ids=["name", "key", "confirmation"],
)
def test_nobody_in_between_changes_what_is_meant(home: Home, changed: dict[str, str]) -> None:
    device = Stranger(home, home.code().digits)
    device.begin()
    assert device.finish(changed=changed).status_code == 403
    assert home.devices.all() == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"message": 1}',
        json.dumps({"message": encoded(b"A" + bytes(32))}).encode(),
        json.dumps({"message": encoded(b"B" + bytes(32))}).encode(),
        json.dumps({"message": encoded(b"A\1" + bytes(31))}).encode(),
        json.dumps({"message": encoded(b"A" + b"\xff" * 32)}).encode(),
        json.dumps({"message": encoded(b"A")}).encode(),
    ],
)
def test_messages_that_are_none_are_400(home: Home, body: bytes) -> None:
    home.code()
    answer = Client(home.api).post("/api/v1/pairing", data=body)
    assert answer.status_code == 400
    assert problems("Problem", answer.get_json()) == []


def test_a_long_body_is_413(home: Home) -> None:
    home.code()
    assert Client(home.api).post("/api/v1/pairing", data=b'{"x": "' + b"y" * 5000).status_code == 413


def test_where_keys_are_listed_nobody_is_paired(tmp_path: Path) -> None:
    home = Home(tmp_path, "keys", [DEVICE])
    assert Stranger(home, home.code().digits).begin().status_code == 403
    assert home.nearby.trust.key(DEVICE.thumbprint) == DEVICE


def test_a_device_that_is_forgotten_is_a_stranger_at_once(home: Home) -> None:
    home.devices.add(Device(DEVICE, "laptop", ""))
    assert home.nearby.trust.key(DEVICE.thumbprint) == DEVICE
    home.devices.forget("laptop")
    assert home.nearby.trust.key(DEVICE.thumbprint) is None
    with pytest.raises(SettingsError, match="no paired device"):
        home.devices.forget("laptop")


@pytest.mark.parametrize("kid", [None, 7, "", "../pairing-code", "x" * 43, "/" * 43])
def test_names_of_keys_are_names_and_no_paths(home: Home, kid: Any) -> None:
    home.code()
    assert home.devices.key(kid) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"key": "short"}', json.dumps({"key": "A" * 43})])
def test_damaged_files_are_no_devices(home: Home, content: str) -> None:
    (home.folder / "devices").mkdir()
    (home.folder / "devices" / DEVICE.thumbprint).write_text(content)
    (home.folder / "pairing-code").write_text(content)
    assert home.devices.key(DEVICE.thumbprint) is None
    assert home.codes.current() is None
