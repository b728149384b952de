"""The deploy use case on fakes: one backend per app and key, whatever fails, crashes or comes twice."""

from __future__ import annotations

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network

import pytest

from edge_agent.deployments.leases import Activity
from edge_agent.errors import DeployFailed, NotFound, RecipeUnusable, Unavailable
from tests.fakes.edge_agent_backends import HELLOWORLD, Catalogue, backend, deployment, service
from tests.fakes.edge_agent_parts import AGENT, Parts
from tests.fakes.edge_agent_runtime import FakeRuntime, Store
from tests.unit.edge_agent.test_records import RECORD

KEY = bytes(range(32))
OTHER = bytes(32)


def ready(parts: Parts, key: bytes = KEY) -> IPv4Address:
    """Deploy until ready; return the device's tunnel address."""
    parts.deployments.deploy(HELLOWORLD, key, 0)
    parts.settle()
    found = parts.deployments.find(HELLOWORLD, key)
    assert found.state == "Ready", found
    return IPv4Address(found.tunnel.address[0].removesuffix("/32"))


def test_the_answer_comes_before_the_backend_runs() -> None:
    parts = Parts()
    answer = parts.deployments.deploy(HELLOWORLD, KEY, 0)
    assert answer.state == "Deploying"
    assert parts.runtime.applies == 0
    assert answer.cloudlet == AGENT
    assert answer.tunnel.endpoint == "192.0.2.7:51820"
    block = IPv4Network(answer.tunnel.allowed_ips[1])
    assert answer.tunnel.allowed_ips[0] == "100.71.0.1/32"
    assert answer.tunnel.address == (f"{block[1]}/32",)
    assert [service.address for service in answer.services] == [str(block[2])]
    assert answer.tunnel.dns == ("100.71.0.1", f"{answer.name}.sinfonia.internal")


def test_the_tunnel_is_open_when_the_answer_comes() -> None:
    parts = Parts()
    answer = parts.deployments.deploy(HELLOWORLD, KEY, 0)
    device = IPv4Address(answer.tunnel.address[0].removesuffix("/32"))
    assert parts.gateway.allowed == {KEY: {device}}
    assert parts.gateway.forwards == {}


def test_ready_means_that_the_gateway_leads_there() -> None:
    parts = Parts()
    device = ready(parts)
    assert parts.gateway.forwards == {(device, device + 1, "TCP", 80): (IPv4Address("10.0.0.10"), 8080)}


def test_deploying_again_finds_the_same_backend() -> None:
    parts = Parts()
    first = parts.deployments.deploy(HELLOWORLD, KEY, 0)
    again = parts.deployments.deploy(HELLOWORLD, KEY, 0)
    ready(parts)
    late = parts.deployments.deploy(HELLOWORLD, KEY, 0)
    assert first == again == replace(late, state="Deploying")
    assert parts.runtime.applies == 1


def test_twenty_calls_at_once_make_one_backend() -> None:
    parts = Parts(threads=4)
    stop = threading.Event()
    watching = threading.Thread(target=parts.keep_watching, args=(stop,))
    watching.start()
    try:
        with ThreadPoolExecutor(20) as callers:
            calls = [callers.submit(parts.deployments.deploy, HELLOWORLD, KEY, 5.0) for _ in range(20)]
            answers = {repr(call.result(20)) for call in calls}
    finally:
        stop.set()
        watching.join(5)
    assert len(answers) == 1
    assert "'Ready'" in answers.pop()
    assert parts.runtime.applies == 1
    assert len(parts.runtime.records()) == 1


def test_different_keys_get_different_addresses() -> None:
    parts = Parts(threads=4)
    with ThreadPoolExecutor(20) as callers:
        keys = [bytes([0, 0, 0, 0, number] * 6 + [0, 0]) for number in range(40)]
        answers = list(callers.map(lambda key: parts.deployments.deploy(HELLOWORLD, key, 0), keys))
    blocks = {answer.tunnel.allowed_ips[1] for answer in answers}
    assert len(blocks) == 40


def test_one_key_for_two_apps_is_one_peer_with_two_addresses() -> None:
    second = uuid.UUID(int=1)
    parts = Parts(catalogue=Catalogue({HELLOWORLD: backend(), second: backend()}))
    parts.deployments.deploy(HELLOWORLD, KEY, 0)
    parts.deployments.deploy(second, KEY, 0)
    assert len(parts.gateway.allowed[KEY]) == 2


def test_an_unknown_app_makes_nothing() -> None:
    parts = Parts()
    with pytest.raises(NotFound):
        parts.deployments.deploy(uuid.UUID(int=9), KEY, 0)
    assert parts.runtime.records() == []
    assert parts.gateway.syncs == 0


def test_an_unusable_recipe_makes_nothing() -> None:
    parts = Parts(catalogue=Catalogue({HELLOWORLD: RecipeUnusable("no")}))
    with pytest.raises(RecipeUnusable):
        parts.deployments.deploy(HELLOWORLD, KEY, 0)
    assert parts.runtime.records() == []


def test_a_full_cloudlet_says_so() -> None:
    parts = Parts(network=IPv4Network("100.71.0.0/28"))
    parts.deployments.deploy(HELLOWORLD, KEY, 0)
    with pytest.raises(Unavailable, match="in use"):
        parts.deployments.deploy(HELLOWORLD, OTHER, 0)
    assert len(parts.runtime.records()) == 1


def test_a_runtime_that_is_away_leaves_nothing() -> None:
    parts = Parts()
    parts.runtime.away = True
    with pytest.raises(Unavailable):
        parts.deployments.deploy(HELLOWORLD, KEY, 0)
    parts.runtime.away = False
    parts.clock.seconds += 6
    parts.settle()
    assert parts.lives.all() == []


def test_a_record_whose_making_was_not_answered_is_removed() -> None:
    parts = Parts()
    parts.runtime.loses_answers = True
    with pytest.raises(Unavailable):
        parts.deployments.deploy(HELLOWORLD, KEY, 0)
    assert parts.runtime.records()
    parts.settle()
    assert parts.runtime.records() == []
    assert parts.lives.all() == []


def test_a_record_that_came_up_late_is_removed() -> None:
    parts, store = Parts(), Store()
    ready(Parts(store=store))
    parts.runtime.store.records.update(store.records)
    parts.settle()
    assert parts.runtime.records(), "it may be one that is just being made"
    for _ in range(2):
        parts.clock.seconds += 61
        parts.settle()
    assert parts.runtime.records() == []


def test_a_gateway_that_refuses_undoes_the_record() -> None:
    parts = Parts()
    parts.gateway.away = True
    with pytest.raises(Unavailable):
        parts.deployments.deploy(HELLOWORLD, KEY, 0)
    parts.work()
    assert parts.runtime.records() == []
    assert parts.lives.all() == []


def bad() -> Catalogue:
    return Catalogue({HELLOWORLD: backend(service(), deployment(image="localhost/none:1"))})


def test_a_failure_is_told_and_leaves_nothing_in_the_runtime() -> None:
    parts = Parts(catalogue=bad())
    answer = parts.deployments.deploy(HELLOWORLD, KEY, 0)
    device = IPv4Address(answer.tunnel.address[0].removesuffix("/32"))
    parts.settle()
    found = parts.deployments.find(HELLOWORLD, KEY)
    assert (found.state, found.reason) == ("Failed", "image localhost/none:1 is not there")
    assert parts.deployments.follow(device, 0).state == "Failed"
    assert parts.runtime.records() == []
    parts.clock.seconds += 61
    parts.settle()
    with pytest.raises(NotFound):
        parts.deployments.find(HELLOWORLD, KEY)
    assert parts.gateway.allowed == {}


def test_a_failure_while_the_call_waits_is_its_answer() -> None:
    parts = Parts(catalogue=bad(), threads=2)
    stop = threading.Event()
    watching = threading.Thread(target=parts.keep_watching, args=(stop,))
    watching.start()
    try:
        with pytest.raises(DeployFailed, match="is not there"):
            parts.deployments.deploy(HELLOWORLD, KEY, 5)
    finally:
        stop.set()
        watching.join(5)


def test_after_a_failure_the_next_call_starts_from_scratch() -> None:
    catalogue = bad()
    parts = Parts(catalogue=catalogue)
    parts.deployments.deploy(HELLOWORLD, KEY, 0)
    parts.settle()
    catalogue.apps[HELLOWORLD] = backend()
    worker = threading.Thread(
        target=lambda: [parts.work() or threading.Event().wait(0.01) for _ in range(50)]
    )
    worker.start()
    answer = parts.deployments.deploy(HELLOWORLD, KEY, 0)
    worker.join(5)
    assert answer.state == "Deploying"
    ready(parts)


def test_a_backend_that_never_gets_ready_fails_in_the_end() -> None:
    parts = Parts()
    parts.deployments.deploy(HELLOWORLD, KEY, 0)
    parts.work()
    parts.runtime.store.applied.clear()
    parts.settle()
    assert parts.deployments.find(HELLOWORLD, KEY).reason == "its pods are being made"
    parts.clock.seconds += 200
    parts.settle()
    assert parts.deployments.find(HELLOWORLD, KEY).state == "Failed"


def test_pods_that_move_are_followed() -> None:
    parts = Parts()
    device = ready(parts)
    parts.runtime.pods = IPv4Address("10.0.9.0")
    parts.clock.seconds += 6
    parts.settle()
    assert parts.gateway.forwards[device, device + 1, "TCP", 80] == (IPv4Address("10.0.9.10"), 8080)


def test_a_backend_that_breaks_later_is_deploying_again() -> None:
    parts = Parts()
    device = ready(parts)
    kept = dict(parts.runtime.store.applied)
    parts.runtime.store.applied.clear()
    parts.clock.seconds += 6
    parts.settle()
    assert parts.deployments.follow(device, 0).state == "Deploying"
    assert parts.gateway.forwards == {}
    parts.runtime.store.applied.update(kept)
    parts.settle()
    assert parts.deployments.follow(device, 0).state == "Ready"


def test_a_record_that_somebody_removed_is_told() -> None:
    parts = Parts()
    ready(parts)
    parts.runtime.store.records.clear()
    parts.clock.seconds += 6
    parts.settle()
    found = parts.deployments.find(HELLOWORLD, KEY)
    assert (found.state, found.reason) == ("Failed", "It was removed from the runtime.")


def test_release_removes_backend_peer_and_record() -> None:
    parts = Parts()
    device = ready(parts)
    parts.deployments.release(device)
    assert parts.gateway.allowed == {KEY: {device}}, "the answer still has to get out"
    with pytest.raises(NotFound):
        parts.deployments.follow(device, 0)
    parts.work()
    assert parts.runtime.records() == []
    assert parts.gateway.allowed == {}


def test_a_removal_that_fails_is_tried_again() -> None:
    parts = Parts()
    device = ready(parts)
    parts.deployments.release(device)
    parts.runtime.away = True
    parts.settle()
    parts.runtime.away = False
    parts.clock.seconds += 6
    parts.settle()
    assert parts.runtime.records() == []
    assert parts.lives.all() == []


def test_a_release_during_the_start_leaves_nothing() -> None:
    parts = Parts(threads=2)
    parts.runtime.gate.clear()
    answer = parts.deployments.deploy(HELLOWORLD, KEY, 0)
    parts.deployments.release(IPv4Address(answer.tunnel.address[0].removesuffix("/32")))
    parts.runtime.gate.set()
    assert parts.lives.wait(5, lambda: not parts.lives.all())
    assert parts.runtime.records() == []
    assert parts.runtime.store.applied == {}


def test_an_idle_deployment_expires() -> None:
    parts = Parts()
    ready(parts)
    parts.clock.seconds += 299
    parts.settle()
    assert parts.runtime.records()
    parts.clock.seconds += 6
    parts.settle()
    assert parts.runtime.records() == []


def test_signs_of_life_renew_the_lease() -> None:
    parts = Parts()
    ready(parts)
    for step in range(1, 5):
        parts.clock.seconds += 250
        parts.gateway.seen[KEY] = Activity(0, step)
        parts.settle()
    assert parts.runtime.records()
    assert parts.runtime.touched


def test_a_repeated_call_renews_the_lease() -> None:
    parts = Parts()
    ready(parts)
    for _ in range(4):
        parts.clock.seconds += 250
        parts.deployments.deploy(HELLOWORLD, KEY, 0)
        parts.settle()
    assert parts.runtime.records()


def test_a_gateway_that_cannot_be_read_never_looks_idle() -> None:
    parts = Parts()
    ready(parts)
    parts.gateway.away = True
    for _ in range(20):
        parts.clock.seconds += 250
        parts.settle()
    parts.gateway.away = False
    parts.clock.seconds += 6
    parts.settle()
    assert parts.runtime.records()


def test_a_runtime_that_cannot_be_read_changes_nothing() -> None:
    parts = Parts()
    device = ready(parts)
    before = dict(parts.gateway.forwards)
    parts.runtime.away = True
    for _ in range(5):
        parts.clock.seconds += 6
        parts.settle()
    assert parts.deployments.follow(device, 0).state == "Ready"
    assert parts.gateway.forwards == before


def test_a_restart_takes_over_what_is_ready() -> None:
    store = Store()
    before = Parts(store=store)
    device = ready(before)
    after = Parts(store=store, opened=False)
    with pytest.raises(Unavailable):
        after.deployments.find(HELLOWORLD, KEY)
    after.upkeep.restore()
    after.deployments.open = True
    assert after.gateway.forwards == before.gateway.forwards, "sessions go on at once"
    assert after.deployments.follow(device, 0).state == "Ready"
    assert after.runtime.applies == 0
    after.settle()
    assert after.runtime.touched == [record.name for record in after.runtime.records()]


def test_a_restart_finishes_what_is_half_made() -> None:
    store = Store()
    Parts(store=store).deployments.deploy(HELLOWORLD, KEY, 0)  # killed before anything was applied
    after = Parts(store=store)
    after.upkeep.restore()
    after.settle()
    assert after.deployments.find(HELLOWORLD, KEY).state == "Ready"


@pytest.mark.parametrize("app", [RecipeUnusable("no"), NotFound("no"), backend(version="0.2.0")])
def test_a_restart_undoes_what_can_no_longer_be_finished(app: object) -> None:
    store = Store()
    Parts(store=store).deployments.deploy(HELLOWORLD, KEY, 0)
    after = Parts(store=store, catalogue=Catalogue({HELLOWORLD: app}))  # type: ignore[dict-item]
    after.upkeep.restore()
    for _ in range(20):
        after.settle()
        after.clock.seconds += 10
    assert after.runtime.records() == []


def not_ready_for_a_moment(**options: object) -> tuple[Parts, Parts]:
    """A run that took over a backend whose pods are just not there, and the run before it."""
    store = Store()
    before = Parts(store=store)
    ready(before)
    before.runtime.store.applied.clear()
    after = Parts(store=store, **options)  # type: ignore[arg-type]
    return before, after


def test_a_hiccup_after_a_restart_removes_nothing() -> None:
    _, after = not_ready_for_a_moment()
    after.runtime.hiccups = 3
    after.upkeep.restore()
    after.settle()
    assert after.deployments.find(HELLOWORLD, KEY).reason == "a hiccup"
    for _ in range(4):
        after.clock.seconds += 6
        after.settle()
    assert after.deployments.find(HELLOWORLD, KEY).state == "Ready"
    assert after.runtime.applies == 4


@pytest.mark.parametrize("error", [NotFound("no recipe"), RecipeUnusable("no chart"), Unavailable("no")])
def test_recipes_that_are_not_there_after_a_restart_remove_nothing(error: Exception) -> None:
    catalogue = Catalogue({HELLOWORLD: error})
    _, after = not_ready_for_a_moment(catalogue=catalogue)
    after.upkeep.restore()
    for _ in range(4):
        after.clock.seconds += 6
        after.settle()
    assert after.deployments.find(HELLOWORLD, KEY).state == "Deploying"
    catalogue.apps[HELLOWORLD] = backend()
    after.clock.seconds += 6
    after.settle()
    assert after.deployments.find(HELLOWORLD, KEY).state == "Ready"


def test_a_start_that_is_never_possible_ends() -> None:
    parts = Parts()
    parts.runtime.hiccups = 1000
    parts.deployments.deploy(HELLOWORLD, KEY, 0)
    for _ in range(20):
        parts.settle()
        parts.clock.seconds += 10
    found = parts.deployments.find(HELLOWORLD, KEY)
    assert (found.state, found.reason) == ("Failed", "a hiccup")


def test_a_runtime_that_was_away_for_long_makes_nobody_overdue() -> None:
    _, after = not_ready_for_a_moment()
    after.runtime.hiccups = 1
    after.upkeep.restore()
    after.settle()
    after.runtime.away = True
    for _ in range(30):
        after.clock.seconds += 10
        after.gateway.seen[KEY] = Activity(0, int(after.clock.seconds))
        after.settle()
    after.runtime.away = False
    after.settle()
    after.settle()
    assert after.deployments.find(HELLOWORLD, KEY).state == "Ready"


def test_a_restart_removes_stray_workloads() -> None:
    store = Store()
    before = Parts(store=store)
    ready(before)
    record = before.runtime.records()[0]
    after = Parts(store=store)
    after.runtime.sweep([record.name])
    assert store.applied
    after.runtime.sweep([])
    assert not store.applied


def test_a_restart_with_another_tunnel_network_starts_clean() -> None:
    store = Store()
    ready(Parts(store=store))
    after = Parts(store=store, network=IPv4Network("100.99.0.0/16"))
    after.upkeep.restore()
    after.settle()
    assert after.runtime.records() == []


def test_a_restart_can_be_tried_again() -> None:
    store = Store()
    ready(Parts(store=store))
    after = Parts(store=store)
    after.gateway.away = True
    with pytest.raises(Unavailable):
        after.upkeep.restore()
    after.gateway.away = False
    after.upkeep.restore()
    assert len(after.lives.all()) == 1


def test_a_record_that_another_process_made_is_adopted() -> None:
    store = Store()
    other = Parts(store=store)
    first = other.deployments.deploy(HELLOWORLD, KEY, 0)
    late = Parts(store=store)
    adopted = late.deployments.deploy(HELLOWORLD, KEY, 0)
    assert adopted.tunnel == first.tunnel
    late.settle()
    assert late.deployments.find(HELLOWORLD, KEY).state == "Ready"


def two_records_with_one_block(store: Store) -> list[str]:
    """The names of the older and of the younger."""
    ready(Parts(store=store))
    other = Parts(store=store)
    (older,) = other.runtime.records()
    younger = replace(older, name="younger", key=OTHER, created=older.created + timedelta(seconds=1))
    other.runtime.create(younger)
    return [older.name, younger.name]


def test_a_restart_lets_no_two_devices_have_one_address() -> None:
    store = Store()
    older, _ = two_records_with_one_block(store)
    after = Parts(store=store)
    after.upkeep.restore()
    assert list(after.gateway.allowed) == [KEY]
    device = next(iter(after.gateway.allowed[KEY]))
    assert after.deployments.follow(device, 0).name == older
    after.settle()
    assert [record.name for record in after.runtime.records()] == [older]


def test_an_adopted_record_with_anothers_address_is_removed() -> None:
    store = Store()
    late = Parts(store=store)
    other = Parts(store=store)
    device = ready(other)
    (record,) = other.runtime.records()
    other.runtime.delete(record)
    taken = late.deployments.deploy(HELLOWORLD, OTHER, 0)  # has no block of `record` yet
    block = IPv4Network(taken.tunnel.allowed_ips[1])
    other.runtime.create(replace(record, block=block))
    with pytest.raises(Unavailable, match="being removed"):
        late.deployments.deploy(HELLOWORLD, KEY, 0)
    assert list(late.gateway.allowed) == [OTHER]
    late.settle()
    assert late.deployments.deploy(HELLOWORLD, KEY, 0).tunnel.address == (f"{device}/32",)
    assert len(late.gateway.allowed) == 2


def test_an_adopted_record_has_a_lease_also_when_the_gateway_fails() -> None:
    store = Store()
    ready(Parts(store=store))
    late = Parts(store=store)
    late.gateway.away = True
    with pytest.raises(Unavailable):
        late.deployments.deploy(HELLOWORLD, KEY, 0)
    late.gateway.away = False
    late.settle()
    late.clock.seconds += 301
    late.settle()
    assert late.runtime.records() == []


def test_a_released_device_loses_its_way_also_while_removal_is_stuck() -> None:
    parts = Parts()
    device = ready(parts)
    parts.deployments.release(device)
    parts.runtime.away = True
    parts.settle()
    assert parts.gateway.forwards == {}
    assert parts.lives.all()


def test_a_name_that_a_stranger_holds_is_refused() -> None:
    store = Store()
    parts = Parts(store=store)
    stranger = FakeRuntime(uuid.uuid4(), store)
    answer = Parts().deployments.deploy(HELLOWORLD, KEY, 0)
    donor = Parts()
    donor.deployments.deploy(HELLOWORLD, KEY, 0)
    stranger.create(donor.runtime.records()[0])
    with pytest.raises(Unavailable):
        parts.deployments.deploy(HELLOWORLD, KEY, 0)
    assert parts.lives.all() == []
    assert answer.name in {record.name for record in stranger.records()}


def test_names_and_status_belong_to_the_device_that_asks() -> None:
    parts = Parts()
    device, other = ready(parts), ready(parts, OTHER)
    name, addresses = parts.deployments.zone(device) or ("", {})
    assert parts.deployments.follow(device, 0).key == KEY
    assert addresses == {"helloworld": device + 1}
    assert name == parts.deployments.find(HELLOWORLD, KEY).name
    assert parts.deployments.follow(other, 0).key == OTHER
    assert parts.deployments.zone(IPv4Address("100.71.255.9")) is None
    with pytest.raises(NotFound):
        parts.deployments.follow(IPv4Address("100.71.255.9"), 0)


def test_closing_with_removal_leaves_nothing() -> None:
    parts = Parts(threads=2)
    parts.deployments.deploy(HELLOWORLD, KEY, 0)
    parts.deployments.close(remove=True, timeout=5)
    assert parts.runtime.records() == []
    with pytest.raises(Unavailable):
        parts.deployments.deploy(HELLOWORLD, KEY, 0)


def test_more_waiting_calls_than_places_are_answered_at_once() -> None:
    parts = Parts()
    parts.deployments._waiters = threading.BoundedSemaphore(1)
    parts.deployments._waiters.acquire()
    assert parts.deployments.deploy(HELLOWORLD, KEY, 25).state == "Deploying"


def test_the_watching_thread_is_quick_while_something_is_awaited() -> None:
    parts = Parts()
    never = threading.Event().is_set

    def paused() -> float:
        started = time.monotonic()
        parts.lives.pause(never)
        return time.monotonic() - started

    assert paused() > 0.9
    parts.deployments.deploy(HELLOWORLD, KEY, 0)
    waker = threading.Timer(0.1, parts.work)
    waker.start()
    assert paused() < 0.9, "what starts to be awaited ends the pause"
    waker.join()
    assert paused() < 0.9
    stopping = threading.Timer(0.1, parts.lives.wake)
    parts.settle()
    stopping.start()
    assert paused() > 0.9, "woken without a reason"
    stopping.join()


def test_addresses_that_the_runtime_gives_are_told() -> None:
    parts = Parts(addressing=True)
    described = parts.deployments.deploy(HELLOWORLD, KEY, 0)
    assert [service.address for service in described.services or ()] == ["10.96.0.0"]
    assert described.tunnel.allowed_ips == ("100.71.0.1/32", "10.96.0.0/32")
    parts.settle()
    (record,) = parts.runtime.records()
    assert parts.deployments.zone(record.device) == (record.name, {"helloworld": IPv4Address("10.96.0.0")})
    rested = Parts(addressing=True, runtime=parts.runtime)
    rested.upkeep.restore()
    assert rested.deployments.deploy(HELLOWORLD, KEY, 0).services == described.services


def test_a_deployment_without_addresses_is_told_to_nobody_and_undone() -> None:
    parts = Parts(addressing=True)
    parts.runtime.create(replace(RECORD, addresses={}))
    parts.upkeep.restore()
    assert parts.deployments.zone(RECORD.device) is None
    with pytest.raises(NotFound):
        parts.deployments.follow(RECORD.device, 0)
    parts.settle()
    assert parts.runtime.records() == []


@pytest.mark.parametrize("addressing", [False, True])
def test_what_another_kind_of_gateway_left_is_removed(addressing: bool) -> None:
    before = Parts(addressing=not addressing)
    before.deployments.deploy(HELLOWORLD, KEY, 0)
    after = Parts(addressing=addressing, runtime=before.runtime)
    after.upkeep.restore()
    after.settle()
    assert after.runtime.records() == []
    assert after.deployments.deploy(HELLOWORLD, KEY, 0).state == "Deploying"


def test_a_call_that_meets_one_without_addresses_begins_anew() -> None:
    parts = Parts(addressing=True)
    backend_name = parts.deployments.deploy(HELLOWORLD, KEY, 0).name
    (record,) = parts.runtime.records()
    other = Parts(addressing=True, store=parts.runtime.store)
    other.runtime.store.records[record.home][1]["sinfonia/addresses"] = ""
    with pytest.raises(Unavailable, match="being removed"):
        other.deployments.deploy(HELLOWORLD, KEY, 0)
    other.settle()
    described = other.deployments.deploy(HELLOWORLD, KEY, 0)
    assert (described.name, len(described.services or ())) == (backend_name, 1)
