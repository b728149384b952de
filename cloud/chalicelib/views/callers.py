"""Who calls, by the token that is shown. Called by the views of management and of devices.

Wrong tokens are counted per address and token, so that nobody can try many.
"""

from chalice.app import Request

from chalicelib.accounts.apps import App
from chalicelib.accounts.tenants import ROOT
from chalicelib.accounts.tokens import Identity, Scope
from chalicelib.errors import Forbidden, NotFound, Unauthorized
from chalicelib.incoming import bearer_token, client_address
from chalicelib.root import Root

ACCOUNT_TOKEN = "sf_"  # noqa: S105 - how they begin; lease tokens begin otherwise


def identify(root: Root, request: Request) -> Identity:
    """Whose token it is. Raises `Unauthorized`, or `TooMany` after too many wrong ones."""
    address = client_address(request, root.settings.trusted_proxies)
    token = bearer_token(request) or ""
    root.limits.before_guess(address, token)
    try:
        return root.tokens.identify(token)
    except Unauthorized:
        if token:
            root.limits.wrong_guess(address, token)
        raise


def operator(root: Root, request: Request) -> Identity:
    """An operator. Raises `Unauthorized`, `Forbidden`."""
    identity = identify(root, request)
    if not identity.is_operator:
        raise Forbidden("This is for operators of the root.")
    return identity


def manager(root: Root, request: Request, tenant_id: str) -> tuple[str, Identity]:
    """The tenant that a path names and that there is, and who manages it.

    Raises what `claimant` raises, and `NotFound`.
    """
    tenant, identity = claimant(root, request, tenant_id)
    return root.tenants.get(tenant).id, identity


def claimant(root: Root, request: Request, tenant_id: str) -> tuple[str, Identity]:
    """The tenant that a path names, and who may manage it if there is one; the root itself is the tenant "".

    Raises `Unauthorized`; `Forbidden` for a token that manages nothing; `NotFound` for other tenants, whether
    there are such or not.
    """
    identity = identify(root, request)
    if identity.scope is Scope.DEPLOY:
        raise Forbidden("This token is for deploying; it manages nothing.")
    tenant = "" if tenant_id == ROOT else tenant_id
    if not identity.may_manage(tenant):
        raise NotFound("There is no such tenant.")
    return tenant, identity


def may_manage(root: Root, request: Request, tenant: str) -> bool:
    """Whether the caller shows a token that manages this tenant (`""`: the root). Raises `Unauthorized`."""
    return bearer_token(request) is not None and identify(root, request).may_manage(tenant)


def check_device(root: Root, request: Request, app: App) -> None:
    """Whether the caller may deploy the app. Raises `Unauthorized`, `Forbidden`."""
    if app.token_required and not identify(root, request).may_deploy(app.tenant):
        raise Forbidden("This token is not for this app.")


def check_recipe_reader(root: Root, request: Request, app: App) -> None:
    """Whether the caller may read a restricted recipe: its owner, operators, and cloudlets that may serve it.

    Raises `Unauthorized`, `Forbidden`.
    """
    token = bearer_token(request)
    if token is None:
        raise Forbidden("The recipe is restricted.")
    if token.startswith(ACCOUNT_TOKEN):
        allowed = identify(root, request).may_deploy(app.tenant)
    else:
        realm = root.leases.holder(token).key.realm
        allowed = realm == app.tenant or (realm == "" and app.uses_shared)
    if not allowed:
        raise Forbidden("The recipe is restricted.")
