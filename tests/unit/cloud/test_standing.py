"""What runs for an app and key: status, and giving it back."""

import json
from contextlib import ExitStack
from uuid import UUID

import pytest
from chalicelib.errors import NotFound, Unavailable

from tests.fakes.cloud_agent import declines, deployment, send, works
from tests.fakes.cloud_site import APP, KEY, Site, client, names

NAMED = [UUID(int=number) for number in range(8)]


@pytest.fixture
def site(tmp_path):
    with ExitStack() as stack:
        yield Site(tmp_path, stack)


def existing(site, results=3, **who):
    return site.root().standing.existing(APP, client(**who), results)


def release(site, keep=None, **who):
    site.root().standing.release(APP, client(**who), keep)


def deploy(site, results=1, **who):
    return names(site.root().deployer.deploy(APP, client(**who), results, 0).deployments)


def running(site) -> list[int]:
    return [number for number, agent in enumerate(site.agents, 1) if agent.backends]


def test_status_is_asked_where_it_runs_wherever_that_is(site):
    site.run(*[works()] * 9)
    for number in range(1, 9):
        site.change(number, draining=True)
    assert deploy(site) == ["number-9"]
    for number in range(1, 9):
        site.change(number, draining=False)
    assert names(existing(site)) == ["number-9"]
    assert [len(agent.requests) for agent in site.agents] == [0] * 8 + [2]


def test_without_a_record_those_are_asked_that_a_deploy_would_ask(site):
    def has(number):
        body = json.dumps([deployment(str(APP), KEY, DeploymentName=f"d-{number}")]).encode()
        return lambda request: send(request, body)

    site.run(has(1), declines(404), declines(500), has(2))
    assert [each.name for each in existing(site)] == ["d-1", "d-2"]
    assert [agent.requests[0][0] for agent in site.agents] == ["GET"] * 4
    assert len(existing(site, 1)) == 1
    site.records.away = True
    assert len(existing(site)) == 2


def test_nothing_deployed_is_not_found(site):
    site.run(declines(404), declines(404))
    with pytest.raises(NotFound):
        existing(site)


def test_nothing_found_is_no_answer_where_a_cloudlet_could_not_be_asked(site):
    site.run(declines(404), declines(500))
    with pytest.raises(Unavailable, match="number-2"):
        existing(site)


def test_all_is_given_back_and_twice_is_fine(site):
    site.run(works(), works(), works())
    deploy(site, 3)
    release(site)
    assert running(site) == []
    assert site.record() is None
    release(site)
    with pytest.raises(NotFound):
        existing(site)


def test_all_but_one_is_given_back(site):
    site.run(works(), works(), works())
    deploy(site, 3)
    release(site, keep=NAMED[2])
    assert running(site) == [2]
    assert site.record().targets == (NAMED[2],)
    assert deploy(site) == ["number-2"]
    release(site, keep=NAMED[2])
    assert running(site) == [2]


@pytest.mark.parametrize("number", [3, 7])
def test_keeping_what_is_not_there_gives_nothing_back(site, number):
    site.run(works(), works(), works())
    deploy(site, 2)
    with pytest.raises(NotFound, match=str(NAMED[number])):
        release(site, keep=NAMED[number])
    assert running(site) == [1, 2]


def test_one_devices_release_leaves_another_devices_backend(site):
    site.run(works())
    deploy(site)
    deploy(site, key=b"o" * 32)
    release(site)
    assert site.agents[0].backends == {(str(APP), b"o" * 32)}


def test_what_could_not_be_given_back_can_be_later(site):
    site.run(works(), works())
    deploy(site, 2)
    site.agents[1].behave = declines(500)
    with pytest.raises(Unavailable, match="number-2"):
        release(site)
    assert running(site) == [2]
    assert site.record().targets == (NAMED[2],)
    site.agents[1].behave = works()
    release(site)
    assert running(site) == []


@pytest.mark.parametrize("status", [403, 404, 405, 501])
def test_what_an_agent_does_not_release_for_this_root_it_reclaims_by_itself(site, status):
    site.run(works())
    deploy(site)
    site.agents[0].behave = declines(status)
    release(site)
    assert site.record() is None


def test_what_ran_on_a_cloudlet_that_is_gone_is_forgotten(site):
    site.run(works())
    deploy(site)
    site.table.remove(site.rows[0].key, 99)
    release(site)
    assert site.record() is None


def test_who_releases_during_a_deploy_releases_what_is_claimed(site):
    site.run(works())
    records = site.root().deployer.means.records
    records.claim(records.find(APP, KEY), [NAMED[1]])
    site.agents[0].backends.add((str(APP), KEY))
    release(site)
    assert running(site) == []
    assert site.record() is None


def test_unknown_apps_and_a_table_that_is_away(site):
    root = site.root()
    with pytest.raises(NotFound):
        root.standing.release(UUID(int=9), client())
    with pytest.raises(NotFound):
        root.standing.existing(UUID(int=9), client(), 1)
    site.records.away = True
    with pytest.raises(Unavailable):
        root.standing.release(APP, client())
