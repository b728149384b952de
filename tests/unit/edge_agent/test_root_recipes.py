"""Recipes that only the root has which asks: when it is asked, what it may say, where its charts may lie."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from edge_agent.deployments.records import Order
from edge_agent.errors import Forbidden, NotFound, RecipeUnusable, Unavailable
from edge_agent.recipes.recipe import Recipe
from edge_agent.recipes.recipes import Recipes
from edge_agent.recipes.repositories import Downloads, Folder, Nothing
from edge_agent.recipes.root_recipes import RootRecipes
from edge_agent.roots.root_calls import RootError
from edge_agent.sessions import make_session
from tests.fakes.device_sdk_server import ScriptedServer, answer
from tests.fakes.edge_agent_backends import deployment, service, text_of
from tests.fakes.edge_agent_parts import Clock
from tests.fakes.edge_agent_roots import ROOT
from tests.unit.edge_agent.test_commands import FakeCalls

APP, OWN = UUID(int=5), UUID(int=6)
RECIPE = {"chart": "web", "version": "1.0.0", "values": {"size": 3}, "restricted": True}


class Renderer:
    """Renders every chart alike, and keeps with which values."""

    def __init__(self) -> None:
        self.rendered: list[tuple[str, Any]] = []

    def render(self, chart: Path, _release: str, values: dict[str, Any]) -> str:
        self.rendered.append((chart.name, values))
        return text_of([service("web"), deployment("web")])


class Made:
    def __init__(self, folder: Path, *, own: bool = True, wanted: bool = True) -> None:
        (folder / "recipes").mkdir()
        (folder / "recipes" / f"{OWN}.yaml").write_text("chart: web\nversion: 1.0.0\n")
        (folder / "recipes" / "web-1.0.0.tgz").write_bytes(b"chart")
        self.clock, self.calls, self.renderer = Clock(), FakeCalls(), Renderer()
        downloads = Downloads(folder / "charts", make_session(time.monotonic), self.clock)
        repository = Folder(folder / "recipes", downloads) if own else Nothing()
        source: Callable[[str], Any] = lambda url: self.calls if url == ROOT else None  # noqa: E731
        roots = RootRecipes(source, lambda _url: "token-1", self.clock, downloads, repository)
        self.recipes = Recipes(repository, self.renderer, self.clock, roots if wanted else None)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def test_what_the_cloudlet_does_not_know_is_asked_of_the_root(made: Made) -> None:
    made.calls.script = [RECIPE]
    assert made.recipes.prepare(APP, Order(ROOT)).version == "1.0.0"
    assert made.calls.told == [("GET", f"/api/v1/recipe/{APP}/", None, "token-1")]
    assert made.renderer.rendered == [("web-1.0.0.tgz", {"size": 3})]


def test_its_own_recipes_come_first(made: Made) -> None:
    made.recipes.prepare(OWN, Order(ROOT))
    assert made.calls.told == []


def test_no_device_and_no_operator_who_did_not_ask_for_it_gets_a_roots_recipe(
    made: Made, tmp_path: Path
) -> None:
    with pytest.raises(NotFound):
        made.recipes.prepare(APP)
    (tmp_path / "other").mkdir()
    unwanted = Made(tmp_path / "other", wanted=False)
    with pytest.raises(NotFound):
        unwanted.recipes.prepare(APP, Order(ROOT))
    assert made.calls.told == unwanted.calls.told == []


def test_a_root_is_asked_anew_after_a_while_and_may_be_away_then(made: Made) -> None:
    made.calls.script = [RECIPE]
    for _ in range(3):
        made.recipes.prepare(APP, Order(ROOT))
    assert len(made.calls.told) == 1
    made.clock.seconds += 31
    made.calls.script = [RootError("can't be reached")]
    made.recipes.prepare(APP, Order(ROOT))
    made.calls.script = [{**RECIPE, "values": {}}]
    made.recipes.prepare(APP, Order(ROOT))
    assert [values for _, values in made.renderer.rendered] == [{"size": 3}, {}]


@pytest.mark.parametrize(
    ("status", "error"), [(404, NotFound), (403, Forbidden), (401, Forbidden), (422, RecipeUnusable)]
)
def test_a_refusal_is_told_as_what_it_is(made: Made, status: int, error: type[Exception]) -> None:
    made.calls.script = [RootError("no", status)]
    with pytest.raises(error):
        made.recipes.prepare(APP, Order(ROOT))


def test_a_root_that_is_away_at_first_is_unavailable(made: Made) -> None:
    made.calls.script = [RootError("can't be reached: ConnectTimeout")]
    with pytest.raises(Unavailable, match="ConnectTimeout"):
        made.recipes.prepare(APP, Order(ROOT))


@pytest.mark.parametrize(
    "recipe", [{}, {"chart": "../../etc/passwd", "version": "1"}, {"chart": "web", "version": 7}]
)
def test_a_roots_recipe_is_checked_like_any(made: Made, recipe: Any) -> None:
    made.calls.script = [recipe]
    with pytest.raises(RecipeUnusable):
        made.recipes.prepare(APP, Order(ROOT))
    assert made.renderer.rendered == []


def test_a_cloudlet_without_charts_needs_urls(tmp_path: Path) -> None:
    made = Made(tmp_path, own=False)
    made.calls.script = [RECIPE]
    with pytest.raises(RecipeUnusable, match="must be a URL"):
        made.recipes.prepare(APP, Order(ROOT))


def test_a_charts_url_may_not_lead_into_the_agents_own_network(tmp_path: Path) -> None:
    with ScriptedServer(answer(200, b"chart")) as server:
        recipe = Recipe(f"{server.url}/web", "1.0.0")
        anywhere = Downloads(tmp_path / "a", make_session(time.monotonic), time.monotonic)
        assert anywhere.chart(recipe.chart, recipe)[0].read_bytes() == b"chart"
        asked = len(server.requests)
        public = Downloads(tmp_path / "b", make_session(time.monotonic, public_only=True), time.monotonic)
        for host in (server.url, server.url.replace("127.0.0.1", "localhost")):
            with pytest.raises(Unavailable, match="ConnectionError"):
                public.chart(f"{host}/web", recipe)
        assert len(server.requests) == asked, "nothing was said to it"


def test_charts_do_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.recipes.repositories._KEPT_CHARTS", 3)
    with ScriptedServer(answer(200, b"chart")) as server:
        downloads = Downloads(tmp_path / "charts", make_session(time.monotonic), time.monotonic)
        for number in range(5):
            path, _ = downloads.chart(f"{server.url}/web{number}", Recipe("web", "1"))
            assert path.exists()
    assert len(list((tmp_path / "charts").iterdir())) == 3
