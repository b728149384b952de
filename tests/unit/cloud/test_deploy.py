"""Deploying, with agents that are real HTTP servers and can misbehave."""

import json
import threading
from contextlib import ExitStack
from ipaddress import ip_network
from pathlib import Path
from uuid import UUID

import pytest
from chalicelib.deploying.holds import MOST_HELD
from chalicelib.deploying.records import RECORD_SECONDS, RENEW_SECONDS
from chalicelib.errors import DeployFailed, NoCloudlet, NotFound
from chalicelib.fleet.cloudlets import STALE_SECONDS, Trust
from chalicelib.fleet.signatures import decode, signing_input
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.fakes.cloud_agent import declines, deployment, deploys, send, works
from tests.fakes.cloud_site import APP, KEY, NOW, Site, client, names


@pytest.fixture
def site(tmp_path):
    with ExitStack() as stack:
        yield Site(tmp_path, stack)


def deploy(root, results=1, wait=0.0, **who):
    return root.deployer.deploy(APP, client(**who), results, wait).deployments


def answers(body: bytes, **options):
    return lambda request: send(request, body, **options)


BROKEN = {
    "declines": (declines(503, "no room"), "answered 503: no room"),
    "recipe": (declines(422, "the chart\nis bad"), "answered 422: the chart is bad"),
    "redirects": (answers(b"", status=307, Location="http://127.0.0.1:1/"), "answered 307"),
    "created": (answers(b"[]", status=201), "answered 201"),
    "empty": (answers(b"[]"), "no deployment"),
    "object": (answers(b"{}"), "nonsense"),
    "html": (answers(b"<html>", kind="text/html"), "something else than JSON"),
    "rubbish": (answers(b"\xff\x00rubbish"), "nonsense"),
    "nan": (answers(b"[NaN]"), "nonsense"),
    "large": (answers(b" " * 100_000), "more than 65536 bytes"),
    "many": (answers(b"[" + b"{}," * 20 + b"{}]"), "nonsense"),
    "other key": (
        deploys(ApplicationKey="HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw="),
        "another app or key",
    ),
    "other app": (deploys(UUID="11111111-1111-1111-1111-111111111111"), "another app or key"),
    "no tunnel": (deploys(TunnelConfig=None), "nonsense"),
    "failed": (deploys(Status="Failed", Reason="image not found"), "could not start it: image not found"),
    "closes": (lambda request: request.connection.close(), "could not be called"),
}


def test_the_best_cloudlet_is_asked_as_the_contract_says(site):
    site.run(deploys(), deploys())
    (found,) = deploy(site.root())
    assert found.to_json() == {
        **deployment(str(APP), KEY),
        "Cloudlet": {"UUID": str(UUID(int=1)), "Name": "number-1"},
        "RediscoverAfter": 600,
    }
    ((method, path, headers),) = site.agents[0].requests
    assert (method, path) == (
        "POST",
        f"/api/v1/deploy/{APP}/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8?wait=0",
    )
    assert headers["X-ClientIP"] == "198.51.100.7"
    assert headers["X-Location"] == "40.44,-79.99"
    assert headers["Via"] == "1.1 sinfonia-root"
    assert "X-Sinfonia-Signature" not in headers
    assert site.agents[1].requests == []


def test_a_cloudlet_that_knows_the_roots_keys_gets_signed_calls_each_with_its_own_signature(site):
    site.run(works())
    site.change(1, trust=Trust.SIGNED)
    root = site.root()
    deploy(root)
    root.standing.release(APP, client())
    signatures = [headers["X-Sinfonia-Signature"] for _, _, headers in site.agents[0].requests]
    claims = [json.loads(decode(each.partition("..")[0])) for each in signatures]
    path = f"/{APP}/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    assert [(each["htm"], each["htu"]) for each in claims] == [("POST", f"{path}?wait=0"), ("DELETE", path)]
    assert {each["aud"] for each in claims} == {str(UUID(int=1))}
    assert claims[0]["jti"] != claims[1]["jti"]


def test_what_a_device_sets_goes_along_in_the_signed_body(site):
    bodies = []

    def behave(request):
        bodies.append(request.rfile.read(int(request.headers.get("Content-Length", 0))))
        works()(request)

    site.run(behave)
    site.change(1, trust=Trust.SIGNED)
    root = site.root()
    deploy(root, values={"b": "ü", "a": {"c": 1}})
    root.standing.release(APP, client())
    assert bodies == ['{"values":{"a":{"c":1},"b":"ü"}}'.encode(), b""]
    (signature, _) = (headers["X-Sinfonia-Signature"] for _, _, headers in site.agents[0].requests)
    protected, _, signed = signature.partition("..")
    public = Ed25519PublicKey.from_public_bytes(decode(root.keys.key_set["keys"][0]["x"]))
    public.verify(decode(signed), signing_input(protected, bodies[0]))


def test_no_location_is_passed_on_where_none_is_known(site):
    site.run(deploys())
    deploy(site.root(), wait=2.5, location=None)
    _, path, headers = site.agents[0].requests[0]
    assert path.endswith("?wait=2.5")
    assert "X-Location" not in headers


def test_several_results_are_asked_at_once_and_come_best_first(site):
    meeting = threading.Barrier(3, timeout=5)

    def late(seconds):
        def behave(request) -> None:
            meeting.wait()
            threading.Event().wait(seconds)
            deploys()(request)

        return behave

    site.run(late(0.1), late(0.0), late(0.05), deploys())
    assert names(deploy(site.root(), 3)) == ["number-1", "number-2", "number-3"]
    assert site.agents[3].requests == []


@pytest.mark.parametrize("how", sorted(BROKEN))
def test_a_cloudlet_that_fails_is_replaced_and_named(site, how):
    behave, complaint = BROKEN[how]
    site.run(behave)
    with pytest.raises(DeployFailed, match="number-1") as refused:
        deploy(site.root())
    assert complaint in str(refused.value)
    site.run(deploys())
    assert names(deploy(site.root())) == ["number-2"]


def test_refusing_and_unresolvable_cloudlets_are_replaced(site):
    site.add("http://127.0.0.1:1/api/v1/deploy")
    site.add("http://nowhere.invalid/api/v1/deploy")
    site.run(deploys())
    assert len(deploy(site.root())) == 1


def test_fewer_results_than_wanted_are_an_answer(site):
    site.run(deploys(), declines(500), declines(500))
    assert len(deploy(site.root(), 3)) == 1


def test_private_endpoints_are_refused_unless_allowed(site):
    site.run(deploys())
    with pytest.raises(DeployFailed, match="private address"):
        deploy(site.root(allow_private_endpoints=False))
    assert site.agents[0].requests == []


def test_unknown_apps_and_empty_tables(site):
    with pytest.raises(NotFound):
        site.root().deployer.deploy(UUID(int=1), client(), 1, 0)
    with pytest.raises(NoCloudlet):
        deploy(site.root())


def test_dead_unwilling_and_draining_cloudlets_are_no_candidates(site):
    site.add("http://127.0.0.1:1/d", expires_at=NOW - STALE_SECONDS)
    site.add("http://127.0.0.1:1/d", rejected_clients=(ip_network("198.51.100.0/24"),))
    site.add("http://127.0.0.1:1/d", draining=True)
    with pytest.raises(NoCloudlet):
        site.root().deployer.candidates(APP, client())


def test_a_cloudlet_that_registered_a_moment_ago_is_seen_at_once(site):
    root = site.root()
    with pytest.raises(NoCloudlet):
        root.deployer.candidates(APP, client())
    site.run(deploys())
    assert len(root.deployer.candidates(APP, client()).fresh) == 1


def test_a_recipe_that_one_app_got_wrong_moves_no_cloudlet_back_for_others(site):
    site.run(declines(422), deploys())
    root = site.root()
    assert deploy(root)
    assert root.deployer.candidates(APP, client()).fresh[0].name == "number-1"


def test_an_app_that_starts_nowhere_drives_no_other_app_away(site):
    other = UUID(int=9)
    (Path(site.settings.recipes) / f"{other}.yaml").write_text("chart: other\nversion: 0.1.0\n")
    site.run(lambda request: (deploys(Status="Failed") if str(APP) in request.path else works())(request))
    site.run(works())
    root = site.root()
    assert names(deploy(root)) == ["number-2"]
    assert names(deploy(root, key=b"x" * 32)) == ["number-2"]
    assert len(site.agents[0].requests) == 1
    assert names(root.deployer.deploy(other, client(), 1, 0).deployments) == ["number-1"]


def test_a_cloudlet_that_failed_a_moment_ago_is_left_out_while_there_are_others(site):
    site.run(declines(500), works())
    root = site.root()
    assert names(deploy(root)) == ["number-2"]
    assert names(deploy(root, key=b"x" * 32)) == ["number-2"]
    assert len(site.agents[0].requests) == 1
    site.change(2, draining=True)
    site.agents[0].behave = works()
    assert names(deploy(site.root(), key=b"y" * 32)) == ["number-1"]


# The record


def test_a_new_deploy_is_remembered_by_two_writes_and_a_repeated_one_by_none(site):
    site.run(works())
    root = site.root()
    deploy(root)
    assert site.records.operations == ["get_item", "put_item", "put_item"]
    site.records.operations.clear()
    deploy(root)
    assert site.records.operations == ["get_item"]
    site.now += RENEW_SECONDS + 1
    site.change(1, expires_at=site.now + 50)
    deploy(root)
    assert site.records.operations == ["get_item", "get_item", "put_item"]
    assert site.record().expires_at == site.now + RECORD_SECONDS


def test_where_it_runs_is_asked_first_although_another_is_a_little_nearer(site):
    site.run(works(), works())
    site.change(1, draining=True)
    assert names(deploy(site.root())) == ["number-2"]
    site.change(1, draining=False)
    assert names(deploy(site.root())) == ["number-2"]
    assert site.agents[0].backends == set()
    assert names(deploy(site.root(), 2)) == ["number-2", "number-1"]
    assert names(deploy(site.root(), 1)) == ["number-2"]
    assert site.record().targets == (UUID(int=2), UUID(int=1))


def test_where_it_runs_is_left_when_it_is_clearly_worse_now(site):
    site.run(works(), works())
    site.change(2, draining=True)
    assert names(deploy(site.root())) == ["number-1"]
    site.change(2, draining=False)
    site.change(1, resources={"cpu_ratio": 0.98})
    assert names(deploy(site.root(matchers=("network", "load")))) == ["number-2"]
    assert site.record().targets == (UUID(int=2),)
    assert site.agents[0].backends == set()


def test_what_is_replaced_stays_until_the_new_backend_is_ready(site):
    site.run(works(), works("Deploying"))
    deploy(site.root())
    site.change(1, draining=True)
    root = site.root()
    assert names(deploy(root)) == ["number-2"]
    assert len(site.agents[0].backends) == 1
    site.agents[1].behave = works("Ready")
    assert names(deploy(root)) == ["number-2"]
    assert site.agents[0].backends == set()
    assert site.record().targets == (UUID(int=2),)


def test_what_the_device_is_leaving_is_not_chosen_and_stays_until_it_has_moved(site):
    site.run(works(), works("Ready"))
    assert names(deploy(site.root())) == ["number-1"]
    leaving = frozenset({UUID(int=1)})
    assert names(deploy(site.root(), avoid=leaving)) == ["number-2"]
    assert len(site.agents[0].backends) == 1
    with pytest.raises(NoCloudlet):
        deploy(site.root(), avoid=leaving | {UUID(int=2)})


def test_a_cloudlet_that_the_device_names_is_the_only_one_asked_wherever_it_is(site):
    site.run(works(), works("Ready"), declines(500))
    for _ in range(14):
        site.add("http://127.0.0.1:1/d")
    site.change(2, location=None)  # filed elsewhere: the search does not come across it
    root = site.root()
    assert names(deploy(root)) == ["number-1"]
    wanted = {"avoid": frozenset({UUID(int=1)}), "results": 3}
    assert names(deploy(root, cloudlet=UUID(int=2), **wanted)) == ["number-2"]
    assert len(site.agents[0].backends) == 1
    for number, error in ((3, DeployFailed), (99, NoCloudlet)):
        with pytest.raises(error):
            deploy(root, cloudlet=UUID(int=number), **wanted)
    site.change(2, draining=True)
    with pytest.raises(NoCloudlet):
        deploy(root, cloudlet=UUID(int=2), **wanted)


@pytest.mark.parametrize("why", ["draining", "rejects", "fails", "gone"])
def test_where_it_runs_is_left_when_it_can_not_serve(site, why):
    site.run(works(), works())
    assert names(deploy(site.root())) == ["number-1"]
    if why == "draining":
        site.change(1, draining=True)
    elif why == "rejects":
        site.change(1, rejected_clients=(ip_network("198.51.100.0/24"),))
    elif why == "fails":
        site.agents[0].behave = declines(500)
    else:
        site.table.remove(site.rows[0].key, 99)
    assert names(deploy(site.root())) == ["number-2"]
    assert site.record().targets == (UUID(int=2),)
    assert names(deploy(site.root())) == ["number-2"]


def test_where_it_runs_is_found_also_far_beyond_the_search(site):
    site.run(works())
    assert names(deploy(site.root())) == ["number-1"]
    for _ in range(14):
        site.add("http://127.0.0.1:1/d")
    site.change(1, location=None)
    # It has moved: its row is filed elsewhere, and the search no longer comes across it.
    assert names(deploy(site.root(matchers=("network", "load")))) == ["number-1"]


def test_a_claim_that_led_nowhere_is_followed_by_nobody(site):
    site.run(declines(500))
    with pytest.raises(DeployFailed):
        deploy(site.root())
    assert site.record() is None


def test_a_table_of_records_that_is_away_loses_no_answer(site):
    site.run(works())
    site.records.away = True
    root = site.root()
    assert names(deploy(root)) == names(deploy(root)) == ["number-1"]
    site.records.away = False
    assert names(deploy(root)) == ["number-1"]


def test_a_new_backend_is_written_down_once(site):
    site.run(works(), works())
    root = site.root()
    for results in (1, 1, 2, 2):
        deploy(root, results)
    assert [entry.cloudlet for entry in began(site)] == [UUID(int=1), UUID(int=2)]


def began(site):
    return [entry for entry in site.stores.usage.entries if entry.event == "began"]


# Stale cloudlets


def test_after_an_outage_of_the_root_stale_cloudlets_serve_and_are_marked(site):
    site.run(works(), works())
    site.now += STALE_SECONDS - 100
    (found,) = deploy(site.root())
    assert found.to_json()["Cloudlet"] == {
        "UUID": str(UUID(int=1)),
        "Name": "number-1",
        "Stale": True,
    }
    site.now += 200
    with pytest.raises(NoCloudlet):
        deploy(site.root())


def test_stale_cloudlets_come_after_all_that_live(site):
    site.run(works(), declines(500), works())
    site.change(1, expires_at=NOW)
    assert [row.name for row in site.root().deployer.candidates(APP, client()).cloudlets] == [
        "number-2",
        "number-3",
        "number-1",
    ]
    assert names(deploy(site.root(), 3)) == ["number-3"]
    site.agents[2].behave = declines(500)
    assert names(deploy(site.root(), 3, key=b"z" * 32)) == ["number-1"]


# Many at once


def test_held_deploys_are_bounded_and_the_others_answer_at_once(site):
    site.run(works())
    root = site.root()
    with ExitStack() as stack:
        for _ in range(MOST_HELD):
            stack.enter_context(root.deployer.holds.granted(20))
        deploy(root, wait=20)
    assert site.agents[0].requests[-1][1].endswith("?wait=0")
    deploy(root, wait=20)
    assert site.agents[0].requests[-1][1].endswith("?wait=20")


def test_the_longest_wait_leaves_time_for_others(site):
    site.run(works())
    deploy(site.root(), wait=25)
    assert site.agents[0].requests[-1][1].endswith("?wait=22")


def test_many_deploys_at_once_lead_to_one_place(site):
    site.run(works(), works(), works())
    roots = [site.root(matchers=("random",)) for _ in range(2)]
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda number=number: found.extend(names(deploy(roots[number % 2]))))
        for number in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(found) == 16
    assert len(set(found)) == 1
    assert sum(len(agent.backends) for agent in site.agents) == 1
