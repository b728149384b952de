"""Recipes from a folder and from a URL."""

from uuid import UUID

import pytest
from chalicelib.accounts.recipes import Recipe, RecipeBook
from chalicelib.errors import InvalidRequest, NotFound, RecipeUnusable, Unavailable

from tests.fakes.cloud_agent import running_agent, send

HELLO = UUID(int=0)
TEXT = b"chart: helloworld\nversion: 0.1.0\ndescription: A page.\nrestricted: false\nvalues: {a: {b: 1}}\n"


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_recipe():
    recipe = Recipe.from_yaml(HELLO, TEXT)
    assert recipe.to_json() == {
        "chart": "helloworld",
        "version": "0.1.0",
        "description": "A page.",
        "values": {"a": {"b": 1}},
        "restricted": False,
    }


def test_what_a_recipe_says_of_its_chart_goes_on_to_cloudlets():
    terms = {
        "digest": "sha256:" + "0" * 64,
        "settable": ["a", {"name": "b.c", "type": "integer", "minimum": 1, "enum": [1, True, "x"]}],
        "limits": {"cpu": "500m", "memory": "1Gi", "pods": 2},
    }
    recipe = Recipe.from_json(HELLO, {"chart": "a", "version": "1", **terms})
    assert {name: recipe.to_json()[name] for name in terms} == terms
    assert Recipe.from_json(HELLO, recipe.to_json()) == recipe


@pytest.mark.parametrize(
    "terms",
    [
        {"digest": "sha256:x"},
        {"digest": None},
        {"settable": "a"},
        {"settable": [1]},
        {"settable": ["a b"]},
        {"settable": ["global.sinfonia.x"]},
        {"settable": ["a", "a.b"]},
        {"settable": [{"name": "a", "type": "object"}]},
        {"settable": [{"name": "a", "enum": [None]}]},
        {"settable": [{"name": "a", "maximum": "9"}]},
        {"limits": []},
        {"limits": {"cpu": "0"}},
        {"limits": {"memory": "many"}},
        {"limits": {"storage": True}},
        {"limits": {"pods": 0}},
    ],
)
def test_terms_that_can_not_be_used_are_refused_where_they_are_written(terms):
    with pytest.raises(InvalidRequest):
        Recipe.from_json(HELLO, {"chart": "a", "version": "1", **terms})


def test_recipes_are_restricted_unless_they_say_otherwise():
    assert Recipe.from_yaml(HELLO, b"chart: a\nversion: '1'").restricted


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"- a",
        b"chart: a",
        b"chart: a\nversion: 1.0",
        b"chart: ''\nversion: '1'",
        b"chart: a\nversion: '1'\nvalues: []",
        b"chart: a\nversion: '1'\nrestricted: maybe",
        b"chart: [",
        b"\xff\xfe\x00",
        b"!!python/object/apply:os.system ['true']",
    ],
)
def test_recipes_that_can_not_be_used(text):
    with pytest.raises(RecipeUnusable):
        Recipe.from_yaml(HELLO, text)


@pytest.mark.parametrize(
    "values", ["{since: 2024-01-01}", "{much: .inf}", "{none: .nan}", "{a: &x [1], b: *x}", "{1: !!set {a}}"]
)
def test_values_that_json_does_not_have(values):
    with pytest.raises(RecipeUnusable):
        Recipe.from_yaml(UUID(int=0), f"chart: c\nversion: '1'\nvalues: {values}\n".encode())


def test_a_recipe_that_is_too_long_is_not_cut(tmp_path):
    long = "chart: c\nversion: '1'\nvalues:\n" + "".join(f"  key{n}: {n}\n" for n in range(30_000))
    (tmp_path / f"{UUID(int=0)}.yaml").write_text(long)
    with pytest.raises(RecipeUnusable, match="bytes"):
        RecipeBook(str(tmp_path), Time()).find(UUID(int=0))


def test_a_folder(tmp_path):
    time = Time()
    book = RecipeBook(str(tmp_path), time)
    with pytest.raises(NotFound):
        book.find(HELLO)
    path = tmp_path / f"{HELLO}.yaml"
    path.write_bytes(TEXT)
    assert book.find(HELLO).version == "0.1.0"
    path.write_bytes(TEXT.replace(b"0.1.0", b"0.2.0"))
    assert book.find(HELLO).version == "0.1.0"
    time.now += 3
    assert book.find(HELLO).version == "0.2.0"


def test_a_folder_that_is_none(tmp_path):
    (tmp_path / f"{HELLO}.yaml").mkdir()
    with pytest.raises(Unavailable):
        RecipeBook(str(tmp_path), Time()).find(HELLO)


def test_a_url():
    time = Time()
    with running_agent(lambda r: send(r, TEXT, kind="text/plain")) as server:
        book = RecipeBook(server.url + "/", time)
        assert book.find(HELLO).chart == "helloworld"
        assert book.find(HELLO).chart == "helloworld"
        assert [path for _, path, _ in server.requests] == [f"/api/v1/deploy/{HELLO}.yaml"]
        server.behave = lambda r: send(r, b"", 404)
        with pytest.raises(NotFound):
            book.find(UUID(int=1))
        server.behave = lambda r: send(r, b"", 500)
        with pytest.raises(Unavailable):
            book.find(UUID(int=1))
        server.behave = lambda r: send(r, b"a" * 300_000)
        with pytest.raises(Unavailable):
            book.find(UUID(int=1))
        server.behave = lambda r: send(r, b"<html>")
        with pytest.raises(RecipeUnusable):
            book.find(UUID(int=1))
    with pytest.raises(Unavailable):
        book.find(UUID(int=2))


def test_a_bounded_number_is_remembered(tmp_path):
    book = RecipeBook(str(tmp_path), Time())
    for number in range(300):
        (tmp_path / f"{UUID(int=number)}.yaml").write_bytes(TEXT)
        book.find(UUID(int=number))
    assert len(book._known) == 256
