"""Signed registration, keys and commands, over HTTP against a root that is not open."""

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from app import app
from chalicelib.fleet.signatures import encode, sign, uuid_of
from chalicelib.root import build_root
from chalicelib.settings import Settings
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from wsgi import WsgiAdapter

from tests.contract.document import problems
from tests.fakes.cloud_agent import deployment
from tests.fakes.cloud_stores import fake_stores
from tests.flow.servers import APP, Answer, call
from tests.lab.web import serving

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
UUID_OF_KEY = uuid_of(PUBLIC)
DEVICE = bytes(range(32))


class Cloudlet:
    """One that signs, and can't be called."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.token = ""

    def register(
        self, aud: str | None = None, uuid=UUID_OF_KEY, signed: bool = True, **fields: Any
    ) -> Answer:
        body = json.dumps({"incarnation": 1, "callable": False, **fields}).encode()
        jwk = {"kty": "OKP", "crv": "Ed25519", "x": encode(PUBLIC)}
        signature = sign({"jwk": jwk, "aud": aud or f"{self.root}/", "iat": 1}, body, KEY.sign)
        headers = {"X-Sinfonia-Signature": signature} if signed else {}
        return call(self.root, "PUT", f"/api/v1/cloudlets/{uuid}", body, **headers)

    def ask(self, method: str, path: str, value: Any = None) -> Answer:
        body = b"" if value is None else json.dumps(value).encode()
        path = f"/api/v1/cloudlets/{UUID_OF_KEY}{path}"
        return call(self.root, method, path, body, Authorization=f"Bearer {self.token}")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Where whatever root `app` serves now is."""
    with serving(WsgiAdapter(app)) as root:
        yield root


@pytest.fixture
def cloudlet(tmp_path: Path, url: str) -> Cloudlet:
    (tmp_path / f"{APP}.yaml").write_text("chart: helloworld\nversion: 0.1.0\nrestricted: false\n")
    settings = Settings(lease_secret=b"0123456789abcdef", recipes=str(tmp_path), calls_per_address=1e6)
    app.serve(build_root(settings, fake_stores(), chance=random.Random(0)))
    return Cloudlet(url)


def test_who_signs_gets_a_lease_and_the_root_s_keys(cloudlet: Cloudlet) -> None:
    answer = cloudlet.register()
    assert answer.status == 200
    assert problems("Lease", answer.json) == []
    keys = call(cloudlet.root, "GET", "/api/v1/keys")
    assert keys.json == answer.json["root_keys"]
    assert "root_proof" in answer.json
    assert problems("KeySet", keys.json) == []


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"signed": False}, 401),
        ({"aud": "https://another.example/"}, 401),
        ({"uuid": uuid4()}, 403),
        ({"uuid": uuid4(), "signed": False}, 401),
        ({"tenant": "nobody"}, 403),
        ({"invitation": "of-nobody"}, 403),
    ],
)
def test_who_is_not_let_in_is_told_why(cloudlet: Cloudlet, changed: dict[str, Any], status: int) -> None:
    answer = cloudlet.register(**changed)
    assert answer.status == status, answer.body
    assert problems("Problem", answer.json) == []
    assert answer.json["detail"]
    assert call(cloudlet.root, "GET", "/api/v1/cloudlets/").json == []


def test_a_device_gets_a_backend_on_a_cloudlet_that_can_not_be_called(cloudlet: Cloudlet) -> None:
    cloudlet.token = cloudlet.register().json["lease_token"]
    path = f"/api/v1/deploy/{APP}/{encode(DEVICE)}?wait=0"
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(call, cloudlet.root, "POST", path)
        commands = cloudlet.ask("GET", "/commands?wait=10")
        assert problems("Commands", commands.json) == []
        (command,) = commands.json
        said = {"status": 200, "body": [deployment(str(APP), DEVICE)]}
        assert cloudlet.ask("POST", f"/commands/{command['id']}", said).status == 204
        answer = asked.result()
    assert answer.status == 200, answer.body
    assert answer.json[0]["Cloudlet"]["UUID"] == str(UUID_OF_KEY)
    assert cloudlet.ask("POST", f"/commands/{command['id']}", said).status == 404


def test_commands_are_for_who_holds_the_lease(cloudlet: Cloudlet) -> None:
    cloudlet.register()
    assert cloudlet.ask("GET", "/commands").status == 401
    assert cloudlet.ask("POST", f"/commands/{'A' * 22}", {"status": 204}).status == 401
    cloudlet.token = cloudlet.register().json["lease_token"]
    assert cloudlet.ask("GET", "/commands").json == []
    assert cloudlet.ask("GET", "/commands?wait=21").status == 400
    assert cloudlet.ask("POST", "/commands/short", {"status": 204}).status == 400
