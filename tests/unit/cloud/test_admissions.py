"""Invitations and allow lists, and what `fleet/admission.py` makes of them."""

import re
import threading
from uuid import UUID, uuid4

import pytest
from chalicelib.accounts.admissions import InvitationRequest
from chalicelib.accounts.tenants import TenantSettings
from chalicelib.errors import Forbidden, InvalidRequest, NotFound, QuotaExceeded
from chalicelib.fleet.admission import ALLOW_LIST, INVITATION, OPEN, Admission, Applicant
from chalicelib.fleet.cloudlets import Trust

from tests.unit.cloud.accounts import Accounts

HERE, THERE = UUID(int=1), UUID(int=2)


@pytest.fixture
def site(tmp_path):
    made = Accounts(tmp_path)
    made.tenant("acme")
    made.tenant("other")
    return made


def invite(site, tenant="acme", **wishes) -> str:
    return site.admissions.invite(tenant, InvitationRequest(**wishes))["code"]


def test_an_invitation_is_for_one_cloudlet(site):
    code = invite(site, name="corner shop")
    assert re.fullmatch(r"si_[0-9a-f]{16}_[A-Za-z0-9_-]{32}", code)
    assert site.admissions.spend("acme", code, HERE)
    assert not site.admissions.spend("acme", code, THERE)
    assert site.admissions.spend("acme", code, HERE), "it registers again at least once a day"
    (shown,), _ = site.admissions.invitations("acme", 10, "")
    assert (shown["name"], shown["cloudlet"], shown["used"]) == (
        "corner shop",
        str(HERE),
        "2026-11-18T11:06:40Z",
    )
    assert "expires_at" not in shown


def test_of_cloudlets_that_use_one_at_once_one_gets_in(site):
    for _ in range(20):
        code, won, barrier = invite(site), [], threading.Barrier(8)

        def spend(uuid, code=code, won=won, barrier=barrier):
            barrier.wait()
            if site.admissions.spend("acme", code, uuid):
                won.append(uuid)

        threads = [threading.Thread(target=spend, args=(UUID(int=number),)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1


def test_wrong_codes(site):
    code = invite(site)
    for wrong in (
        *("", "x", code[:-1], code + "A", code[:-1] + ("A" if code[-1] != "A" else "B"), code.upper()),
        *("si_0000000000000000_" + code[-32:], code + "\n", "é" * 52),
    ):
        assert not site.admissions.spend("acme", wrong, HERE)
    assert not site.admissions.spend("other", code, HERE), "another tenant's"
    assert not site.admissions.spend("", code, HERE)
    assert site.admissions.spend("acme", code, HERE)


def test_an_invitation_ends_unless_it_was_used(site):
    used, unused = invite(site, seconds=60), invite(site, seconds=60)
    assert site.admissions.spend("acme", used, HERE)
    site.now += 60
    assert not site.admissions.spend("acme", unused, THERE)
    assert site.admissions.spend("acme", used, HERE)
    assert [each["cloudlet"] for each in site.admissions.invitations("acme", 10, "")[0]] == [str(HERE)]


def test_the_code_is_kept_nowhere(site):
    code = invite(site)
    assert code[-32:] not in repr(site.documents.everything())
    assert "code" not in site.admissions.invitations("acme", 10, "")[0][0]


def test_an_invitation_taken_back(site):
    code = invite(site)
    assert site.admissions.spend("acme", code, HERE)
    number = code[3:19]
    with pytest.raises(NotFound):
        site.admissions.uninvite("other", number)
    site.admissions.uninvite("acme", number)
    assert not site.admissions.spend("acme", code, HERE)
    for wrong in (number, "", "x" * 100):
        with pytest.raises(NotFound):
            site.admissions.uninvite("acme", wrong)


def test_the_allow_list(site):
    assert not site.admissions.listed("acme", HERE)
    site.admissions.allow("acme", HERE, "here")
    site.now += 100
    renamed = site.admissions.allow("acme", HERE, "renamed")
    assert renamed == {"uuid": str(HERE), "created": "2026-11-18T11:06:40Z", "name": "renamed"}
    assert site.admissions.allowed("acme", 10, "") == ([renamed], None)
    assert site.admissions.listed("acme", HERE)
    assert not site.admissions.listed("other", HERE)
    with pytest.raises(NotFound):
        site.admissions.disallow("other", HERE)
    site.admissions.disallow("acme", HERE)
    assert not site.admissions.listed("acme", HERE)
    with pytest.raises(NotFound):
        site.admissions.disallow("acme", HERE)


def test_quotas(site):
    site.tenant("small", invitations=1, cloudlets=1)
    invite(site, "small")
    with pytest.raises(QuotaExceeded):
        invite(site, "small")
    site.admissions.allow("small", HERE, None)
    site.admissions.allow("small", HERE, "again")
    with pytest.raises(QuotaExceeded):
        site.admissions.allow("small", THERE, None)


def test_pages(site):
    uuids = sorted(uuid4() for _ in range(5))
    for uuid in uuids:
        site.admissions.allow("acme", uuid, None)
        invite(site)
    for page, key in ((site.admissions.allowed, "uuid"), (site.admissions.invitations, "id")):
        seen, after = [], ""
        while after is not None:
            shown, after = page("acme", 2, after)
            seen += [each[key] for each in shown]
        assert len(seen) == 5
        assert seen == sorted(seen)


@pytest.mark.parametrize(
    ("policy", "stranger", "invited", "listed"),
    [
        (OPEN, Trust.SIGNED, Trust.INVITED, Trust.LISTED),
        (INVITATION, None, Trust.INVITED, Trust.LISTED),
        (ALLOW_LIST, None, None, Trust.LISTED),
    ],
)
@pytest.mark.parametrize("tenant", ["acme", ""])
def test_what_admission_makes_of_it(site, tenant, policy, stranger, invited, listed):
    site.tenants.put(tenant, TenantSettings(admission=policy), by_operator=True)
    site.admissions.allow(tenant, HERE, None)
    admission = Admission(site.admissions, admits_unsigned=False)
    for applicant, trust in (
        (Applicant(THERE, True, tenant), stranger),
        (Applicant(THERE, True, tenant, invite(site, tenant)), invited),
        (Applicant(HERE, True, tenant), listed),
    ):
        if trust is None:
            with pytest.raises(Forbidden):
                admission.admit(applicant)
        else:
            assert admission.admit(applicant) is trust


def test_no_tenant_no_admission(site):
    admission = Admission(site.admissions, admits_unsigned=True)
    for name in ("nobody", "root"):
        with pytest.raises(Forbidden):
            admission.admit(Applicant(HERE, True, name))


def test_requests():
    assert InvitationRequest.from_json({}) == InvitationRequest(None, 7 * 86400)
    for wrong in ({"valid_seconds": 1}, {"name": ""}, {"name": "\x1b[2J"}, []):
        with pytest.raises(InvalidRequest):
            InvitationRequest.from_json(wrong)
