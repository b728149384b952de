"""Apps: where they are found, and what is remembered of them."""

from dataclasses import replace
from uuid import UUID

import pytest
from chalicelib.accounts.app_records import AppRecord, AppSettings, recipe_key
from chalicelib.accounts.apps import App, AppBook
from chalicelib.accounts.documents import Document
from chalicelib.accounts.recipes import Recipe, RecipeBook
from chalicelib.choosing.requirements import Requirements
from chalicelib.errors import NotFound, RecipeUnusable, Unavailable

from tests.fakes.cloud_documents import FakeDocuments

HELLO, OTHER = UUID(int=0), UUID(int=1)


class Site:
    def __init__(self, folder) -> None:
        self.folder = folder
        self.documents = FakeDocuments()
        self.now = 0.0
        self.book = AppBook(RecipeBook(str(folder), self.clock), self.documents, self.clock)

    def clock(self) -> float:
        return self.now

    def in_folder(self, uuid: UUID, text="chart: c\nversion: '1'\n") -> None:
        (self.folder / f"{uuid}.yaml").write_text(text)

    def kept(self, uuid: UUID, tenant="acme", version=0, **settings) -> AppRecord:
        record = AppRecord(uuid, tenant, AppSettings(**{"recipe": 1, **settings}), version=version)
        self.documents.write(record.to_document())
        recipe = Recipe(uuid, "tenants", "2")
        self.documents.write(Document(recipe_key(tenant, uuid, 1), {"recipe": recipe.to_json()}))
        return record


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def test_an_app_of_the_folder_is_the_roots_own(site):
    site.in_folder(HELLO)
    app = site.book.find(HELLO)
    assert app == App(HELLO, app.recipe)
    assert (app.tenant, app.recipe.chart) == ("", "c")


def test_a_tenants_app_comes_first(site):
    site.in_folder(HELLO)
    wishes = {
        "matchers": ("load",),
        "requirements": Requirements(gpu=True),
        "uses_shared": False,
        "token_required": True,
        "deploys_per_minute": 7,
    }
    site.kept(HELLO, **wishes)
    assert site.book.find(HELLO) == App(HELLO, Recipe(HELLO, "tenants", "2"), "acme", **wishes)


def test_what_was_found_is_remembered_for_ten_seconds(site):
    site.kept(HELLO)
    for _ in range(5):
        site.book.find(HELLO)
    assert site.documents.operations.count("read") == 2
    site.kept(HELLO, version=1, deploys_per_minute=7)
    assert site.book.find(HELLO).deploys_per_minute is None
    site.now += 10
    assert site.book.find(HELLO).deploys_per_minute == 7


def test_what_was_changed_here_is_looked_up_anew(site):
    site.kept(HELLO)
    site.book.find(HELLO)
    site.kept(HELLO, version=1, deploys_per_minute=7)
    site.book.forget(HELLO)
    assert site.book.find(HELLO).deploys_per_minute == 7


def test_what_is_not_there_is_remembered_too(site):
    for _ in range(5):
        with pytest.raises(NotFound, match="no recipe"):
            site.book.find(HELLO)
    assert site.documents.operations == ["read"]
    site.in_folder(HELLO)
    site.now += 5
    assert site.book.find(HELLO).recipe.chart == "c"


def test_an_app_without_a_recipe(site):
    site.kept(HELLO, recipe=None)
    with pytest.raises(NotFound, match="no recipe yet"):
        site.book.find(HELLO)


def test_a_recipe_that_vanished(site):
    record = site.kept(HELLO)
    site.documents.write(replace(record, settings=AppSettings(recipe=9), version=1).to_document())
    with pytest.raises(NotFound):
        site.book.find(HELLO)


def test_failures_are_not_remembered(site):
    site.in_folder(HELLO)
    site.documents.away = True
    with pytest.raises(Unavailable):
        site.book.find(HELLO)
    site.documents.away = False
    assert site.book.find(HELLO).recipe.chart == "c"
    site.in_folder(OTHER, "chart: [")
    with pytest.raises(RecipeUnusable):
        site.book.find(OTHER)
    site.in_folder(OTHER)
    assert site.book.find(OTHER).recipe.chart == "c"


def test_a_flood_of_unknown_apps_evicts_nobody(site):
    site.kept(HELLO)
    site.book.find(HELLO)
    site.documents.operations.clear()
    for number in range(100, 1000):
        with pytest.raises(NotFound):
            site.book.find(UUID(int=number))
    assert len(site.documents.operations) == 900
    site.book.find(HELLO)
    assert len(site.documents.operations) == 900


def test_one_tenants_many_apps_evict_its_own(site):
    site.kept(HELLO)
    for number in range(100, 500):
        site.kept(UUID(int=number), "greedy")
    site.book.find(HELLO)
    for number in range(100, 500):
        site.book.find(UUID(int=number))
    site.documents.operations.clear()
    site.book.find(HELLO)
    assert site.documents.operations == []
