"""What the operator's commands about cloudlets, tenants, apps and recipes do: calls, and what is shown of the
answers.

Called by `operator_cli.py` with the command line; calls `operator_client.py` and `operator_output.py`.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4

from operator_client import Answer, Refused, RootClient
from operator_output import as_json, card, table

_MOST_FILE_BYTES = 262144
_NEW = '"0"'  # the version of what is not there: nobody else's is changed
_TENANT_COLUMNS = ("id", "name", "admission", "quotas", "created")
_APP_COLUMNS = ("uuid", "name", "recipe", "matchers", "requirements", "deploys_per_minute")
_RECIPE_COLUMNS = ("number", "created", "deployed")
_CLOUDLET_COLUMNS = ("uuid", "name", "trust", "draining", "location", "cpu", "last_keepalive", "endpoint")


class Session:
    """One command: its options, the root that it talks to, and where its output goes."""

    def __init__(self, options: argparse.Namespace, client: RootClient, tenant: str, output: TextIO) -> None:
        self.options = options
        self.client = client
        self.tenant = tenant
        self.output = output

    def call(self, method: str, *path: str, **more: Any) -> Any:
        """A call about the tenant; the answer's JSON."""
        return self.client.call(method, "tenants", self.tenant, *path, **more).body

    def show(self, thing: Mapping[str, Any]) -> None:
        """One thing."""
        (as_json if self.options.json else card)(thing, self.output)

    def show_list(
        self,
        path: Sequence[str],
        columns: Sequence[str],
        shown: Callable[[Any], Any],
        query: Mapping[str, str] | None = None,
    ) -> None:
        """A list, up to `--limit`; `shown` makes a line of the table of an element."""
        limit = self.options.limit
        entries = (entry for page in self.client.pages(*path, query=query) for entry in page)
        found = list(islice(entries, limit))
        if self.options.json:
            as_json(found, self.output)
        else:
            table([shown(each) for each in found], columns, self.output)
        if len(found) == limit and next(entries, None) is not None:
            print(f"there are more than these {limit}; --limit shows more", file=sys.stderr)

    def list_of(self, path: Sequence[str], columns: Sequence[str]) -> None:
        """A list of the tenant's."""
        self.show_list(("tenants", self.tenant, *path), columns, lambda each: each)

    def done(self, text: str) -> None:
        """It was done, and there is nothing to show."""
        if self.options.json:
            as_json({"done": text}, self.output)
        else:
            print(text, file=self.output)


def list_cloudlets(session: Session) -> None:
    """The living cloudlets that are shared, or a tenant's own."""
    tenant = session.options.tenant
    query = {"tenant": tenant} if tenant else {}
    session.show_list(("cloudlets", ""), _CLOUDLET_COLUMNS, _cloudlet_line, query)


def _cloudlet_line(cloudlet: Mapping[str, Any]) -> dict[str, Any]:
    places = [f"{latitude:.2f},{longitude:.2f}" for latitude, longitude in cloudlet.get("locations", [])]
    cpu = cloudlet.get("resources", {}).get("cpu_ratio")
    return {
        **cloudlet,
        "location": places[0] if places else None,
        "cpu": None if cpu is None else f"{cpu:.0%}",
    }


def show_cloudlet(session: Session) -> None:
    """One cloudlet."""
    session.show(session.client.call("GET", "cloudlets", session.options.cloudlet).body)


def remove_cloudlet(session: Session) -> None:
    """Offer a cloudlet no longer."""
    session.client.call("DELETE", "cloudlets", session.options.cloudlet)
    session.done(f"removed {session.options.cloudlet}; it may register again if its admission allows it")


def list_tenants(session: Session) -> None:
    """All tenants."""
    session.show_list(("tenants",), _TENANT_COLUMNS, lambda each: each)


def show_tenant(session: Session) -> None:
    """One tenant."""
    session.show(session.call("GET"))


def create_tenant(session: Session) -> None:
    """A new tenant; one that stands is not touched."""
    if _standing(session) is not None:
        raise Refused(f"There is a tenant {session.tenant} already; tenants set changes it.")
    session.show(session.call("PUT", body=_tenant_settings(session.options, {}), version=_NEW))


def _standing(session: Session, *path: str) -> Answer | None:
    """Something of the tenant's as it is now, if it is there."""
    try:
        return session.client.call("GET", "tenants", session.tenant, *path)
    except Refused as error:
        if error.status != 404:
            raise
        return None


def set_tenant(session: Session) -> None:
    """Change what is given, and nothing else."""
    answer = session.client.call("GET", "tenants", session.tenant)
    settings = _tenant_settings(session.options, answer.body)
    session.show(session.call("PUT", body=settings, version=answer.version))


def _tenant_settings(options: argparse.Namespace, standing: Mapping[str, Any]) -> dict[str, Any]:
    settings = {name: standing[name] for name in ("name", "admission", "quotas") if name in standing}
    settings |= {name: value for name in ("name", "admission") if (value := getattr(options, name, None))}
    if quotas := dict(getattr(options, "quota", [])):
        settings["quotas"] = settings.get("quotas", {}) | quotas
    return settings


def delete_tenant(session: Session) -> None:
    """Remove a tenant and all that it has."""
    _confirm(session, f"tenant {session.tenant} with its apps, recipes and tokens")
    session.call("DELETE")
    session.done(f"removed the tenant {session.tenant}")


def _confirm(session: Session, what: str) -> None:
    if not session.options.yes:
        raise Refused(f"This removes the {what} for good; say --yes if you mean it.")


def list_apps(session: Session) -> None:
    """A tenant's apps."""
    session.list_of(("apps",), _APP_COLUMNS)


def show_app(session: Session) -> None:
    """One app."""
    session.show(session.call("GET", "apps", session.options.app))


def put_app(session: Session) -> None:
    """Make an app, or change what is given of it."""
    options = session.options
    uuid = options.app or str(uuid4())
    standing = _standing(session, "apps", uuid) if options.app else None
    settings: dict[str, Any] = dict(standing.body) if standing else {}
    for name in ("uuid", "created"):
        settings.pop(name, None)
    settings |= _given(options)
    for name in options.unset:
        settings.pop(name, None)
    version = standing.version if standing else _NEW
    session.show(session.call("PUT", "apps", uuid, body=settings, version=version))


def _given(options: argparse.Namespace) -> dict[str, Any]:
    given: dict[str, Any] = {
        name: getattr(options, name)
        for name in ("name", "uses_shared", "token_required", "deploys_per_minute", "recipe")
        if getattr(options, name) is not None
    }
    if options.matcher:
        given["matchers"] = options.matcher
    if options.require:
        demanded = dict(options.require)
        places = [value for name, value in options.require if name == "jurisdiction"]
        demanded.pop("jurisdiction", None)
        given["requirements"] = {**demanded, **({"jurisdictions": places} if places else {})}
    return given


def delete_app(session: Session) -> None:
    """Give an app up."""
    _confirm(session, f"app {session.options.app} with its recipes")
    session.call("DELETE", "apps", session.options.app)
    session.done(f"removed the app {session.options.app}")


def list_recipes(session: Session) -> None:
    """The versions of an app's recipe."""
    session.list_of(("apps", session.options.app, "recipes"), _RECIPE_COLUMNS)


def show_recipe(session: Session) -> None:
    """One version."""
    options = session.options
    session.show(session.call("GET", "apps", options.app, "recipes", str(options.version)))


def put_recipe(session: Session) -> None:
    """Add a version."""
    options = session.options
    query = {"use": "false"} if options.later else None
    recipe = _recipe(options.file)
    session.show(session.call("POST", "apps", options.app, "recipes", body=recipe, query=query))


def _recipe(name: str) -> Any:
    """A recipe file; YAML reads JSON too."""
    import yaml

    try:
        if name == "-":
            text = sys.stdin.buffer.read(_MOST_FILE_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                text = file.read(_MOST_FILE_BYTES + 1)
        if len(text) > _MOST_FILE_BYTES:
            raise Refused(f"{name} has more than {_MOST_FILE_BYTES} bytes.")
        recipe = yaml.safe_load(text)
        json.dumps(recipe, allow_nan=False)
    except OSError as error:
        raise Refused(f"{name} can't be read: {error.strerror}.") from error
    except (yaml.YAMLError, TypeError, ValueError, RecursionError) as error:
        raise Refused(f"{name} is no recipe: {' '.join(str(error).split())}.") from error
    return recipe


def delete_recipe(session: Session) -> None:
    """Remove a version."""
    options = session.options
    session.call("DELETE", "apps", options.app, "recipes", str(options.version))
    session.done(f"removed version {options.version}")
