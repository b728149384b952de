"""Values that callers set: what a recipe can allow, and what is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from edge_agent.recipes.settable import merged, read_settable

LISTED = [
    "greeting",
    {"name": "game.level", "type": "integer", "minimum": 1, "maximum": 9},
    {"name": "size", "enum": ["small", "large"]},
    {"name": "game.speed", "type": "number", "minimum": 0},
    {"name": "loud", "type": "boolean"},
]


def test_later_values_win_and_the_others_stay() -> None:
    recipe = {"greeting": "Hello", "game": {"level": 1, "maps": ["a"]}, "secret": "s"}
    given = {"game": {"level": 3, "speed": 0.5}, "size": "large", "loud": True}
    assert merged(recipe, read_settable(LISTED), given) == {
        "greeting": "Hello",
        "game": {"level": 3, "speed": 0.5, "maps": ["a"]},
        "secret": "s",
        "size": "large",
        "loud": True,
    }
    assert recipe["game"] == {"level": 1, "maps": ["a"]}


def test_a_value_takes_the_place_of_what_was_no_object() -> None:
    assert merged({"game": 7}, read_settable(LISTED), {"game": {"level": 2}}) == {"game": {"level": 2}}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"secret": "x"}, "values.secret: callers can't set it; the recipe lets them set greeting"),
        ({"game": {"maps": ["x"]}}, "values.game.maps: callers can't"),
        ({"game": 1}, "values.game: callers can't"),
        ({"game": {}}, "values.game: callers can't"),
        ({"game.level": {"x": 1}}, "values.game.level.x: callers can't"),
        ({"greeting": {"x": 1}}, "values.greeting.x: callers can't"),
        ({"greeting": ["x"]}, "values.greeting: must be one line"),
        ({"greeting": None}, "values.greeting: must be one line"),
        ({"greeting": "a\nimage: evil"}, "values.greeting: must be one line"),
        ({"greeting": "{{ .Values.secret }}"}, "values.greeting: must be one line"),
        ({"greeting": "x" * 257}, "values.greeting: must be one line"),
        ({"game": {"level": 10}}, "values.game.level: must be from 1 to 9"),
        ({"game": {"level": 1.5}}, "must be an integer"),
        ({"game": {"level": True}}, "must be an integer"),
        ({"game": {"level": "1"}}, "must be an integer"),
        ({"game": {"speed": -1}}, "must be from 0"),
        ({"game": {"speed": 10**400}}, "must be a number"),
        ({"size": "huge"}, "must be one of small, large"),
        ({"loud": 1}, "must be true or false"),
        ({"global": {"sinfonia": {"cloudlet": {}}}}, "values.global.sinfonia.cloudlet: callers can't"),
    ],
)
def test_what_callers_may_not_set(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        merged({}, read_settable(LISTED), given)
    assert words in str(caught.value)


def test_a_recipe_that_lists_nothing_lets_nothing_be_set() -> None:
    assert merged({"a": 1}, (), {}) == {"a": 1}
    with pytest.raises(ValueError, match="lets them set nothing"):
        merged({"a": 1}, (), {"a": 2})


@pytest.mark.parametrize(
    "settable",
    [
        "greeting",
        [1],
        [{}],
        [{"name": 1}],
        ["a..b"],
        ["a b"],
        ["global.sinfonia"],
        ["global.sinfonia.cloudlet.name"],
        [{"name": "a", "type": "object"}],
        [{"name": "a", "enum": "x"}],
        [{"name": "a", "enum": [["x"]]}],
        [{"name": "a", "type": "integer", "minimum": "1"}],
        ["a", "a"],
        ["a", "a.b"],
        [f"a{n}" for n in range(65)],
    ],
)
def test_lists_that_are_none(settable: Any) -> None:
    with pytest.raises(ValueError, match="settable"):
        read_settable(settable)
