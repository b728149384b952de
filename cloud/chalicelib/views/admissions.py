"""What tenants call about which cloudlets may be theirs: invitations and the allow list.

Registered by `app.py`; calls `accounts/admissions.py`.
"""

from chalice.app import Response

from chalicelib.accounts.admissions import InvitationRequest, parse_allowance
from chalicelib.fields import parse_uuid
from chalicelib.incoming import json_body, name_page
from chalicelib.lambda_app import RootViews
from chalicelib.views.answers import answer, next_page, nothing, page_answer
from chalicelib.views.callers import manager

views = RootViews(__name__)


@views.view("GET", "/api/v1/tenants/{tenant}/invitations")
def list_invitations(tenant: str) -> Response:
    """A tenant's invitations, without what would work."""
    request, root = views.current_request, views.root
    name, _ = manager(root, request, tenant)
    limit, after = name_page(request)
    invitations, end = root.admissions.invitations(name, limit, after)
    return page_answer(invitations, next_page(limit, end))


@views.view("POST", "/api/v1/tenants/{tenant}/invitations")
def invite(tenant: str) -> Response:
    """A new invitation; its code is in this answer only."""
    request, root = views.current_request, views.root
    name, _ = manager(root, request, tenant)
    made = root.admissions.invite(name, InvitationRequest.from_json(json_body(request)))
    return answer(made, {"Cache-Control": "no-store"})


@views.view("DELETE", "/api/v1/tenants/{tenant}/invitations/{invitation_id}")
def uninvite(tenant: str, invitation_id: str) -> Response:
    """Take an invitation back."""
    root = views.root
    name, _ = manager(root, views.current_request, tenant)
    root.admissions.uninvite(name, invitation_id)
    return nothing()


@views.view("GET", "/api/v1/tenants/{tenant}/cloudlets")
def list_allowed(tenant: str) -> Response:
    """The cloudlets on a tenant's allow list."""
    request, root = views.current_request, views.root
    name, _ = manager(root, request, tenant)
    limit, after = name_page(request)
    allowed, end = root.admissions.allowed(name, limit, after)
    return page_answer(allowed, next_page(limit, end))


@views.view("PUT", "/api/v1/tenants/{tenant}/cloudlets/{cloudlet_uuid}")
def allow(tenant: str, cloudlet_uuid: str) -> Response:
    """Put a cloudlet on the allow list."""
    request, root = views.current_request, views.root
    name, _ = manager(root, request, tenant)
    label = parse_allowance(json_body(request))
    return answer(root.admissions.allow(name, parse_uuid(cloudlet_uuid, "cloudlet_uuid"), label))


@views.view("DELETE", "/api/v1/tenants/{tenant}/cloudlets/{cloudlet_uuid}")
def disallow(tenant: str, cloudlet_uuid: str) -> Response:
    """Take a cloudlet off the allow list."""
    root = views.root
    name, _ = manager(root, views.current_request, tenant)
    root.admissions.disallow(name, parse_uuid(cloudlet_uuid, "cloudlet_uuid"))
    return nothing()
