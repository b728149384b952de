"""The management API fuzzed by somebody who may use it: an operator, on a tenant with an app of its own."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any
from uuid import UUID

import pytest
import schemathesis
from app import app
from chalicelib.accounts.app_records import AppSettings
from chalicelib.accounts.recipes import Recipe
from chalicelib.accounts.tenants import TenantSettings
from chalicelib.accounts.tokens import Scope, TokenRequest
from hypothesis import HealthCheck, settings
from schemathesis import checks

from tests.contract.document import DOCUMENT
from tests.flow.servers import World, world

checks.load_all_checks()
HELD_TO = checks.CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
    ]
)
CONTRACT = schemathesis.openapi.from_dict(DOCUMENT).include(tag="management")


class Operated:
    """A root, its operator's token, and ever new tenants."""

    def __init__(self, running: World) -> None:
        self.url = running.root
        self.token = app.root.tokens.make("", TokenRequest(Scope.OPERATOR))[1]
        self._numbers = count(1)

    def furnish(self) -> dict[str, Any]:
        """Path parameters of a tenant that has an app with a recipe."""
        number = next(self._numbers)
        tenant, uuid = f"t{number}", UUID(int=number)
        app.root.tenants.put(tenant, TenantSettings(), by_operator=True)
        app.root.managed_apps.put(tenant, uuid, AppSettings(), by_operator=True)
        app.root.managed_apps.add_recipe(tenant, uuid, Recipe(uuid, "c", "1"), use=True)
        return {"tenant": tenant, "app_uuid": str(uuid), "number": 1}


@pytest.fixture(scope="module")
def operated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    with world(tmp_path_factory.mktemp("recipes")) as made:
        yield Operated(made)


@CONTRACT.parametrize()
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), database=None)
def test_every_answer_is_documented(case: Any, operated: Operated) -> None:
    there = operated.furnish()
    for name in case.path_parameters or {}:
        case.path_parameters[name] = there.get(name, case.path_parameters[name])
    shown = {"Authorization": f"Bearer {operated.token}"}
    case.call_and_validate(base_url=operated.url, headers=shown, checks=HELD_TO, timeout=30)
