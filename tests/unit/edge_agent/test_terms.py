"""Shares per root: as operators write them, and as they are held to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from edge_agent.arguments import parse
from edge_agent.deployments.requirements import Hardware, Offer
from edge_agent.deployments.terms import Share, Terms
from edge_agent.errors import Forbidden, SettingsError
from edge_agent.identity import Identity
from edge_agent.roots.membership import Membership
from edge_agent.serving.api import make_api
from edge_agent.serving.callers import Callers
from edge_agent.settings import Settings
from tests.fakes.edge_agent_backends import HELLOWORLD
from tests.fakes.edge_agent_parts import AGENT, Clock, Parts
from tests.fakes.edge_agent_roots import NOW, SigningRoot, anybody, trust
from tests.unit.edge_agent.test_api import Answer, call, problem
from tests.unit.edge_agent.test_wire import holds

A, B = "https://a.example", "https://b.example"
OTHER = UUID(int=5)
GUIDE = Path(__file__).parents[3] / "edge_agent" / "README.md"
MINE = f"""
runtime: podman
recipes: r
price: 0.5
tenant: acme
root:
  - {A}
  - url: {B}
    capacity: 2
    apps: [{HELLOWORLD}]
    price: 0.1
    jurisdiction: DE
    tenant: other
    invitation-file: code
devices: {{capacity: 1}}
"""


def settings(folder: Path, text: str) -> Settings:
    (folder / "agent.yaml").write_text(text)
    arguments = parse(["run", "--config", str(folder / "agent.yaml"), "--state", str(folder)])
    return Settings.from_arguments(arguments, lambda: "198.51.100.9")


def root(text: str) -> str:
    return f"runtime: podman\nrecipes: r\nroot: {text}\n"


def test_each_root_is_told_its_own_terms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "code").write_text("inv_1.secret\n")
    (tmp_path / "code").chmod(0o600)
    found = settings(tmp_path, MINE)
    assert found.roots.urls == (A, B)
    assert "secret" not in repr(found)
    identity = Identity(tmp_path, lambda: 7)
    identity.close()
    member = Membership(found, identity, Offer(Hardware(8), "US-PA", 0.5), lambda: NOW)
    usual, own = (member._registration(url).to_json() for url in (A, B))
    for said in (usual, own):
        holds("Registration", said)
        assert said["hardware"] == {"cores": 8}
    assert (usual["price"], usual["jurisdiction"], usual["tenant"]) == (0.5, "US-PA", "acme")
    assert (own["price"], own["jurisdiction"], own["tenant"]) == (0.1, "DE", "other")
    assert own["invitation"] == "inv_1.secret"
    assert "invitation" not in usual, "a root is not told another's secret"
    terms = found.roots.terms()
    assert [terms.capacity(asker) for asker in (A, B, "", "https://gone.example")] == [None, 2, 1, None]
    with pytest.raises(Forbidden, match="this root"):
        terms.check_app(B, OTHER)
    for asker in (A, ""):
        terms.check_app(asker, OTHER)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (root("[{capacity: 1}]"), "--root: url"),
        (root("[{url: root.example}]"), "--root: url root.example"),
        (root("[{url: 'https://a', capacty: 1}]"), "'capacty'; is capacity meant"),
        (root("[{url: 'https://a', zzz: 1}]"), "'zzz'; there are url"),
        (root("[{url: 'https://a', capacity: -1}]"), "--root https://a: capacity"),
        (root("[{url: 'https://a', capacity: many}]"), "capacity: must be a number"),
        (root("[{url: 'https://a', capacity: 1.5}]"), "capacity: must be an integer"),
        (root("[{url: 'https://a', capacity: true}]"), "capacity"),
        (root("[{url: 'https://a', apps: []}]"), "apps: must be a list"),
        (root("[{url: 'https://a', apps: 7}]"), "apps: must be a list"),
        (root("[{url: 'https://a', apps: [helloworld]}]"), "apps: must be a UUID"),
        (root("[{url: 'https://a', apps: [{a: 1}]}]"), "apps: must be a UUID"),
        (root("[{url: 'https://a', price: .nan}]"), "not a number"),
        (root("[{url: 'https://a', price: -1}]"), "price"),
        (root("[{url: 'https://a', tenant: A}]"), "--root https://a: tenant A"),
        (root("[{url: 'https://a', jurisdiction: us}]"), "jurisdiction us"),
        (root("[{url: 'https://a', invitation-file: /none}]"), "invitation-file /none: can't be read"),
        (root("[{url: 'https://a', invitation-file: 7}]"), "invitation-file: must be a string"),
        (root("[{url: 'https://a', price: 2026-11-24}]"), "no text or number"),
        (root("[{url: 'https://a', 2026-11-24: 1}]"), "no text or number"),
        (root("[{url: 'https://a', apps: &x [*x]}]"), "no text or number"),
        (root("[{url: 'https://a'}, 'https://a/']"), "--root https://a: is given twice"),
        (root("'{'"), "--root: terms: is not valid JSON"),
        (root("'{} x'"), "--root: terms: is not valid JSON"),
        (root("[https://a]") + "devices: x", "--devices: terms"),
        (root("[https://a]") + "devices: {price: 1}", "--devices: there is no 'price'"),
        (root("[https://a]") + "devices: {capacity: 0}\nonly-from-roots: true", "--devices: --only-from"),
        (root("[https://a]") + "name: {a: 1}", "name must be text"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as told:
        settings(tmp_path, text)
    assert "\n" not in str(told.value)


def test_the_guides_example_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = GUIDE.read_text().split("## Several roots", 1)[1].split("\n## ", 1)[0]
    (text,) = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    (tmp_path / "code").write_text("inv_1.x")
    found = settings(tmp_path, text.replace("/etc/sinfonia/acme-invitation", str(tmp_path / "code")))
    assert len(found.roots.each) == 2
    own = found.roots.each[1]
    assert None not in vars(own).values(), "it shows all that there is"
    assert None not in vars(own.share).values()
    assert found.roots.devices.capacity is not None


def test_a_secret_that_everybody_can_read_is_warned_of(tmp_path: Path, caplog: Any) -> None:
    (tmp_path / "code").write_text("inv_1.hush")
    for mode, warnings in ((0o600, 0), (0o640, 0), (0o644, 1)):
        (tmp_path / "code").chmod(mode)
        caplog.clear()
        settings(tmp_path, root(f"https://a\ninvitation-file: {tmp_path}/code"))
        assert len(caplog.records) == warnings
        assert "hush" not in str([vars(record) for record in caplog.records])
    (tmp_path / "code").write_text("x" * 5000)
    with pytest.raises(SettingsError, match="too large"):
        settings(tmp_path, root(f"https://a\ninvitation-file: {tmp_path}/code"))


class Shared:
    """An agent whose roots A and B, and devices, have the shares of a test."""

    def __init__(self, folder: Path, **shares: Share) -> None:
        urls = {"a": A, "b": B, "devices": ""}
        self.parts = Parts(terms=Terms({urls[name]: share for name, share in shares.items()}))
        self.roots = {"a": SigningRoot(A), "b": SigningRoot(B)}
        clock = Clock()
        callers = Callers(AGENT, trust(folder, *self.roots.values(), clock=clock), clock)
        self.api = make_api(self.parts.deployments, callers)

    def deploy(self, who: str, key: int, app: UUID = HELLOWORLD, body: bytes = b"") -> Answer:
        target = f"/{app}/{bytes([key] * 32).hex()}?wait=0"
        signer = self.roots.get(who)
        headers = {"x_sinfonia_signature": signer.sign("POST", target, body)} if signer else {}
        return call(self.api, "POST", f"/api/v1/deploy{target}", body, **headers)


def test_a_root_gets_no_more_than_its_capacity_and_the_others_theirs(tmp_path: Path) -> None:
    shared = Shared(tmp_path, a=Share(capacity=1), devices=Share(capacity=0))
    assert shared.deploy("a", 1).status == 200
    refused = shared.deploy("a", 2)
    assert "1 deployments for this root" in problem(refused, 503, "unavailable")
    assert int(refused.headers["Retry-After"]) > 0
    assert shared.deploy("a", 1).status == 200, "what it has it may ask for again"
    for key in (3, 4, 5):
        assert shared.deploy("b", key).status == 200
    assert "devices that ask" in problem(shared.deploy("device", 6), 503, "unavailable")
    assert shared.deploy("device", 1).status == 200, "it makes nothing new"
    assert len(shared.parts.runtime.records()) == 4


def test_a_root_gets_its_apps_alone(tmp_path: Path) -> None:
    shared = Shared(tmp_path, a=Share(apps=frozenset({OTHER})), devices=Share(apps=frozenset({HELLOWORLD})))
    assert str(HELLOWORLD) in problem(shared.deploy("a", 1), 403, "forbidden")
    assert "this root" in problem(shared.deploy("a", 1), 403, "forbidden")
    assert shared.parts.runtime.records() == []
    assert shared.deploy("b", 1).status == 200
    assert shared.deploy("a", 1).status == 200, "it makes nothing new"
    assert shared.deploy("device", 2).status == 200
    assert "devices that ask" in problem(shared.deploy("device", 3, OTHER), 403, "forbidden")


def test_devices_that_ask_themselves_without_a_root_have_the_share_of_devices() -> None:
    parts = Parts(terms=Terms({"": Share(capacity=1)}))
    api = make_api(parts.deployments, anybody())
    paths = [f"/api/v1/deploy/{HELLOWORLD}/{bytes([key] * 32).hex()}?wait=0" for key in (1, 2)]
    assert [call(api, "POST", path).status for path in paths] == [200, 503]


def test_a_price_is_held_to_for_the_root_that_was_told_it(tmp_path: Path) -> None:
    shared = Shared(tmp_path, a=Share(price=0.1), b=Share(price=0.9, jurisdiction="DE"))
    cheap = b'{"requirements": {"max_price": 0.5}}'
    assert shared.deploy("a", 1, body=cheap).status == 200
    assert "max_price" in problem(shared.deploy("b", 2, body=cheap), 503, "unavailable")
    there = b'{"requirements": {"jurisdictions": ["DE"]}}'
    assert shared.deploy("b", 2, body=there).status == 200
    assert shared.deploy("a", 3, body=there).status == 503


def test_what_one_root_leaves_free_is_not_the_others(tmp_path: Path) -> None:
    shared = Shared(tmp_path, a=Share(capacity=1), b=Share(capacity=1))
    assert [shared.deploy(who, key).status for who, key in (("a", 1), ("b", 2), ("a", 3), ("b", 4))] == [
        *(200, 200, 503, 503)
    ]
    shared.parts.deployments.release(shared.parts.lives.of(HELLOWORLD, b"\1" * 32).device)  # type: ignore[union-attr]
    assert (shared.deploy("b", 5).status, shared.deploy("a", 6).status) == (503, 200)
