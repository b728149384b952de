"""Which cloudlets a device may be sent to: realms, requirements, stale ones, those chosen before."""

from contextlib import ExitStack
from dataclasses import replace
from uuid import UUID

import pytest
from chalicelib.choosing.requirements import Requirements
from chalicelib.errors import NoCloudlet
from chalicelib.fleet.cloudlets import STALE_SECONDS, Hardware, Trust, row_key

from tests.fakes.cloud_site import APP, NOW, Site, client

URL = "http://192.0.2.1/api/v1/deploy"


@pytest.fixture
def site(tmp_path):
    with ExitStack() as stack:
        yield Site(tmp_path, stack)


@pytest.fixture
def app(site):
    return site.root().apps.find(APP)


def offer(site, app, who=None, **more):
    return site.root().deployer.means.selection.offer(app, who or client(), **more)


def numbers(rows) -> list[int]:
    return [row.uuid.int for row in rows]


def test_the_roots_own_apps_never_see_a_tenants_cloudlets(site, app):
    site.add(URL, realm="acme")
    shared = site.add(URL)
    assert offer(site, app).cloudlets == [shared]


def test_a_tenants_app_sees_its_own_and_the_shared_and_nobody_elses(site, app):
    own, shared = site.add(URL, realm="acme"), site.add(URL)
    site.add(URL, realm="acme-2")
    assert offer(site, replace(app, tenant="acme")).cloudlets == [own, shared]


def test_an_app_can_do_without_the_shared_ones(site, app):
    own = site.add(URL, realm="acme")
    site.add(URL)
    assert offer(site, replace(app, tenant="acme", uses_shared=False)).cloudlets == [own]


def test_a_recorded_cloudlet_that_went_to_another_realm_is_not_among_them(site, app):
    gone = site.add(URL, realm="other")
    assert offer(site, replace(app, tenant="acme"), recorded=[gone.uuid]).cloudlets == []


def test_what_the_app_and_what_the_device_require_both_hold(site, app):
    site.add(URL, trust=Trust.SIGNED)
    site.add(URL, hardware=Hardware(gpu="L4"))
    both = site.add(URL, trust=Trust.SIGNED, hardware=Hardware(gpu="L4"))
    strict = replace(app, requirements=Requirements(trust=Trust.SIGNED))
    assert offer(site, strict, client(requirements=Requirements(gpu=True))).cloudlets == [both]


def test_recorded_ones_are_among_them_wherever_they_are(site, app):
    rows = [site.add(URL) for _ in range(60)]
    assert 60 not in numbers(offer(site, app).cloudlets)
    assert 60 in numbers(offer(site, app, recorded=[rows[-1].uuid]).cloudlets)


@pytest.mark.parametrize("changed", [{"draining": True}, {"expires_at": NOW - STALE_SECONDS}])
def test_recorded_ones_that_can_not_serve_are_not(site, app, changed):
    row = site.add(URL, **changed)
    site.add(URL)
    assert numbers(offer(site, app, recorded=[row.uuid]).cloudlets) == [2]


def test_what_the_search_comes_across_is_not_looked_up(site, app, monkeypatch):
    near, looked_up = site.add(URL), []
    for _ in range(60):
        far = site.add(URL)
    find = site.table.find
    monkeypatch.setattr(site.table, "find", lambda uuid: looked_up.append(uuid) or find(uuid))
    offer(site, app, recorded=[near.uuid, far.uuid])
    assert looked_up == [far.uuid]


def test_of_two_rows_of_a_cloudlet_that_moved_the_newer_counts(site, app):
    row = site.add(URL)
    newer = replace(row, key=row_key(row.uuid, None), sequence=row.sequence + 5, location=None)
    site.table.put(newer)
    assert site.root().deployer.means.selection.find([row.uuid]) == [newer]


def test_stale_ones_come_last_and_only_where_there_are_not_enough_others(site, app):
    site.add(URL, expires_at=NOW)
    for _ in range(3):
        site.add(URL)
    few = offer(site, app)
    assert (numbers(few.fresh), numbers(few.stale), few.more) == ([2, 3, 4], [1], False)
    for _ in range(12):
        site.add(URL)
    many = offer(site, app)
    assert (many.stale, many.more) == ([], True)


def test_those_left_out_are_left_out_and_the_search_goes_on_behind_them(site, app):
    for _ in range(60):
        site.add(URL)
    first = {row.uuid for row in offer(site, app).fresh}
    beyond = offer(site, app, without=first)
    assert first.isdisjoint(row.uuid for row in beyond.fresh)
    assert len(beyond.fresh) >= 12


def test_those_that_failed_a_moment_ago_come_where_there_is_nothing_else(site, app):
    site.add(URL)
    site.add(URL)
    selection = site.root().deployer.means.selection
    selection.setbacks.note([UUID(int=1)])
    assert numbers(selection.offer(app, client()).fresh) == [2]
    selection.setbacks.note([UUID(int=2)])
    assert numbers(selection.offer(app, client()).fresh) == [1, 2]


def test_nothing_at_all_is_said(site, app):
    selection = site.root().deployer.means.selection
    with pytest.raises(NoCloudlet):
        selection.demanded(app, client())
    with pytest.raises(NoCloudlet):
        selection.closest(client())


def test_the_closest_are_shared_and_answer_soonest(site):
    site.add(URL, realm="acme")
    site.add(URL, resources={"cpu_ratio": 0.98})
    site.add(URL)
    assert numbers(site.root().deployer.closest(client())) == [3, 2]


@pytest.mark.parametrize(("use", "stays"), [(0.1, True), (0.6, True), (0.97, False)])
def test_a_good_choice_stays_one_until_another_is_clearly_better(site, use, stays):
    best = site.add(URL, resources={"cpu_ratio": 0.1})
    other = site.add(URL, resources={"cpu_ratio": use})
    good = site.root().deployer.means.selection.still_good(client(), [best, other])
    assert best.uuid in good
    assert (other.uuid in good) is stays


def test_a_table_that_is_away_hides_recorded_cloudlets_only(site):
    row = site.add(URL)
    selection = site.root().deployer.means.selection
    assert selection.find([row.uuid, UUID(int=9)]) == [row]
    site.table.away = True
    assert selection.find([row.uuid]) == []
