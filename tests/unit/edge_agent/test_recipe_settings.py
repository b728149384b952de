"""What an operator can set about recipes: defaults, checks that say what to do, and what `all` is."""

from __future__ import annotations

import argparse
import uuid
from pathlib import Path

import pytest

from edge_agent.errors import SettingsError
from edge_agent.recipes.limits import STANDARD, Limits
from edge_agent.recipes.recipe_settings import RecipeSettings, add_options

APP = uuid.UUID(int=5)


def settings(*words: str, recipes: str | None = None) -> RecipeSettings:
    parser = argparse.ArgumentParser()
    parser.add_argument("--recipes", default=recipes)
    add_options(parser)
    return RecipeSettings.from_arguments(parser.parse_args(words))


def test_defaults() -> None:
    made = settings()
    assert made == RecipeSettings()
    assert (made.ceiling, list(made.wanted(None))) == (STANDARD, [])


def test_a_ceiling_is_made_of_what_is_given() -> None:
    made = settings("--max-cpu", "500m", "--max-memory", "1Gi", "--max-pods", "3")
    assert made.ceiling == Limits(500, 1 << 30, 3, STANDARD.storage_bytes)


def test_all_are_those_that_lie_in_the_folder_now(tmp_path: Path) -> None:
    made = settings("--prefetch", "all", "--prefetch", str(uuid.UUID(int=9)), recipes=str(tmp_path))
    (tmp_path / f"{APP}.yaml").write_text("chart: a")
    (tmp_path / "notes.yaml").write_text("x")
    assert list(made.wanted(str(tmp_path))) == [uuid.UUID(int=9), APP]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--prefetch", "x"), "must be an app's UUID"),
        (("--prefetch", "all"), "needs --recipes DIR"),
        (("--max-cpu", "many"), "--max-cpu many: must be above 0"),
        (("--max-memory", "0"), "--max-memory 0"),
        (("--max-pods", "1.5"), "--max-pods"),
        (("--max-pods", "100000"), "--max-pods"),
        (("--allow-charts", "charts.example"), "plain http(s) URL"),
        (("--allow-charts", "https://u:p@charts.example"), "plain http(s) URL"),
        (("--allow-charts", "https://charts.example/a/../b"), "plain http(s) URL"),
        (("--allow-charts", "https://charts.example:x"), "plain http(s) URL"),
    ],
)
def test_what_cannot_be_set(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(*words)
    assert said in str(caught.value)
