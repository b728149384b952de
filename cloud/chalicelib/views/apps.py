"""What tenants call about their apps, and the versions of their recipes.

Registered by `app.py`; calls `accounts/managed_apps.py`.
"""

from chalice.app import Response

from chalicelib.accounts.app_records import AppSettings
from chalicelib.accounts.recipes import Recipe
from chalicelib.errors import InvalidRequest, NotFound
from chalicelib.fields import parse_uuid
from chalicelib.incoming import if_match, json_body, name_page, parameter
from chalicelib.lambda_app import RootViews
from chalicelib.views.answers import answer, next_page, nothing, page_answer, version_header
from chalicelib.views.callers import manager

views = RootViews(__name__)


@views.view("GET", "/api/v1/tenants/{tenant}/apps")
def list_apps(tenant: str) -> Response:
    """A tenant's apps, a page at a time."""
    request, root = views.current_request, views.root
    name, _ = manager(root, request, tenant)
    limit, after = name_page(request)
    apps, end = root.managed_apps.page(name, limit, after)
    return page_answer([each.to_json() for each in apps], next_page(limit, end))


@views.view("GET", "/api/v1/tenants/{tenant}/apps/{app_uuid}")
def get_app(tenant: str, app_uuid: str) -> Response:
    """One app."""
    root = views.root
    name, _ = manager(root, views.current_request, tenant)
    found = root.managed_apps.get(name, parse_uuid(app_uuid, "app_uuid"))
    return answer(found.to_json(), version_header(found.version))


@views.view("PUT", "/api/v1/tenants/{tenant}/apps/{app_uuid}")
def put_app(tenant: str, app_uuid: str) -> Response:
    """Claim a UUID for an app, or change the app."""
    request, root = views.current_request, views.root
    name, identity = manager(root, request, tenant)
    allow_private = root.settings.allow_private_endpoints
    changed = root.managed_apps.put(
        name,
        parse_uuid(app_uuid, "app_uuid"),
        AppSettings.from_json(json_body(request), allow_private=allow_private),
        by_operator=identity.is_operator,
        version=if_match(request),
    )
    return answer(changed.to_json(), version_header(changed.version))


@views.view("DELETE", "/api/v1/tenants/{tenant}/apps/{app_uuid}")
def delete_app(tenant: str, app_uuid: str) -> Response:
    """Give an app up; its UUID is free then."""
    root = views.root
    name, _ = manager(root, views.current_request, tenant)
    root.managed_apps.remove(name, parse_uuid(app_uuid, "app_uuid"))
    return nothing()


@views.view("GET", "/api/v1/tenants/{tenant}/apps/{app_uuid}/recipes")
def list_recipes(tenant: str, app_uuid: str) -> Response:
    """Which versions of an app's recipe there are."""
    root = views.root
    name, _ = manager(root, views.current_request, tenant)
    found = root.managed_apps.get(name, parse_uuid(app_uuid, "app_uuid"))
    return answer(found.versions_json())


@views.view("POST", "/api/v1/tenants/{tenant}/apps/{app_uuid}/recipes")
def add_recipe(tenant: str, app_uuid: str) -> Response:
    """A new version of an app's recipe, deployed from now on unless `use=false`."""
    request, root = views.current_request, views.root
    name, _ = manager(root, request, tenant)
    uuid = parse_uuid(app_uuid, "app_uuid")
    use = parameter(request, "use") or "true"
    if use not in {"true", "false"}:
        raise InvalidRequest("use: must be true or false")
    recipe = Recipe.from_json(uuid, json_body(request))
    number = root.managed_apps.add_recipe(name, uuid, recipe, use=use == "true")
    return answer({"number": number})


@views.view("GET", "/api/v1/tenants/{tenant}/apps/{app_uuid}/recipes/{number}")
def get_recipe_version(tenant: str, app_uuid: str, number: str) -> Response:
    """One version of an app's recipe."""
    root = views.root
    name, _ = manager(root, views.current_request, tenant)
    recipe = root.managed_apps.recipe(name, parse_uuid(app_uuid, "app_uuid"), _number(number))
    return answer(recipe.to_json())


@views.view("DELETE", "/api/v1/tenants/{tenant}/apps/{app_uuid}/recipes/{number}")
def delete_recipe_version(tenant: str, app_uuid: str, number: str) -> Response:
    """Remove a version of an app's recipe that is not deployed."""
    root = views.root
    name, _ = manager(root, views.current_request, tenant)
    root.managed_apps.remove_recipe(name, parse_uuid(app_uuid, "app_uuid"), _number(number))
    return nothing()


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 6:
        raise NotFound("This app has no such version of its recipe.")
    return int(text)
