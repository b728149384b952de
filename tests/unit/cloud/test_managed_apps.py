"""What tenants do with their apps, also at once, also cut short."""

import threading
from dataclasses import replace
from uuid import UUID

import pytest
from chalicelib.accounts.app_records import AppSettings
from chalicelib.accounts.recipes import Recipe
from chalicelib.choosing.requirements import Requirements
from chalicelib.errors import (
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    QuotaExceeded,
    Stale,
    Unavailable,
)

from tests.unit.cloud.accounts import NOW, Accounts

MAZE, HELLO, OTHER = UUID(int=0x6F1C), UUID(int=0), UUID(int=0x2222)
RECIPE = Recipe(MAZE, "https://charts.example.com/maze", "1.0", values={"é": [1, {"deep": None}]})
LAMBDA = "lambda:arn:aws:lambda:eu-central-1:123456789012:function:sinfonia-matcher-maze"


@pytest.fixture
def site(tmp_path):
    made = Accounts(tmp_path)
    made.tenant("acme")
    made.tenant("other")
    return made


def put(site, uuid=MAZE, tenant="acme", by_operator=False, version=None, **settings):
    return site.apps.put(tenant, uuid, AppSettings(**settings), by_operator=by_operator, version=version)


def test_an_apps_values_are_kept_and_known_to_deploys(site):
    put(site, values={"greeting": "Hi"})
    site.apps.add_recipe("acme", MAZE, RECIPE, use=True)
    assert site.book.find(MAZE).values == {"greeting": "Hi"}
    assert site.apps.get("acme", MAZE).to_json()["values"] == {"greeting": "Hi"}


def test_from_a_claim_to_a_deployable_app(site):
    made = put(site, name="maze", uses_shared=False, requirements=Requirements(gpu=True))
    assert (made.version, made.created, made.settings.recipe) == (1, NOW, None)
    with pytest.raises(NotFound, match="no recipe yet"):
        site.book.find(MAZE)
    assert site.apps.add_recipe("acme", MAZE, RECIPE, use=True) == 1
    app = site.book.find(MAZE)
    assert (app.recipe, app.tenant, app.uses_shared, app.requirements.gpu) == (RECIPE, "acme", False, True)
    assert site.apps.get("acme", MAZE).versions_json() == [
        {"number": 1, "created": "2026-11-18T11:06:40Z", "deployed": True}
    ]


def test_versions_never_change_and_may_be_gone_back_to(site):
    put(site)
    newer = replace(RECIPE, version="2.0")
    assert [site.apps.add_recipe("acme", MAZE, each, use=True) for each in (RECIPE, newer)] == [1, 2]
    assert site.apps.add_recipe("acme", MAZE, replace(RECIPE, version="3.0"), use=False) == 3
    assert site.book.find(MAZE).recipe.version == "2.0"
    put(site, recipe=1)
    assert site.book.find(MAZE).recipe.version == "1.0"
    put(site, name="other settings")
    assert site.apps.get("acme", MAZE).settings.recipe == 1, "the recipe stays where it is not named"
    assert site.apps.recipe("acme", MAZE, 2) == newer
    with pytest.raises(InvalidRequest, match="no version 4"):
        put(site, recipe=4)


def test_versions_are_removed_and_their_numbers_not_given_out_again(site):
    put(site)
    for _ in range(3):
        site.apps.add_recipe("acme", MAZE, RECIPE, use=True)
    with pytest.raises(Conflict, match="deployed"):
        site.apps.remove_recipe("acme", MAZE, 3)
    site.apps.remove_recipe("acme", MAZE, 2)
    for number in (2, 4, 0):
        with pytest.raises(NotFound):
            site.apps.remove_recipe("acme", MAZE, number)
        with pytest.raises(NotFound):
            site.apps.recipe("acme", MAZE, number)
    assert site.apps.add_recipe("acme", MAZE, RECIPE, use=False) == 4


def test_two_tenants_never_have_one_uuid(site):
    put(site)
    with pytest.raises(Conflict, match="taken"):
        put(site, tenant="other")
    assert site.apps.page("other", 10, "") == ([], None)
    assert site.documents.count("tenant#other", "app#") == 0, "what was refused does not count"


def test_of_tenants_that_claim_at_once_one_has_it(tmp_path):
    for _ in range(20):
        site = Accounts(tmp_path)
        names = [f"tenant-{number}" for number in range(6)]
        for name in names:
            site.tenant(name, apps=1)
        won, barrier = [], threading.Barrier(len(names))

        def claim(name, site=site, won=won, barrier=barrier):
            barrier.wait()
            try:
                put(site, tenant=name)
                won.append(name)
            except Conflict:
                pass

        threads = [threading.Thread(target=claim, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (winner,) = won
        for name in names:
            assert [each.uuid for each in site.apps.page(name, 10, "")[0]] == (
                [MAZE] if name == winner else []
            )


def test_of_a_tenants_own_claims_at_once_all_see_one_app(tmp_path):
    for _ in range(20):
        site = Accounts(tmp_path)
        site.tenant("acme")
        barrier, refused = threading.Barrier(6), []

        def claim(site=site, barrier=barrier, refused=refused):
            barrier.wait()
            try:
                put(site)
            except Stale as error:
                refused.append(error)

        threads = [threading.Thread(target=claim) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(refused) < 6
        assert [each.uuid for each in site.apps.page("acme", 10, "")[0]] == [MAZE]


def test_the_roots_own_apps_are_nobodys_to_claim(site):
    (site.folder / f"{HELLO}.yaml").write_text("chart: c\nversion: '1'\n")
    (site.folder / f"{OTHER}.yaml").write_text("chart: [")
    for uuid in (HELLO, OTHER):
        with pytest.raises(Conflict):
            put(site, uuid)
    put(site, HELLO, tenant="", by_operator=True)
    assert site.apps.get("", HELLO).tenant == ""


def test_another_tenants_app_is_not_there(site):
    put(site)
    site.apps.add_recipe("acme", MAZE, RECIPE, use=True)
    for call in (
        lambda: site.apps.get("other", MAZE),
        lambda: site.apps.remove("other", MAZE),
        lambda: site.apps.recipe("other", MAZE, 1),
        lambda: site.apps.remove_recipe("other", MAZE, 1),
        lambda: site.apps.add_recipe("other", MAZE, RECIPE, use=True),
    ):
        with pytest.raises(NotFound):
            call()
    site.apps.release("other", MAZE)
    assert site.book.find(MAZE).tenant == "acme"


def test_an_app_is_given_up_and_claimed_by_another(site):
    put(site, token_required=True)
    site.apps.add_recipe("acme", MAZE, RECIPE, use=True)
    site.apps.remove("acme", MAZE)
    with pytest.raises(NotFound):
        site.book.find(MAZE)
    assert [each.key.partition for each in site.documents.everything()] == ["tenants", "tenants"]
    put(site, tenant="other")
    with pytest.raises(NotFound, match="no recipe yet"):
        site.book.find(MAZE)
    assert site.apps.add_recipe("other", MAZE, RECIPE, use=True) == 1
    assert (site.book.find(MAZE).tenant, site.book.find(MAZE).token_required) == ("other", False)


def test_a_removal_that_was_cut_short_is_done_again(site):
    for cut in range(6):
        put(site)
        for _ in range(3):
            site.apps.add_recipe("acme", MAZE, RECIPE, use=True)
        erase, left = site.documents.erase, [cut]

        def failing(key, version=None, erase=erase, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise Unavailable("away")
            return erase(key, version)

        site.documents.erase = failing
        try:
            site.apps.remove("acme", MAZE)
        except Unavailable:
            site.documents.erase = erase
            site.apps.remove("acme", MAZE)
        site.documents.erase = erase
        assert [each.key.partition for each in site.documents.everything()] == ["tenants", "tenants"]


def test_what_a_removal_left_is_written_over(site):
    """The claim went, a recipe stayed: the same number is given out again, with the new recipe behind it."""
    put(site)
    site.apps.add_recipe("acme", MAZE, RECIPE, use=True)
    kept = [each for each in site.documents.everything() if each.key.name.startswith("recipe#")]
    site.apps.remove("acme", MAZE)
    for document in kept:
        site.documents.write(replace(document, version=0))
    put(site)
    newer = replace(RECIPE, version="2.0")
    assert site.apps.add_recipe("acme", MAZE, newer, use=True) == 1
    assert site.book.find(MAZE).recipe == newer


def test_recipes_added_at_once_have_numbers_of_their_own(site):
    site.tenant("busy", recipes=100)
    put(site, tenant="busy")
    numbers, barrier = [], threading.Barrier(4)

    def add() -> None:
        barrier.wait()
        for _ in range(5):
            while True:
                try:
                    numbers.append(site.apps.add_recipe("busy", MAZE, RECIPE, use=True))
                    break
                except Stale:
                    continue

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    record = site.apps.get("busy", MAZE)
    assert len(set(numbers)) == 20
    assert set(numbers) <= set(record.numbers)
    assert record.settings.recipe == max(record.numbers)
    for number in record.numbers:
        assert site.apps.recipe("busy", MAZE, number) == RECIPE


def test_quotas(site):
    site.tenant("small", apps=2, recipes=2)
    put(site, UUID(int=1), "small")
    put(site, UUID(int=2), "small")
    with pytest.raises(QuotaExceeded):
        put(site, UUID(int=3), "small")
    put(site, UUID(int=2), "small", name="again")
    for _ in range(2):
        site.apps.add_recipe("small", UUID(int=1), RECIPE, use=True)
    with pytest.raises(QuotaExceeded):
        site.apps.add_recipe("small", UUID(int=1), RECIPE, use=True)
    site.apps.remove("small", UUID(int=2))
    put(site, UUID(int=3), "small")


def test_a_change_of_what_was_changed_is_refused(site):
    put(site)
    put(site, version=1, name="a")
    for version in (0, 1, 3):
        with pytest.raises(Stale):
            put(site, version=version, name="b")
    with pytest.raises(Stale):
        put(site, OTHER, version=1)
    assert put(site, OTHER, version=0).version == 1


def test_only_operators_name_lambda_functions(site):
    with pytest.raises(Forbidden):
        put(site, matchers=(LAMBDA,))
    put(site, matchers=(LAMBDA,), by_operator=True)
    put(site, matchers=(LAMBDA,), name="kept")
    put(site, matchers=("https://matcher.example.com/",))
    with pytest.raises(Forbidden):
        put(site, matchers=(LAMBDA,))


def test_pages(site):
    for number in range(5):
        put(site, UUID(int=number + 1))
    seen, after = [], ""
    while after is not None:
        records, after = site.apps.page("acme", 2, after)
        seen += [each.uuid.int for each in records]
    assert seen == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"name": "maze", "recipe": 7, "deploys_per_minute": 5, "token_required": True, "uses_shared": False},
        {"matchers": ["network", "load"], "requirements": {"trust": "listed", "jurisdictions": ["US-PA"]}},
        {"matchers": [LAMBDA]},
    ],
)
def test_settings_come_back(settings):
    read = AppSettings.from_json(settings)
    assert AppSettings.from_json(read.to_json()) == AppSettings.from_kept(read.to_json()) == read


def test_a_matcher_that_is_gone_does_not_take_its_apps_with_it():
    kept = AppSettings(matchers=("was-installed",)).to_json()
    assert AppSettings.from_kept(kept).matchers == ("was-installed",)
    with pytest.raises(InvalidRequest):
        AppSettings.from_json(kept)
