"""Tenants of one root, from their accounts to the cloudlets of their apps: nobody sees or slows another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID

import pytest
from chalicelib.accounts.app_records import AppSettings
from chalicelib.accounts.recipes import Recipe
from chalicelib.accounts.tenants import Quotas, TenantSettings
from chalicelib.errors import NoCloudlet, NotFound, TooMany
from chalicelib.root import Root

from tests.fakes.cloud_site import Site, client

ACME, OTHER = UUID(int=0xAC), UUID(int=0x07)


def furnish(root: Root, tenant: str, app: UUID, quotas: Quotas | None = None, **settings: bool) -> None:
    """A tenant with an app that can be deployed."""
    root.tenants.put(tenant, TenantSettings(quotas=quotas), by_operator=True)
    root.managed_apps.put(tenant, app, AppSettings(**settings), by_operator=False)  # type: ignore[arg-type]
    root.managed_apps.add_recipe(tenant, app, Recipe(app, "c", "1"), use=True)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path, stack)


def offered(root: Root, app: UUID) -> list[str | None]:
    return [each.name for each in root.deployer.candidates(app, client()).cloudlets]


def test_a_tenants_own_cloudlets_serve_its_apps_alone(site: Site) -> None:
    root = site.root()
    furnish(root, "acme", ACME, uses_shared=False)
    furnish(root, "other", OTHER)
    site.add("http://192.0.2.1/", realm="acme")
    assert offered(root, ACME) == ["number-1"]
    with pytest.raises(NoCloudlet):
        offered(root, OTHER)
    site.add("http://192.0.2.2/")
    assert offered(site.root(), ACME) == ["number-1"]
    assert offered(site.root(), OTHER) == ["number-2"]


def test_one_tenants_crowd_costs_others_no_read(site: Site) -> None:
    furnish(site.root(), "acme", ACME)
    furnish(site.root(), "other", OTHER)
    for _ in range(3):
        site.add("http://192.0.2.2/")

    def cost() -> int:
        before = len(site.table.operations)
        assert offered(site.root(), OTHER) == [f"number-{number}" for number in (1, 2, 3)]
        return len(site.table.operations) - before

    alone = cost()
    for _ in range(500):
        site.add("http://192.0.2.1/", realm="acme")
    assert cost() == alone


def test_one_tenants_flood_uses_up_its_own_quota_only(site: Site) -> None:
    root = site.root()
    furnish(root, "acme", ACME, Quotas(deploys_per_minute=3))
    furnish(root, "other", OTHER, Quotas(deploys_per_minute=3))
    refused = 0
    for _ in range(20):
        try:
            root.limits.deploy(root.apps.find(ACME))
        except TooMany:
            refused += 1
    assert refused == 17
    for _ in range(3):
        root.limits.deploy(root.apps.find(OTHER))


def test_a_tenant_that_goes_leaves_others_as_they_were(site: Site) -> None:
    root = site.root()
    furnish(root, "acme", ACME)
    furnish(root, "other", OTHER)
    site.add("http://192.0.2.2/")
    root.tenants.remove("acme", lambda uuid: root.managed_apps.release("acme", UUID(uuid)))
    with pytest.raises(NotFound):
        offered(site.root(), ACME)
    assert offered(site.root(), OTHER) == ["number-1"]
