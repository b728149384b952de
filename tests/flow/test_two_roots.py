"""Deploys through several roots over the same tables, and cloudlets that hang, refuse, lie or answer late.

Law 5: deploying twice with the same app and key gives the same backend, also when both run at once. Law 9:
what an agent does costs a bounded delay, never the answer.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from app import app
from chalicelib.deploying.holds import MOST_HELD
from chalicelib.errors import DeployFailed
from chalicelib.keys import path_form
from chalicelib.root import Root
from wsgi import WsgiAdapter

from tests.fakes.cloud_agent import declines, hangs, late, send, works
from tests.fakes.cloud_site import APP, KEY, Site, client, names
from tests.flow.servers import call
from tests.lab.machine import poll
from tests.lab.web import serving

BACKEND = (str(APP), KEY)
THREADS = 32  # of a local root
UNREACHABLE = "http://127.0.0.1:1/api/v1/deploy"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path, stack)


def deploy(root: Root, results: int = 1, key: bytes = KEY, wait: float = 0.0) -> list[str]:
    return names(root.deployer.deploy(APP, client(key=key), results, wait).deployments)


def at_once(calls: list[Callable[[], list[str]]]) -> list[list[str]]:
    meeting = threading.Barrier(len(calls), timeout=20)

    def run(call: Callable[[], list[str]]) -> list[str]:
        meeting.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def backends(site: Site, backend: tuple[str, bytes] = BACKEND) -> list[int]:
    return [number for number, agent in enumerate(site.agents, 1) if backend in agent.backends]


# Law 5


@pytest.mark.parametrize("results", [1, 2, 3])
def test_two_containers_that_choose_differently_lead_to_the_same_backends(site: Site, results: int) -> None:
    site.run(*[works()] * 6)
    for number in range(6):
        key = bytes([number]) * 32
        roots = [site.root(matchers=(order,)) for order in ("random", "location", "load", "random")]
        answers = at_once([lambda root=root, key=key: deploy(root, results, key, 20.0) for root in roots])
        assert len({tuple(sorted(each)) for each in answers}) == 1, answers
        assert len(backends(site, (str(APP), key))) == results
        asked = [
            agent for agent in site.agents if any(path_form(key) in path for _, path, _ in agent.requests)
        ]
        assert len(asked) == results, "all follow the first one's claim"


def test_asking_again_after_a_time_out_leads_to_the_same_backend(site: Site) -> None:
    """The first call goes on in its container while the device, tired of waiting, asks another one."""
    site.run(late(works()), works())
    first, second = site.root(), site.root()
    with ThreadPoolExecutor(1) as pool:
        impatient = pool.submit(deploy, first, 1, KEY, 20.0)
        poll(lambda: len(site.agents[0].requests) == 1)
        retried = pool_of_one(second)
        poll(lambda: len(site.agents[0].requests) == 2)
        site.agents[0].released.set()
        assert retried.result(10) == impatient.result(10) == ["number-1"]
    assert backends(site) == [1]


def pool_of_one(root: Root):
    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(deploy, root, 1, KEY, 20.0)
    finally:
        pool.shutdown(wait=False)


def test_who_was_led_elsewhere_follows_and_gives_back_its_own(site: Site) -> None:
    """A cloudlet answers one of two calls and refuses the other: both lead to it in the end."""
    answer, settled = threading.Event(), threading.Event()
    posts: list[int] = []

    def moody(request) -> None:
        number = len(posts)
        posts.append(number)
        if number == 0:
            answer.wait(10)
        (declines(503) if number == 1 else works())(request)

    def waits(request) -> None:
        if request.command == "POST":
            settled.wait(10)
        works()(request)

    site.run(moody, waits)
    with ThreadPoolExecutor(2) as pool:
        leading = pool.submit(deploy, site.root(), 1, KEY, 20.0)
        poll(lambda: len(posts) == 1)
        following = pool.submit(deploy, site.root(), 1, KEY, 20.0)
        poll(lambda: len(site.agents[1].requests) == 1)
        answer.set()
        assert leading.result(10) == ["number-1"]
        settled.set()
        assert following.result(10) == ["number-1"]
    assert backends(site) == [1]
    assert site.agents[1].removed == [BACKEND]


def test_the_backend_lives_on_when_other_containers_never_heard_of_it(site: Site) -> None:
    site.run(works(), works())
    site.change(1, draining=True)
    assert deploy(site.root()) == ["number-2"]
    site.change(1, draining=False)
    assert [deploy(site.root()) for _ in range(3)] == [["number-2"]] * 3


# Law 9


@pytest.mark.parametrize("wait", [0.0, 1.0])
def test_a_dozen_that_never_answer_around_a_place_do_not_fail_a_deploy_there(site: Site, wait: float) -> None:
    site.run(*[hangs] * 12, works(), works())
    root = site.root()  # its deadline is 8 seconds
    assert deploy(root, wait=wait)[0] in {"number-13", "number-14"}
    for number in range(5):  # those that were slow are left out for seconds
        asked = sum(len(agent.requests) for agent in site.agents[:12])
        assert deploy(root, key=bytes([number]) * 32)[0] in {"number-13", "number-14"}
        if sum(len(agent.requests) for agent in site.agents[:12]) == asked:
            return
    pytest.fail("the same liars are asked again and again")


@pytest.mark.parametrize("how", ["refuse", "500", "nonsense", "other key", "unreachable"])
def test_a_dozen_liars_around_a_place_do_not_fail_a_deploy_there(site: Site, how: str) -> None:
    behaviour = {
        "500": declines(500),
        "refuse": declines(422),
        "nonsense": lambda request: send(request, b'[{"UUID": 1}]'),
        "other key": lambda request: send(request, b"[]"),
    }
    if how == "unreachable":
        for _ in range(12):
            site.add(UNREACHABLE)
    else:
        site.run(*[behaviour[how]] * 12)
    site.run(works())
    assert deploy(site.root()) == ["number-13"]


def test_when_all_fail_it_is_said_of_each_in_bounded_time(site: Site) -> None:
    site.run(*[hangs] * 3, declines(500))
    begun = time.monotonic()
    with pytest.raises(DeployFailed) as failed:
        deploy(site.root(deadline_seconds=1.5))
    assert time.monotonic() - begun < 15
    for number in range(1, 5):
        assert f"number-{number} " in str(failed.value)


def test_a_success_that_comes_too_late_is_given_back(site: Site) -> None:
    site.run(late(works()), works())
    assert deploy(site.root()) == ["number-2"]
    assert backends(site) == [2]
    site.agents[0].behave = works()
    site.agents[0].released.set()
    poll(lambda: site.agents[0].removed == [BACKEND])
    assert backends(site) == [2]


def test_a_late_success_is_kept_where_the_device_was_led_to_it_meanwhile(site: Site) -> None:
    site.run(late(works()), works())
    first, second = site.root(), site.root()
    assert deploy(first) == ["number-2"]
    site.agents[1].behave = declines(500)
    site.agents[0].behave = works()
    assert deploy(second) == ["number-1"]
    requests = len(site.agents[0].requests)
    site.agents[0].released.set()
    poll(lambda: threading.active_count() and not any(t.name == "ask" for t in threading.enumerate()))
    assert len(site.agents[0].requests) == requests
    assert 1 in backends(site)


def test_records_that_are_away_in_the_middle_cost_no_answer(site: Site) -> None:
    def loses_the_records(request) -> None:
        site.records.away = True
        works()(request)

    site.run(loses_the_records)
    assert deploy(site.root()) == ["number-1"]


def test_records_that_are_away_in_the_middle_hide_no_failure(site: Site) -> None:
    def loses_the_records(request) -> None:
        site.records.away = True
        declines(503, "no room")(request)

    site.run(loses_the_records)
    with pytest.raises(DeployFailed, match="no room"):
        deploy(site.root())


# Spread


def test_a_crowd_is_spread_over_cloudlets_that_are_about_equal(site: Site) -> None:
    site.run(*[works()] * 4)
    for number in range(1, 5):
        site.change(number, resources={"cpu_ratio": 0.2}, location=site.rows[0].location)
    root = site.root(matchers=("network", "spread"))
    keys = [number.to_bytes(32) for number in range(200)]
    with ThreadPoolExecutor(16) as pool:
        chosen = Counter(name for found in pool.map(lambda key: deploy(root, 1, key), keys) for name in found)
    assert sum(chosen.values()) == 200
    assert len(chosen) >= 3  # of two the better: of those that are equal in everything the last never is
    assert max(chosen.values()) < 130


# A local root


def test_a_crowd_that_waits_leaves_threads_for_everybody_else(site: Site) -> None:
    """As many hold as may; the others are answered at once, and so is whoever asks for something else."""

    def holds(request) -> None:
        if "wait=0" not in request.path:
            request.agent.released.wait(30)
        works("Deploying")(request)

    site.run(holds)
    app.serve(site.root(calls_per_address=1000.0, calls_per_app=1000.0))
    crowd = 2 * THREADS
    with serving(WsgiAdapter(app), THREADS) as url, ThreadPoolExecutor(crowd) as pool:
        paths = [f"/api/v1/deploy/{APP}/{path_form(number.to_bytes(32))}?wait=20" for number in range(crowd)]
        calls = [pool.submit(call, url, "POST", path) for path in paths]
        try:
            poll(lambda: sum(each.done() for each in calls) == crowd - MOST_HELD)
            assert call(url, "GET", "/api/v1/health").status == 200
            assert not all(each.done() for each in calls)
        finally:
            site.agents[0].released.set()
        assert {each.result(20).status for each in calls} == {200}
