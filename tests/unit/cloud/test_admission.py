"""Who may register: policies, invitations, allow lists, and cloudlets that can't sign."""

from uuid import UUID, uuid4

import pytest
from chalicelib.errors import Forbidden, Unauthorized
from chalicelib.fleet.admission import ALLOW_LIST, INVITATION, OPEN, Admission, Applicant
from chalicelib.fleet.cloudlets import Trust

from tests.fakes.cloud_admissions import FakeAdmissionBook

KEYED = UUID("00000000-0000-8000-8000-000000000001")  # version 8


@pytest.fixture
def book() -> FakeAdmissionBook:
    book = FakeAdmissionBook()
    book.policies |= {"acme": INVITATION, "listed": ALLOW_LIST, "open": OPEN}
    book.invitations = {("acme", "one"): None, ("acme", "two"): None, ("open", "three"): None}
    return book


def admit(book, *, admits_unsigned=False, signed=True, cloudlet=KEYED, **fields) -> Trust:
    return Admission(book, admits_unsigned).admit(Applicant(cloudlet, signed, **fields))


def test_who_signs_is_admitted_where_it_is_open(book):
    assert admit(book) == Trust.SIGNED
    assert admit(book, tenant="open") == Trust.SIGNED


def test_an_invitation_is_for_one_cloudlet(book):
    assert admit(book, tenant="acme", invitation="one") == Trust.INVITED
    assert admit(book, tenant="acme", invitation="one") == Trust.INVITED  # it registers every day
    with pytest.raises(Forbidden, match="used"):
        admit(book, tenant="acme", invitation="one", cloudlet=uuid4())
    assert admit(book, tenant="acme", invitation="two", cloudlet=uuid4()) == Trust.INVITED


@pytest.mark.parametrize("invitation", [None, "", "three", "four"])
def test_who_is_not_invited_stays_out(book, invitation):
    with pytest.raises(Forbidden):
        admit(book, tenant="acme", invitation=invitation)


def test_an_invitation_is_for_one_tenant_and_a_wrong_one_does_not_help_where_it_is_open(book):
    assert admit(book, tenant="open", invitation="three") == Trust.INVITED
    with pytest.raises(Forbidden):
        admit(book, tenant="open", invitation="one")
    with pytest.raises(Forbidden):
        admit(book, invitation="one")


def test_who_is_listed_needs_no_invitation_and_is_trusted_most(book):
    for tenant in ("", "acme", "listed", "open"):
        book.lists.add((tenant, KEYED))
        assert admit(book, tenant=tenant) == Trust.LISTED
        assert admit(book, tenant=tenant, invitation="nonsense") == Trust.LISTED


def test_a_list_keeps_others_out(book):
    with pytest.raises(Forbidden, match=str(KEYED)):
        admit(book, tenant="listed")
    book.lists.add(("acme", KEYED))
    with pytest.raises(Forbidden):
        admit(book, tenant="listed", invitation="one")
    assert book.invitations["acme", "one"] is None


def test_nobody_registers_for_a_tenant_that_is_not_there(book):
    with pytest.raises(Forbidden, match="nobody"):
        admit(book, tenant="nobody")


def test_a_key_s_uuid_is_never_admitted_without_its_signature(book):
    book.lists.add(("", KEYED))
    with pytest.raises(Unauthorized, match="signed"):
        admit(book, signed=False, admits_unsigned=True)


def test_who_can_t_sign_is_admitted_by_the_operator_s_word_alone(book):
    plain = uuid4()
    assert admit(book, signed=False, admits_unsigned=True, cloudlet=plain) == Trust.UNSIGNED
    with pytest.raises(Unauthorized):
        admit(book, signed=False, cloudlet=plain)
    for belonging in ({"tenant": "open"}, {"tenant": "acme", "invitation": "one"}, {"invitation": "three"}):
        with pytest.raises(Unauthorized):
            admit(book, signed=False, admits_unsigned=True, cloudlet=plain, **belonging)
    for policy in (INVITATION, ALLOW_LIST):
        book.policies[""] = policy
        with pytest.raises(Forbidden):
            admit(book, signed=False, admits_unsigned=True, cloudlet=plain)
