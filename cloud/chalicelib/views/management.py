"""What operators and tenants call about tenants themselves, tokens and usage.

Registered by `app.py`; calls `accounts/tenants.py`, `accounts/tokens.py` and `accounts/ledger.py`.
"""

from uuid import UUID

from chalice.app import Response

from chalicelib.accounts.tenants import TenantSettings
from chalicelib.accounts.tokens import TokenRequest
from chalicelib.accounts.usage import Cursor, parse_day
from chalicelib.errors import InvalidRequest
from chalicelib.incoming import if_match, json_body, name_page, page_limit, parameter
from chalicelib.lambda_app import RootViews
from chalicelib.views.answers import answer, next_page, nothing, page_answer, version_header
from chalicelib.views.callers import claimant, manager, operator

views = RootViews(__name__)


@views.view("GET", "/api/v1/tenants")
def list_tenants() -> Response:
    """All tenants, a page at a time."""
    request, root = views.current_request, views.root
    operator(root, request)
    limit, after = name_page(request)
    tenants, end = root.tenants.page(limit, after)
    return page_answer([each.to_json() for each in tenants], next_page(limit, end))


@views.view("GET", "/api/v1/tenants/{tenant}")
def get_tenant(tenant: str) -> Response:
    """One tenant."""
    root = views.root
    name, _ = manager(root, views.current_request, tenant)
    found = root.tenants.get(name)
    return answer(found.to_json(), version_header(found.version))


@views.view("PUT", "/api/v1/tenants/{tenant}")
def put_tenant(tenant: str) -> Response:
    """Make or change a tenant."""
    request, root = views.current_request, views.root
    name, identity = claimant(root, request, tenant)
    settings = TenantSettings.from_json(json_body(request))
    changed = root.tenants.put(name, settings, by_operator=identity.is_operator, version=if_match(request))
    return answer(changed.to_json(), version_header(changed.version))


@views.view("DELETE", "/api/v1/tenants/{tenant}")
def delete_tenant(tenant: str) -> Response:
    """Remove a tenant with all that it has."""
    request, root = views.current_request, views.root
    operator(root, request)
    name, _ = manager(root, request, tenant)
    root.tenants.remove(name, lambda uuid: root.managed_apps.release(name, UUID(uuid)))
    return nothing()


@views.view("GET", "/api/v1/tenants/{tenant}/tokens")
def list_tokens(tenant: str) -> Response:
    """A tenant's tokens, without what would work."""
    request, root = views.current_request, views.root
    name, _ = manager(root, request, tenant)
    limit, after = name_page(request)
    tokens, end = root.tokens.page(name, limit, after)
    return page_answer([each.to_json() for each in tokens], next_page(limit, end))


@views.view("POST", "/api/v1/tenants/{tenant}/tokens")
def make_token(tenant: str) -> Response:
    """A new token; its text is in this answer only."""
    request, root = views.current_request, views.root
    name, _ = manager(root, request, tenant)
    token, text = root.tokens.make(name, TokenRequest.from_json(json_body(request)))
    return answer({**token.to_json(), "token": text}, {"Cache-Control": "no-store"})


@views.view("DELETE", "/api/v1/tenants/{tenant}/tokens/{token_id}")
def revoke_token(tenant: str, token_id: str) -> Response:
    """Let a token work no longer."""
    root = views.root
    name, _ = manager(root, views.current_request, tenant)
    root.tokens.revoke(name, token_id)
    return nothing()


@views.view("GET", "/api/v1/tenants/{tenant}/usage")
def export_usage(tenant: str) -> Response:
    """The ledger's entries of some days, a page at a time."""
    request, root = views.current_request, views.root
    name, _ = manager(root, request, tenant)
    limit = page_limit(request)
    first, last, after = (parameter(request, each) for each in ("from", "to", "after"))
    if first is None or last is None:
        raise InvalidRequest("from, to: both are needed, as days like 2026-11-24")
    entries, end = root.ledger.page(
        name,
        parse_day(first, "from"),
        parse_day(last, "to"),
        None if after is None else Cursor.from_text(after),
        limit,
    )
    following = None if end is None else f"from={first}&to={last}&{next_page(limit, end.to_text())}"
    return page_answer([each.to_json() for each in entries], following)
