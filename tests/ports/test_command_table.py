"""Commands that wait for cloudlets: one suite for the fake in memory and for real engines over HTTP."""

import threading
from dataclasses import replace
from ipaddress import ip_address
from uuid import UUID, uuid4

import pytest
from chalicelib.deploying.commands import MOST_COMMANDS, Command, CommandAnswer
from chalicelib.errors import Unavailable
from chalicelib.fleet.geo import Location
from chalicelib.fleet.root_keys import Call, new_id
from chalicelib.tables.command_table import DynamoCommandTable

from tests.fakes.cloud_commands import FakeCommands
from tests.lab import engines

NOW = 1_795_000_000.5
ANSWER = CommandAnswer(200, '[{"Status": "Ready", "Reason": "é"}]'.encode())


@pytest.fixture(scope="module")
def make_store(engine):
    if engine is None:
        return lambda **_: FakeCommands()

    def make(meter=None) -> DynamoCommandTable:
        store = DynamoCommandTable(f"commands-{uuid4()}", region="us-east-1", url=engine, meter=meter)
        store.create(threading.Event().wait)
        return store

    return make


@pytest.fixture(scope="module")
def store(make_store):
    return make_store()


def command(cloudlet: UUID | None = None, **changed) -> Command:
    call = Call(cloudlet or uuid4(), "POST", "/app/key?wait=5", ip_address("2001:db8::7"))
    return replace(Command(new_id(), call, "header..signature", int(NOW) + 30), **changed)


def test_a_command_is_fetched_as_it_was_posted_and_once(store):
    plain = command()
    call = replace(plain.call, location=Location(-37.8136, 0.0), method="DELETE", body=b'{"x": 1}')
    placed = command(call=call)
    store.post(plain)
    store.post(placed)
    store.post(command())
    fetched = store.fetch(plain.call.cloudlet, NOW)
    assert sorted(fetched, key=lambda each: each.call.method) == [placed, plain]
    assert store.fetch(plain.call.cloudlet, NOW) == []


def test_an_expired_command_is_not_fetched(store):
    late = command(expires_at=int(NOW))
    store.post(late)
    assert store.fetch(late.call.cloudlet, NOW) == []


def test_of_many_commands_only_so_many_are_fetched_at_once(store):
    cloudlet = uuid4()
    posted = [command(cloudlet) for _ in range(MOST_COMMANDS + 3)]
    for each in posted:
        store.post(each)
    first, second = store.fetch(cloudlet, NOW), store.fetch(cloudlet, NOW)
    assert (len(first), len(second)) == (MOST_COMMANDS, 3)
    assert {each.id for each in first + second} == {each.id for each in posted}


def test_an_answer_is_kept_once_and_for_a_command_that_was_fetched(store):
    posted = command()
    cloudlet, name = posted.call.cloudlet, posted.id
    assert not store.answer(cloudlet, name, ANSWER, NOW)
    assert store.fetch(cloudlet, NOW) == []
    store.post(posted)
    assert not store.answer(cloudlet, name, ANSWER, NOW)
    assert store.answered(cloudlet, name) is None
    store.fetch(cloudlet, NOW)
    assert not store.answer(uuid4(), name, ANSWER, NOW)
    assert not store.answer(cloudlet, name, ANSWER, posted.expires_at)
    assert store.answer(cloudlet, name, ANSWER, NOW)
    assert not store.answer(cloudlet, name, CommandAnswer(204), NOW)
    assert store.answered(cloudlet, name) == ANSWER
    assert store.fetch(cloudlet, NOW) == []


def test_an_answer_may_have_no_body(store):
    posted = command()
    store.post(posted)
    store.fetch(posted.call.cloudlet, NOW)
    assert store.answer(posted.call.cloudlet, posted.id, CommandAnswer(204), NOW)
    assert store.answered(posted.call.cloudlet, posted.id) == CommandAnswer(204)


def test_what_was_removed_is_gone(store):
    posted = command()
    cloudlet, name = posted.call.cloudlet, posted.id
    store.post(posted)
    store.fetch(cloudlet, NOW)
    store.answer(cloudlet, name, ANSWER, NOW)
    store.remove(cloudlet, name)
    store.remove(cloudlet, name)
    assert store.answered(cloudlet, name) is None
    assert not store.answer(cloudlet, name, ANSWER, NOW)


def test_of_several_that_fetch_at_once_each_command_goes_to_one(store):
    cloudlet = uuid4()
    posted = [command(cloudlet) for _ in range(MOST_COMMANDS)]
    for each in posted:
        store.post(each)
    fetched: list[str] = []
    threads = [
        threading.Thread(target=lambda: fetched.extend(each.id for each in store.fetch(cloudlet, NOW)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(fetched) == sorted(each.id for each in posted)


def test_what_a_command_costs(make_store):
    units: list[tuple[str, float]] = []
    store = make_store(meter=lambda operation, count: units.append((operation, count)))
    if isinstance(store, FakeCommands):
        return
    units.clear()
    posted = command()
    store.post(posted)
    store.fetch(posted.call.cloudlet, NOW)
    store.answer(posted.call.cloudlet, posted.id, ANSWER, NOW)
    store.answered(posted.call.cloudlet, posted.id)
    store.remove(posted.call.cloudlet, posted.id)
    writes = [count for operation, count in units if operation not in {"query", "get_item"}]
    assert writes == [1.0] * 4
    assert sum(count for _, count in units) - sum(writes) <= 1.0  # each read is half a unit


@pytest.mark.live
def test_an_engine_that_is_away_is_unavailable(monkeypatch):
    for name, value in engines.CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    url = f"http://127.0.0.1:{engines.free_port()}"
    store = DynamoCommandTable("nothing", region="us-east-1", url=url)
    posted = command()
    for call in (
        lambda: store.post(posted),
        lambda: store.fetch(posted.call.cloudlet, NOW),
        lambda: store.answered(posted.call.cloudlet, posted.id),
    ):
        with pytest.raises(Unavailable):
            call()
