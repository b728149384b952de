"""Tenants: who makes them, what they may have, and what is left when they go."""

from uuid import UUID

import pytest
from chalicelib.accounts.admissions import InvitationRequest
from chalicelib.accounts.app_records import AppSettings
from chalicelib.accounts.documents import Document, DocumentKey
from chalicelib.accounts.limits import DeployQuota
from chalicelib.accounts.recipes import Recipe
from chalicelib.accounts.tenants import Quotas, TenantSettings
from chalicelib.accounts.tokens import Scope
from chalicelib.errors import (
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    QuotaExceeded,
    Stale,
    Unauthorized,
    Unavailable,
)

from tests.unit.cloud.accounts import NOW, Accounts


@pytest.fixture
def site(tmp_path):
    return Accounts(tmp_path)


def test_an_operator_makes_a_tenant(site):
    made = site.tenants.put("acme", TenantSettings("Acme", "open", Quotas(apps=3)), by_operator=True)
    assert made == site.tenants.get("acme")
    assert (made.name, made.admission, made.quotas.apps, made.created, made.version) == (
        "Acme",
        "open",
        3,
        NOW,
        1,
    )
    assert made.to_json()["created"] == "2026-11-18T11:06:40Z"
    with pytest.raises(NotFound):
        site.tenants.put("other", TenantSettings(), by_operator=False)


@pytest.mark.parametrize(
    "name",
    ["", "a", "A", "1a", "a_b", "a:b", "a" * 32, "root", "net", "nowhere", "directory", "tenants", "aé"],
)
def test_names_that_no_tenant_has(site, name):
    if name in {"", "root"}:
        assert name == "root" or site.tenants.get("").id == ""
        with pytest.raises((NotFound, InvalidRequest)):
            site.tenants.put("root", TenantSettings(), by_operator=True)
        return
    with pytest.raises(InvalidRequest):
        site.tenants.put(name, TenantSettings(), by_operator=True)


@pytest.mark.parametrize("name", ["root", "A", "x" * 5000, "a/b", "\x00", "tenant#acme"])
def test_what_is_no_name_is_not_looked_up(site, name):
    for call in (site.tenants.get, site.tenants.known):
        with pytest.raises(NotFound):
            call(name)
    assert site.documents.operations == []


def test_only_operators_set_quotas(site):
    site.tenant("acme", apps=3)
    changed = site.tenants.put("acme", TenantSettings("New", "allow-list"), by_operator=False)
    assert (changed.name, changed.admission, changed.quotas.apps) == ("New", "allow-list", 3)
    with pytest.raises(Forbidden):
        site.tenants.put("acme", TenantSettings(quotas=Quotas(apps=4)), by_operator=False)
    site.tenants.put("acme", TenantSettings(quotas=Quotas(apps=3)), by_operator=False)
    assert site.tenants.get("acme").quotas.apps == 3


def test_a_change_of_what_was_changed_is_refused(site):
    site.tenant("acme")
    site.tenants.put("acme", TenantSettings("A"), by_operator=True, version=1)
    with pytest.raises(Stale):
        site.tenants.put("acme", TenantSettings("B"), by_operator=True, version=1)
    with pytest.raises(Stale):
        site.tenants.put("none", TenantSettings(), by_operator=True, version=1)
    assert site.tenants.get("acme").name == "A"


def test_the_root_is_a_tenant_too(site):
    assert site.tenants.get("").admission == "open"
    assert site.tenants.get("").to_json()["id"] == "root"
    site.tenants.put("", TenantSettings(admission="invitation"), by_operator=True)
    assert site.tenants.get("").admission == "invitation"
    with pytest.raises(NotFound):
        site.tenants.get("root")
    with pytest.raises(Forbidden):
        site.tenants.remove("", site.release(""))


def test_what_is_known_may_be_ten_seconds_old(site):
    site.tenant("acme", deploys_per_minute=5)
    other = site.beside()
    assert other.tenants.deploy_quota("acme") == DeployQuota(5, None)
    site.tenants.put("acme", TenantSettings(quotas=Quotas(deploys_per_day=9)), by_operator=True)
    assert site.tenants.deploy_quota("acme") == DeployQuota(None, 9)
    assert other.tenants.deploy_quota("acme") == DeployQuota(5, None)
    site.now += 10
    assert other.tenants.deploy_quota("acme") == DeployQuota(None, 9)


def test_who_is_not_known_is_remembered_too(site):
    for _ in range(3):
        with pytest.raises(NotFound):
            site.tenants.known("nobody")
    assert site.documents.operations == ["read"]


def test_pages(site):
    for name in ("delta", "alpha", "charlie", "bravo"):
        site.tenant(name)
    first, end = site.tenants.page(3, "")
    assert [each.id for each in first] == ["alpha", "bravo", "charlie"]
    assert end == "charlie"
    last, end = site.tenants.page(3, end)
    assert ([each.id for each in last], end) == (["delta"], None)


def furnished(site, name="acme") -> str:
    """A tenant with something of everything; a token of it."""
    site.tenant(name)
    token = site.token(name, Scope.TENANT)
    for number in range(3):
        uuid = UUID(int=number + 100)
        site.apps.put(name, uuid, AppSettings(), by_operator=False)
        site.apps.add_recipe(name, uuid, Recipe(uuid, "c", "1"), use=True)
    site.admissions.invite(name, InvitationRequest())
    site.admissions.allow(name, UUID(int=7), None)
    return token


def test_a_tenant_goes_with_all_that_it_has(site):
    site.tenant("other")
    theirs = site.token("other", Scope.TENANT)
    before = site.documents.everything()
    token = furnished(site)
    site.tenants.remove("acme", site.release("acme"))
    with pytest.raises(NotFound):
        site.tenants.get("acme")
    site.now += 10
    with pytest.raises(Unauthorized):
        site.tokens.identify(token)
    assert site.tokens.identify(theirs).tenant == "other"
    with pytest.raises(NotFound):
        site.book.find(UUID(int=100))
    (left,) = [each for each in site.documents.everything() if each not in before]
    assert left.body == {"removed": True, "created": NOW}
    assert [each.id for each in site.tenants.page(10, "")[0]] == ["other"]


def test_a_removed_name_is_not_given_out_again(site):
    site.tenant("acme")
    site.tenants.remove("acme", site.release("acme"))
    with pytest.raises(Conflict):
        site.tenant("acme")
    with pytest.raises(NotFound):
        site.tenants.remove("acme", site.release("acme"))


def test_a_removal_that_was_cut_short_is_done_again(site):
    furnished(site)
    erase, left = site.documents.erase, [4]

    def failing(key, version=None):
        left[0] -= 1
        if left[0] < 0:
            raise Unavailable("away")
        return erase(key, version)

    site.documents.erase = failing
    for _ in range(20):
        try:
            site.tenants.remove("acme", site.release("acme"))
            break
        except Unavailable:
            left[0] = 4
    assert [each.key.partition for each in site.documents.everything()] == ["tenants"]


def test_never_more_than_the_quota_stay(site):
    site.tenant("acme")
    keys = [DocumentKey("tenant#acme", f"app#{number}") for number in range(5)]
    for key in keys[:3]:
        assert site.tenants.claim("acme", Document(key, {}), 3)
    assert not site.tenants.claim("acme", Document(keys[0], {}), 3), "what is there does not count again"
    with pytest.raises(QuotaExceeded, match="may have 3"):
        site.tenants.claim("acme", Document(keys[3], {}), 3)
    assert site.documents.count("tenant#acme", "app#") == 3


def test_quotas_in_json():
    assert Quotas.from_json({}) == Quotas()
    assert Quotas.from_json(Quotas(apps=1, deploys_per_day=5).to_json()) == Quotas(apps=1, deploys_per_day=5)
    for wrong in (
        {"apps": -1},
        {"apps": 1e9},
        {"recipes": 1001},
        {"deploys_per_day": 0},
        {"tokens": None},
        [],
        None,
    ):
        with pytest.raises(InvalidRequest):
            Quotas.from_json(wrong)
