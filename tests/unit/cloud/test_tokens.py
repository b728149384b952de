"""Tokens: made once, kept as hashes, for one purpose, until they are revoked or end."""

import re

import pytest
from chalicelib.accounts.tokens import FRESH_SECONDS, Identity, Scope, TokenRequest
from chalicelib.errors import InvalidRequest, NotFound, QuotaExceeded, Unauthorized, Unavailable
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cloud.accounts import Accounts


@pytest.fixture
def site(tmp_path):
    made = Accounts(tmp_path)
    made.tenant("acme")
    return made


@pytest.mark.parametrize(
    ("tenant", "scope"),
    [("", Scope.OPERATOR), ("", Scope.DEPLOY), ("acme", Scope.TENANT), ("acme", Scope.DEPLOY)],
)
def test_a_token_says_who_shows_it(site, tenant, scope):
    text = site.token(tenant, scope)
    assert re.fullmatch(r"sf_(acme\.)?[0-9a-f]{16}_[A-Za-z0-9_-]{43}", text)
    assert site.tokens.identify(text) == Identity(tenant, scope)
    assert site.beside().tokens.identify(text) == Identity(tenant, scope)


@pytest.mark.parametrize(("tenant", "scope"), [("", Scope.TENANT), ("acme", Scope.OPERATOR)])
def test_scopes_that_do_not_fit(site, tenant, scope):
    with pytest.raises(InvalidRequest):
        site.token(tenant, scope)


def test_what_each_scope_may():
    operator, tenant = Identity("", Scope.OPERATOR), Identity("acme", Scope.TENANT)
    deployer, own = Identity("acme", Scope.DEPLOY), Identity("", Scope.DEPLOY)
    assert [each.may_manage("acme") for each in (operator, tenant, deployer, own)] == [
        True,
        True,
        False,
        False,
    ]
    assert [each.may_manage("other") for each in (operator, tenant, deployer, own)] == [
        True,
        False,
        False,
        False,
    ]
    assert [each.may_manage("") for each in (operator, tenant, deployer, own)] == [True, False, False, False]
    assert [each.may_deploy("acme") for each in (operator, tenant, deployer, own)] == [
        True,
        True,
        True,
        False,
    ]
    assert [each.may_deploy("") for each in (operator, tenant, deployer, own)] == [True, False, False, True]


def test_the_secret_is_kept_nowhere(site):
    text = site.token("acme", Scope.TENANT)
    site.tokens.identify(text)
    secret = text.rpartition("_")[2] if "_" not in text[-43:] else text[-43:]
    assert secret not in repr(site.documents.everything())
    assert secret not in repr(vars(site.tokens._cache))
    (shown,), _ = site.tokens.page("acme", 10, "")
    assert set(shown.to_json()) == {"id", "scope", "created"}
    assert shown.id in text


def test_wrong_ones(site):
    text = site.token("acme", Scope.TENANT)
    for wrong in (
        *(None, "", "x", "sf_", text[:-1], text + "A", text.upper(), text.replace("acme", "other")),
        *(text.replace("acme.", ""), text[:-1] + ("A" if text[-1] != "A" else "B"), "sf_é", text + "\n"),
        *("sf_acme.0000000000000000_" + text[-43:], "Bearer " + text, "x" * 10_000),
    ):
        with pytest.raises(Unauthorized):
            site.tokens.identify(wrong)
    assert site.tokens.identify(text)


@given(st.text(max_size=80))
def test_nothing_else_is_a_token(tmp_path_factory, text):
    with pytest.raises(Unauthorized):
        Accounts(tmp_path_factory.getbasetemp()).tokens.identify(text)


def test_a_revoked_one_ends_at_once_here_and_soon_elsewhere(site):
    text = site.token("acme", Scope.TENANT)
    other = site.beside()
    assert site.tokens.identify(text)
    assert other.tokens.identify(text)
    (token,), _ = site.tokens.page("acme", 10, "")
    site.tokens.revoke("acme", token.id)
    with pytest.raises(Unauthorized):
        site.tokens.identify(text)
    assert other.tokens.identify(text)
    site.now += FRESH_SECONDS
    with pytest.raises(Unauthorized):
        other.tokens.identify(text)
    with pytest.raises(NotFound):
        site.tokens.revoke("acme", token.id)


@pytest.mark.parametrize("number", ["", "0" * 16, "x", "../0f3a9c1d2e4b5f60", "0f3a9c1d2e4b5f60" * 9])
def test_revoking_what_is_not_there(site, number):
    with pytest.raises(NotFound):
        site.tokens.revoke("acme", number)


def test_nobody_revokes_another_tenants(site):
    site.tenant("other")
    text = site.token("acme", Scope.TENANT)
    (token,), _ = site.tokens.page("acme", 10, "")
    with pytest.raises(NotFound):
        site.tokens.revoke("other", token.id)
    assert site.tokens.identify(text)


def test_it_may_end_by_itself(site):
    text = site.token("acme", Scope.DEPLOY, seconds=60)
    site.now += 59
    assert site.tokens.identify(text)
    site.now += 1
    with pytest.raises(Unauthorized):
        site.beside().tokens.identify(text)
    with pytest.raises(Unauthorized):
        site.tokens.identify(text)


def test_looking_up_costs_one_read_in_ten_seconds(site):
    text = site.token("acme", Scope.TENANT)
    site.documents.operations.clear()
    for _ in range(50):
        site.tokens.identify(text)
    assert site.documents.operations == ["read"]


def test_a_flood_of_wrong_ones_evicts_nobody(site):
    text = site.token("acme", Scope.TENANT)
    site.tokens.identify(text)
    for number in range(6000):
        with pytest.raises(Unauthorized):
            site.tokens.identify(f"sf_acme.{number:016x}_{'A' * 43}")
    site.documents.operations.clear()
    site.tokens.identify(text)
    assert site.documents.operations == []


def test_the_table_being_away_is_not_a_wrong_token(site):
    text = site.token("acme", Scope.TENANT)
    site.documents.away = True
    with pytest.raises(Unavailable):
        site.tokens.identify(text)
    site.documents.away = False
    assert site.tokens.identify(text)


def test_the_quota(site):
    site.tenant("small", tokens=2)
    for _ in range(2):
        site.token("small", Scope.DEPLOY)
    with pytest.raises(QuotaExceeded):
        site.token("small", Scope.DEPLOY)
    assert len(site.tokens.page("small", 10, "")[0]) == 2


def test_pages(site):
    made = sorted(site.token("acme", Scope.DEPLOY, name=str(number))[8:24] for number in range(5))
    seen, after = [], ""
    while after is not None:
        tokens, after = site.tokens.page("acme", 2, after)
        seen += [each.id for each in tokens]
    assert seen == made


def test_requests():
    assert TokenRequest.from_json({"scope": "deploy", "name": "x", "valid_seconds": 60}) == TokenRequest(
        Scope.DEPLOY, "x", 60
    )
    for wrong in ({}, {"scope": "root"}, {"scope": ["deploy"]}, {"scope": "deploy", "valid_seconds": 59}, []):
        with pytest.raises(InvalidRequest):
            TokenRequest.from_json(wrong)
