"""The operator's command against a real root on loopback: what operators and tenants do in a week."""

from __future__ import annotations

import csv
import io
import json
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from app import app
from chalicelib.accounts.tokens import Scope, TokenRequest
from chalicelib.accounts.usage import USED, Usage
from chalicelib.fleet.cloudlets import Cloudlet, row_key
from chalicelib.fleet.geo import Location
from chalicelib.root import Root, build_root
from chalicelib.settings import Settings
from operator_cli import main
from wsgi import WsgiAdapter

from tests.fakes.cloud_stores import fake_stores
from tests.lab.web import serving

CLOUDLET = "5f1c9a1e-7f35-4a39-9d52-3f1f8f0e6a11"
RECIPE = "chart: chess\nversion: 1.0.0\nvalues: {level: 3}\n"


@dataclass(frozen=True)
class Outcome:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Desk:
    """A root, and a desk from which commands are typed with the token that lies there."""

    root: Root
    run: Callable[..., Outcome]
    environment: pytest.MonkeyPatch
    folder: Path

    def use(self, token: str) -> None:
        self.environment.setenv("SINFONIA_TOKEN", token)

    def cloudlet(self, realm: str, **changed: Any) -> str:
        """A cloudlet that has just been registered; its UUID."""
        uuid, location = uuid4(), changed.get("location")
        now = int(time.time())
        row = Cloudlet(row_key(uuid, location, realm), uuid, "http://192.0.2.7/x", 1, 0, now, now + 50)
        row = replace(row, **changed)
        self.root.registry.table.put(row)
        self.root.registry.notices.put_up(row)
        return str(uuid)

    def ok(self, *words: str) -> Any:
        """The JSON of a command that succeeds."""
        outcome = self.run(*words, "--json")
        assert outcome.status == 0, outcome.err
        return outcome.json


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(WsgiAdapter(app)) as made:
        yield made


@pytest.fixture
def desk(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Desk:
    settings = Settings(lease_secret=b"0123456789abcdef", recipes=str(tmp_path), calls_per_address=1e6)
    root = build_root(settings, fake_stores())
    app.serve(root)
    _, operator = root.tokens.make("", TokenRequest(Scope.OPERATOR))

    def run(*words: str) -> Outcome:
        capsys.readouterr()
        try:
            status = main(list(words))
        except SystemExit as end:  # argparse
            status = int(str(end.code))
        return Outcome(status, *capsys.readouterr())

    monkeypatch.setenv("SINFONIA_ROOT", url)
    monkeypatch.setenv("SINFONIA_TOKEN", operator)
    monkeypatch.chdir(tmp_path)
    return Desk(root, run, monkeypatch, tmp_path)


def test_a_tenants_first_week(desk: Desk) -> None:
    made = desk.ok("tenants", "create", "acme", "--name", "Acme Ltd", "--quota", "deploys_per_minute=600")
    assert made["quotas"]["deploys_per_minute"] == 600
    token = desk.ok("tokens", "create", "--tenant", "acme", "--scope", "tenant")["token"]
    desk.use(token)
    uuid = desk.ok("apps", "put", "--name", "chess", "--require", "gpu", "--require", "jurisdiction=DE")[
        "uuid"
    ]
    (desk.folder / "chess.yaml").write_text(RECIPE)
    assert desk.ok("recipes", "put", uuid, "chess.yaml") == {"number": 1}
    shown = desk.ok("apps", "show", uuid)
    assert shown["requirements"] == {"gpu": True, "jurisdictions": ["DE"]}
    assert shown["recipe"] == 1
    assert desk.root.apps.find(UUID(uuid)).tenant == "acme"
    assert desk.ok("recipes", "show", uuid, "1")["values"] == {"level": 3}
    code = desk.ok("admission", "invite", "--name", "Hamburg 1")["code"]
    assert desk.root.admissions.spend("acme", code, UUID(CLOUDLET))
    assert [each["cloudlet"] for each in desk.ok("admission", "invitations")] == [CLOUDLET]


def test_what_is_not_given_stays(desk: Desk) -> None:
    desk.ok("tenants", "create", "acme", "--name", "Acme", "--admission", "open", "--quota", "apps=3")
    desk.ok("admission", "set", "allow-list", "--tenant", "acme")
    desk.ok("tenants", "set", "acme", "--quota", "tokens=7")
    shown = desk.ok("tenants", "show", "acme")
    assert (shown["name"], shown["admission"]) == ("Acme", "allow-list")
    assert (shown["quotas"]["apps"], shown["quotas"]["tokens"]) == (3, 7)
    uuid = desk.ok(
        "apps", "put", "--tenant", "acme", "--name", "x", "--matcher", "network", "--matcher", "load"
    )["uuid"]
    desk.ok("apps", "put", uuid, "--tenant", "acme", "--token-required", "yes", "--deploys-per-minute", "5")
    app_ = desk.ok("apps", "put", uuid, "--tenant", "acme", "--unset", "deploys_per_minute")
    assert app_["matchers"] == ["network", "load"]
    assert (app_["name"], app_["token_required"]) == ("x", True)
    assert "deploys_per_minute" not in app_


def test_a_tenant_that_stands_is_not_made_anew(desk: Desk) -> None:
    desk.ok("tenants", "create", "acme", "--name", "Acme")
    outcome = desk.run("tenants", "create", "acme", "--name", "Other")
    assert outcome.status == 2
    assert "already" in outcome.err
    assert desk.ok("tenants", "show", "acme")["name"] == "Acme"


def test_nothing_is_removed_without_yes(desk: Desk) -> None:
    desk.ok("tenants", "create", "acme")
    outcome = desk.run("tenants", "delete", "acme")
    assert (outcome.status, "--yes" in outcome.err) == (2, True)
    desk.ok("tenants", "delete", "acme", "--yes")
    assert desk.ok("tenants", "list") == []
    outcome = desk.run("tenants", "show", "acme")
    assert (outcome.status, outcome.err) == (2, "operator: The root says (404): There is no such tenant.\n")


def test_a_tenants_token_sees_its_own_and_nothing_else(desk: Desk) -> None:
    for name in ("acme", "other"):
        desk.ok("tenants", "create", name)
    desk.use(desk.ok("tokens", "create", "--tenant", "acme", "--scope", "tenant")["token"])
    assert desk.ok("tokens", "list")[0]["scope"] == "tenant"
    assert desk.run("apps", "list", "--tenant", "other").status == 2
    assert desk.run("tenants", "list").status == 4


def test_tokens_end_when_revoked(desk: Desk) -> None:
    made = desk.ok("tokens", "create", "--scope", "operator", "--name", "for a day", "--days", "1")
    assert made["expires_at"]
    desk.ok("tokens", "revoke", made["id"])
    desk.use(made["token"])
    outcome = desk.run("tenants", "list")
    assert outcome.status == 4
    assert made["token"] not in outcome.err


def test_a_secret_goes_into_a_new_file_that_only_its_owner_reads(desk: Desk) -> None:
    shown = desk.run("tokens", "create", "--scope", "operator", "--out", "token")
    assert shown.status == 0
    kept = desk.folder / "token"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert kept.read_text().strip() not in shown.out
    desk.environment.delenv("SINFONIA_TOKEN")
    assert desk.run("tenants", "list", "--token-file", "token").status == 0
    again = desk.run("tokens", "create", "--scope", "operator", "--out", "token", "--token-file", "token")
    assert (again.status, "already" in again.err) == (2, True)
    assert len(desk.ok("tokens", "list", "--token-file", "token")) == 2, "none was made in vain"


def test_a_secret_file_of_a_command_that_fails_is_not_left(desk: Desk) -> None:
    assert (
        desk.run("tokens", "create", "--tenant", "nobody", "--scope", "tenant", "--out", "token").status == 2
    )
    assert not (desk.folder / "token").exists()


def test_the_allow_list(desk: Desk) -> None:
    desk.ok("tenants", "create", "acme")
    desk.ok("admission", "allow", CLOUDLET, "--tenant", "acme", "--name", "Hamburg")
    assert [each["uuid"] for each in desk.ok("admission", "list", "--tenant", "acme")] == [CLOUDLET]
    desk.ok("admission", "deny", CLOUDLET, "--tenant", "acme")
    assert desk.ok("admission", "list", "--tenant", "acme") == []
    invitation = desk.ok("admission", "invite", "--tenant", "acme")["id"]
    desk.ok("admission", "uninvite", invitation, "--tenant", "acme")
    assert desk.ok("admission", "show", "--tenant", "acme") == {"admission": "invitation"}


def test_long_lists_come_page_by_page_and_end_where_told(desk: Desk) -> None:
    for number in range(205):
        desk.root.tokens.make("", TokenRequest(Scope.OPERATOR, f"number {number}"))
    assert len(desk.ok("tokens", "list")) == 206
    outcome = desk.run("tokens", "list", "--limit", "150")
    assert len(outcome.out.splitlines()) == 151
    assert "more than these 150" in outcome.err


def test_usage_for_people_and_for_programs(desk: Desk) -> None:
    now, uuid = int(time.time()), UUID(int=7)
    for number in range(3):
        desk.root.ledger.began("acme", uuid, UUID(CLOUDLET), bytes([number] * 32), f"chess-{number}")
    desk.ok("tenants", "create", "acme")
    store = desk.root.ledger._store
    store.add(Usage(USED, "acme", uuid, UUID(CLOUDLET), "chess-1", now, now + 5400, 1000, 2_000_000))
    days = ("--from", "2020-01-01", "--to", "2020-12-31")
    assert desk.ok("usage", "--tenant", "acme", *days) == []
    day = (
        time.strftime("%Y-%m-%d", time.gmtime(now - 86400)),
        time.strftime("%Y-%m-%d", time.gmtime(now + 86400)),
    )
    days = ("--tenant", "acme", "--from", day[0], "--to", day[1])
    assert len(desk.ok("usage", *days)) == 4
    lines = list(csv.DictReader(io.StringIO(desk.run("usage", *days, "--csv").out)))
    assert sorted(line["event"] for line in lines) == ["began", "began", "began", "used"]
    (used,) = [line for line in lines if line["event"] == "used"]
    assert (used["bytes_out"], used["to"][-1]) == ("2000000", "Z")
    head, line = desk.run("usage", *days).out.splitlines()
    assert head.split() == ["APP", "DEPLOYMENTS", "HOURS", "BYTES", "IN", "BYTES", "OUT"]
    assert line.split() == [str(uuid), "3", "1.5", "1000", "2000000"]
    for by in ("cloudlet", "day"):
        assert len(desk.run("usage", *days, "--by", by).out.splitlines()) >= 2


def test_cloudlets_are_listed_shown_and_removed(desk: Desk) -> None:
    assert desk.ok("cloudlets", "list") == []
    for name in ("acme", "other"):
        desk.ok("tenants", "create", name)
    shared = desk.cloudlet("", name="shared-1", location=Location(40.4433, -79.9436))
    own = desk.cloudlet("acme", name="hamburg-1", resources={"cpu_ratio": 0.25})
    assert [each["uuid"] for each in desk.ok("cloudlets", "list")] == [shared]
    assert [each["uuid"] for each in desk.ok("cloudlets", "list", "--tenant", "acme")] == [own]
    head, line = desk.run("cloudlets", "list").out.splitlines()
    assert head.split()[:3] == ["UUID", "NAME", "TRUST"]
    assert line.split()[:5] == [shared, "shared-1", "unsigned", "no", "40.44,-79.94"]
    tokens = {
        name: desk.ok("tokens", "create", "--tenant", name, "--scope", "tenant")["token"]
        for name in ("acme", "other")
    }
    desk.use(tokens["other"])
    assert desk.ok("cloudlets", "show", shared)["name"] == "shared-1"
    for words in (("show", own), ("remove", own), ("remove", shared), ("list", "--tenant", "acme")):
        assert desk.run("cloudlets", *words).status == 2, words
    desk.use(tokens["acme"])
    assert desk.ok("cloudlets", "show", own)["tenant"] == "acme"
    desk.ok("cloudlets", "remove", own)
    assert desk.run("cloudlets", "show", own).status == 2


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("recipes", "put", CLOUDLET, "missing.yaml"), 2, "can't be read"),
        (("apps", "show", CLOUDLET), 2, "404"),
        (("apps", "put", CLOUDLET, "--matcher", "no such matcher"), 2, "400"),
        (("tenants", "create", "Acme"), 2, "400"),
        (("tenants", "create", "../../etc"), 2, ""),
        (("tenants", "set", "acme/../other"), 2, ""),
        (("tenants", "create", "acme", "--quota", "nonsense"), 2, "apps=5"),
        (("tokens", "create"), 2, "--scope"),
        (("tokens", "create", "--scope", "operator", "--out", "no/such/folder"), 2, "No such file"),
        (("usage", "--from", "2026-02-01", "--to", "2026-01-01"), 2, "before"),
        (("usage", "--from", "2020-01-01", "--to", "2026-01-01"), 2, "366 days"),
        (("usage", "--csv", "--json"), 2, "choose one"),
        (("tenants", "list", "--root", "http://127.0.0.1:1"), 3, "can't be reached"),
        (("tenants", "list", "--root", "http://192.0.2.1"), 2, "unencrypted"),
        (("tenants", "list", "--root", "ftp://x"), 2, "no URL"),
        (("tenants", "list", "--token-file", "nowhere"), 4, "can't be read"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_errors_are_one_line_and_a_status(desk: Desk, words: tuple[str, ...], status: int, said: str) -> None:
    outcome = desk.run(*words)
    assert (outcome.status, outcome.out) == (status, ""), outcome
    assert said in outcome.err
    assert "Traceback" not in outcome.err
    if "usage: python" not in outcome.err:
        assert outcome.err.count("\n") == 1


def test_errors_for_programs_are_json(desk: Desk) -> None:
    outcome = desk.run("tenants", "show", "nobody", "--json")
    assert json.loads(outcome.err) == {
        "error": "The root says (404): There is no such tenant.",
        "exit_status": 2,
    }


def test_no_token_is_said(desk: Desk) -> None:
    desk.environment.delenv("SINFONIA_TOKEN")
    assert desk.run("tenants", "list").status == 4
    desk.environment.delenv("SINFONIA_ROOT")
    assert desk.run("tenants", "list").status == 2
