"""Where charts may come from, what is kept of them on disk, and what happens when it is damaged."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest

from edge_agent.errors import NotFound, RecipeUnusable, Unavailable
from edge_agent.recipes.kept import KeptRecipes, store
from edge_agent.recipes.recipe import Recipe
from edge_agent.recipes.repositories import Downloads
from edge_agent.recipes.sources import ANYWHERE, Sources
from edge_agent.sessions import make_session
from tests.fakes.edge_agent_backends import HELLOWORLD
from tests.fakes.edge_agent_parts import Clock
from tests.unit.edge_agent.test_recipes import Shelf, shelf

__all__ = ["shelf"]

PREFIX = "https://charts.example/stable"


@pytest.mark.parametrize(
    "url",
    [
        f"{PREFIX}/web-1.tgz",
        f"{PREFIX}/deep/er/web-1.tgz",
        "HTTPS://CHARTS.example:443/stable/web-1.tgz",
    ],
)
def test_charts_from_below_an_allowed_url(url: str) -> None:
    Sources([PREFIX]).check(url)
    Sources(["https://other.example", f"{PREFIX}/"]).check(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://charts.example/stable/web-1.tgz",
        "https://charts.example/stable-not/web-1.tgz",
        "https://charts.example/web-1.tgz",
        "https://charts.example:444/stable/web-1.tgz",
        "https://charts.example.evil/stable/web-1.tgz",
        "https://charts.example@evil.example/stable/web-1.tgz",
        "https://charts.example/stable/../web-1.tgz",
        "https://charts.example/stable/%2e%2e/web-1.tgz",
        "https://charts.example\\@evil.example/stable/web-1.tgz",
        "https://charts.example:x/stable/web-1.tgz",
        "https:///stable/web-1.tgz",
    ],
)
def test_charts_from_elsewhere(url: str) -> None:
    with pytest.raises(RecipeUnusable):
        Sources([PREFIX]).check(url)


def test_roots_charts_come_encrypted_unless_the_operator_says_otherwise() -> None:
    ANYWHERE.check("http://192.0.2.1/web-1.tgz")
    Sources(encrypted=True).check("https://x.example/web-1.tgz")
    with pytest.raises(RecipeUnusable, match="https"):
        Sources(encrypted=True).check("http://x.example/web-1.tgz")
    Sources(["http://x.example"], encrypted=True).check("http://x.example/web-1.tgz")


def downloads(tmp_path: Path, sources: Sources = ANYWHERE) -> Downloads:
    return Downloads(tmp_path / "charts", make_session(time.monotonic), Clock(), sources)


def test_a_chart_from_elsewhere_is_not_even_asked_for(tmp_path: Path, shelf: Shelf) -> None:
    recipe = Recipe(f"{shelf.url}/web", "1")
    with pytest.raises(RecipeUnusable, match="--allow-charts"):
        downloads(tmp_path, Sources([PREFIX])).chart(recipe.chart, recipe)
    assert shelf.asked == []


def test_a_cached_chart_whose_digest_is_wrong_is_fetched_again(tmp_path: Path, shelf: Shelf) -> None:
    shelf.files["/repo/web-1.tgz"] = (200, b"good")
    recipe = Recipe(f"{shelf.url}/web", "1", digest=f"sha256:{hashlib.sha256(b'good').hexdigest()}")
    source = downloads(tmp_path)
    path, _ = source.chart(recipe.chart, recipe)
    source.chart(recipe.chart, recipe)
    assert shelf.asked == ["/repo/web-1.tgz"]
    path.write_bytes(b"rotten")
    assert source.chart(recipe.chart, recipe)[0].read_bytes() == b"good"
    shelf.files["/repo/web-1.tgz"] = (200, b"forged")
    path.write_bytes(b"rotten")
    with pytest.raises(RecipeUnusable, match="another digest"):
        source.chart(recipe.chart, recipe)


def test_the_last_known_recipe_serves_after_a_restart_too(tmp_path: Path, shelf: Shelf) -> None:
    path = f"/repo/{HELLOWORLD}.yaml"
    shelf.files[path] = (200, b"chart: web")
    assert downloads(tmp_path).recipe(f"{shelf.url}/{HELLOWORLD}.yaml") == b"chart: web"
    shelf.files[path] = (503, b"")
    assert downloads(tmp_path).recipe(f"{shelf.url}/{HELLOWORLD}.yaml") == b"chart: web"
    shelf.files[path] = (404, b"")
    with pytest.raises(NotFound):
        downloads(tmp_path).recipe(f"{shelf.url}/{HELLOWORLD}.yaml")
    shelf.files[path] = (503, b"")
    with pytest.raises(Unavailable):
        downloads(tmp_path).recipe(f"{shelf.url}/{HELLOWORLD}.yaml")


def test_what_is_kept_is_bounded_and_whole(tmp_path: Path) -> None:
    for number in range(5):
        store(tmp_path / f"{number}.tgz", b"x", 3)
    assert len(list(tmp_path.glob("*"))) == 3
    assert (tmp_path / "4.tgz").exists()
    (tmp_path / "full").write_text("a file where a folder should be")
    with pytest.raises(Unavailable):
        store(tmp_path / "full" / "x.tgz", b"x", 3)
    kept = KeptRecipes(tmp_path / "full")
    kept.put("x", b"y")
    kept.drop("x")
    assert kept.get("x") is None
