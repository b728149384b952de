"""An agent that can't be called, and a real root: registration, commands, usage, recipes; over real HTTP."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from app import app
from chalicelib.accounts.usage import Partition
from chalicelib.root import build_root
from chalicelib.settings import Settings
from chalicelib.stores import Stores
from wsgi import WsgiAdapter

from device_sdk.calls.st1 import Server
from device_sdk.wire import DeviceContext, Measurement
from edge_agent.deployments.leases import Activity
from edge_agent.deployments.terms import Share
from edge_agent.errors import Forbidden
from edge_agent.recipes.repositories import Downloads, Nothing
from edge_agent.recipes.root_recipes import RootRecipes
from edge_agent.sessions import make_session
from tests.fakes.cloud_stores import fake_stores
from tests.flow.member import Member
from tests.flow.servers import APP, HIDDEN, call
from tests.lab.machine import poll
from tests.lab.web import serving

KEY = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw"
DEPLOY = f"/api/v1/deploy/{APP}/{KEY}"


class World:
    """A root at `url`, what it keeps, and a folder for agents."""

    def __init__(self, url: str, stores: Stores, folder: Path) -> None:
        self.url, self.stores, self.folder = url, stores, folder

    def listed(self) -> list[Any]:
        rows: list[Any] = call(self.url, "GET", "/api/v1/cloudlets/").json
        return rows


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(
        "edge_agent.roots.mailbox.WAIT_SECONDS", 1
    )  # the server ends when its last answer is out
    (tmp_path / "recipes").mkdir()
    for name, restricted in ((APP, "false"), (HIDDEN, "true")):
        (tmp_path / "recipes" / f"{name}.yaml").write_text(
            f"chart: helloworld\nversion: 0.1.0\nrestricted: {restricted}\n"
        )
    settings = Settings(
        lease_secret=b"0123456789abcdef", recipes=str(tmp_path / "recipes"), allow_private_endpoints=True
    )
    stores = fake_stores()
    app.serve(build_root(settings, stores))
    with serving(WsgiAdapter(app)) as url:
        yield World(url, stores, tmp_path)


@pytest.fixture
def member(world: World) -> Iterator[Member]:
    made = Member(world.url, world.folder, endpoint=None)
    made.root.step()
    with made.living():
        yield made


def test_a_device_gets_a_backend_from_a_cloudlet_that_nobody_can_call(world: World, member: Member) -> None:
    (row,) = world.listed()
    assert (row["uuid"], row["trust"], row["callable"]) == (str(member.uuid), "signed", False)
    (pinned,) = world.folder.rglob("roots/*.json")
    assert json.loads(pinned.read_text())["proven"] is True
    (found,) = Server(world.url).candidates(UUID(APP), results=3, context=DeviceContext(), timeout=5)
    assert (found.uuid, found.endpoint) == (member.uuid, None)
    answer = call(world.url, "POST", f"{DEPLOY}?wait=0")
    assert answer.status == 200, answer.body
    assert answer.json[0]["Cloudlet"]["UUID"] == str(member.uuid)
    (record,) = member.parts.runtime.records()
    assert record.root == world.url
    again = call(world.url, "GET", DEPLOY)
    assert again.json[0]["DeploymentName"] == record.name
    assert call(world.url, "DELETE", DEPLOY).status == 204
    assert poll(lambda: member.parts.runtime.records() == [])


def test_what_a_call_sets_reaches_the_record_in_a_signed_command(world: World, member: Member) -> None:
    values = {"greeting": 'Grüße, "x"', "game": {"level": 3}}
    server = Server(world.url)
    server.deploy(UUID(APP), KEY, results=1, context=DeviceContext(values=values), timeout=10)
    (record,) = member.parts.runtime.records()
    assert (json.loads(record.order.values), record.order.root) == (values, world.url)
    other = DeviceContext(values={"greeting": "other"})
    server.deploy(UUID(APP), KEY, results=1, context=other, timeout=10)
    assert member.parts.runtime.records() == [record], "the first ones stay"


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (Share(capacity=1), "1 deployments for this root"),
        (Share(apps=frozenset({UUID(HIDDEN)})), "this root"),
    ],
)
def test_a_device_is_told_that_its_root_may_have_no_more(world: World, share: Share, words: str) -> None:
    member = Member(world.url, world.folder, share=share, endpoint=None)
    member.root.step()
    with member.living():
        call(world.url, "POST", f"{DEPLOY}?wait=0")
        refused = call(world.url, "POST", f"/api/v1/deploy/{APP}/{'ab' * 32}?wait=0")
    assert refused.status in (502, 503), refused.body
    assert words in refused.json["detail"]
    assert len(member.parts.runtime.records()) == (share.capacity or 0)


def test_hours_between_the_clocks_change_nothing(world: World) -> None:
    for late in (6 * 3600.0, -6 * 3600.0):
        member = Member(world.url, world.folder / str(late), late_seconds=late, endpoint=None)
        member.root.step()
        with member.living():
            answer = call(world.url, "POST", f"{DEPLOY}?wait=0")
            assert answer.status == 200, answer.body
        member.root.goodbye()


def test_commands_come_with_keepalives_where_nobody_polls(world: World) -> None:
    member = Member(world.url, world.folder, endpoint=None)
    member.root.step()
    answers: list[Any] = []
    device = threading.Thread(target=lambda: answers.append(call(world.url, "POST", f"{DEPLOY}?wait=0")))
    device.start()
    assert poll(lambda: member.root.step() and answers, 8.0, 0.05)
    device.join(5)
    member.close()
    assert answers[0].status == 200, answers[0].body


def test_a_drained_cloudlet_gets_nothing_new_at_once(world: World, member: Member) -> None:
    member.parts.deployments.draining = True
    member.root.step()
    assert world.listed()[0]["draining"] is True
    assert call(world.url, "POST", f"{DEPLOY}?wait=0").status == 503
    member.parts.deployments.draining = False
    member.root.step()
    assert call(world.url, "POST", f"{DEPLOY}?wait=0").status == 200


def test_usage_reaches_the_ledger_once(world: World, member: Member) -> None:
    assert call(world.url, "POST", f"{DEPLOY}?wait=0").status == 200
    (live,) = member.parts.lives.all()
    member.usage.note([live], {live.key: Activity(1, 1000, 2000)})
    before = int(member.trust.now())
    assert poll(lambda: int(member.trust.now()) > before, 3), "an entry takes a second at least"
    member.usage.note([], {})
    member.root.step()
    (entry,) = ledger(world)
    assert (entry.deployment, entry.bytes_in, entry.bytes_out) == (live.record.name, 1000, 2000)
    assert entry.cloudlet == member.uuid
    member.root.step()
    assert ledger(world) == [entry]


def ledger(world: World) -> list[Any]:
    """What cloudlets told of usage, today or yesterday."""
    now = datetime.fromtimestamp(time.time(), UTC)
    parts = [Partition("", (now - timedelta(days=day)).date(), shard) for day in (0, 1) for shard in range(8)]
    entries = [entry for part in parts for entry in world.stores.usage.read(part, "", 100)]
    return [entry for entry in entries if entry.event == "used"]


def test_a_root_takes_the_sdks_round_trips(world: World, member: Member) -> None:
    Server(world.url).measured(UUID(APP), Measurement(member.uuid, 11.4), 5)


def test_a_restricted_recipe_is_given_to_cloudlets_with_a_lease(world: World, member: Member) -> None:
    assert call(world.url, "GET", f"/api/v1/recipe/{HIDDEN}/").status == 403
    downloads = Downloads(world.folder / "charts", make_session(time.monotonic), time.monotonic)
    for token, good in ((member.root.token, True), ("nonsense", False)):
        recipes = RootRecipes(
            lambda _url: member.calls(),
            lambda _url, token=token: token,  # type: ignore[misc]
            time.monotonic,
            downloads,
            Nothing(),
        )
        if good:
            assert json.loads(recipes.recipe(UUID(HIDDEN), world.url))["chart"] == "helloworld"
        else:
            with pytest.raises(Forbidden):
                recipes.recipe(UUID(HIDDEN), world.url)
