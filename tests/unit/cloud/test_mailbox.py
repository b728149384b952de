"""Commands from a deploy to a cloudlet that can't be called, and the answers back; threads, real waiting."""

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import ip_address
from uuid import UUID, uuid4

import pytest
from chalicelib.choosing.matching import ClientInfo
from chalicelib.deploying.agents import AgentCalls, AgentDeclined, AgentError, ReachableAgents
from chalicelib.deploying.commands import CommandAnswer, parse_command_id
from chalicelib.deploying.mailbox import Bells, DeliveredCalls, Mailbox
from chalicelib.errors import InvalidRequest, NotFound, TooMany, Unavailable
from chalicelib.fleet.cloudlets import Cloudlet, row_key
from chalicelib.fleet.geo import Location
from chalicelib.fleet.root_keys import RootKeys, new_id
from chalicelib.webcall import WebCaller

from tests.fakes.cloud_agent import deployment
from tests.fakes.cloud_commands import FakeCommands
from tests.fakes.cloud_table import FakeTable

APP = UUID(int=0)
CLIENT = ClientInfo(bytes(range(32)), ip_address("198.51.100.7"), Location(40.44, -79.99))
NOW = 1_795_000_000.0


class Nat:
    """A mailbox with a cloudlet behind NAT, and what deploys to it."""

    def __init__(self) -> None:
        uuid = uuid4()
        self.cloudlet = Cloudlet(row_key(uuid, None), uuid, "", 1, 0, int(NOW), int(NOW) + 50, callable=False)
        self.table, self.store = FakeTable(), FakeCommands()
        self.table.put(self.cloudlet)
        self.mailbox = Mailbox(self.store, self.table, lambda: NOW, time.monotonic)
        keys = RootKeys([b"0123456789abcdef"], lambda: NOW)
        mail = DeliveredCalls(self.mailbox, keys, new_id, lambda: NOW)
        calls = AgentCalls(WebCaller(allow_private=False, monotonic=time.monotonic), keys, new_id)
        self.agents = ReachableAgents(calls, mail)

    @property
    def uuid(self) -> UUID:
        return self.cloudlet.uuid

    def answering(self, answer: CommandAnswer) -> Callable[[], dict]:
        """A cloudlet that polls and answers one command, which it gives back."""

        def serve() -> dict:
            (command,) = self.mailbox.poll(self.uuid, 5)
            self.mailbox.answer(self.uuid, command["id"], answer)
            return command

        return serve

    def deploy(self, seconds: float = 5.0):
        return self.agents.deploy(self.cloudlet, APP, CLIENT, 2.5, seconds)


@pytest.fixture
def nat() -> Nat:
    return Nat()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(8) as pool:
        yield pool


def said(value) -> CommandAnswer:
    return CommandAnswer(200, json.dumps(value).encode())


def test_a_deploy_reaches_a_cloudlet_that_polls(nat, pool):
    serving = pool.submit(nat.answering(said([deployment(str(APP), CLIENT.publickey)])))
    assert nat.deploy().status == "Deploying"
    command = serving.result()
    assert command["method"] == "POST"
    assert command["path"].startswith(f"/{APP}/AAECAwQF")
    assert command["path"].endswith("?wait=2.5")
    assert command["client_ip"] == "198.51.100.7"
    assert command["location"] == {"latitude": 40.44, "longitude": -79.99}
    assert command["id"] == _claims(command["signature"])["jti"]
    assert nat.store._commands == nat.store._answers == {}


def _claims(signature: str) -> dict:
    from chalicelib.fleet.signatures import decode

    return json.loads(decode(signature.split(".")[0]))


def test_a_poll_hears_of_a_command_that_comes_later(nat, pool):
    serving = pool.submit(nat.answering(said([])))
    for _ in range(500):
        if nat.mailbox._polls._waiting:
            break
        threading.Event().wait(0.01)
    begun = time.monotonic()
    assert nat.agents.existing(nat.cloudlet, APP, CLIENT, 5) == []
    assert serving.result()["method"] == "GET"
    assert time.monotonic() - begun < 5


def test_a_keepalive_is_told_of_commands(nat, pool):
    asked = pool.submit(nat.agents.release, nat.cloudlet, APP, CLIENT, 5)
    fields = {"now": int(NOW), "expires_at": int(NOW) + 50, "resources": None, "location": None}
    for sequence in range(1, 500):
        renewed = nat.table.renew(nat.cloudlet.key, 1, sequence, **fields)
        if renewed.commands_wait:
            break
        threading.Event().wait(0.01)
    (command,) = nat.mailbox.waiting(nat.uuid)
    assert command["method"] == "DELETE"
    nat.mailbox.answer(nat.uuid, command["id"], CommandAnswer(204))
    assert asked.result() is None


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (CommandAnswer(404, b'{"detail": "no recipe"}'), AgentDeclined),
        (CommandAnswer(500, b'{"detail": "oh"}'), AgentError),
        (CommandAnswer(200, b""), AgentError),
        (CommandAnswer(200, b"[]"), AgentError),
        (CommandAnswer(200, b"{}"), AgentError),
        (CommandAnswer(204), AgentError),
    ],
)
def test_an_answer_is_believed_as_far_as_that_of_a_call(nat, pool, answer, error):
    pool.submit(nat.answering(answer))
    with pytest.raises(error):
        nat.deploy()


def test_a_cloudlet_that_does_not_come_is_given_up(nat):
    with pytest.raises(AgentError, match="in time"):
        nat.deploy(0.05)
    assert nat.mailbox.waiting(nat.uuid) == ()


def test_a_late_answer_has_nobody_to_go_to(nat):
    with pytest.raises(AgentError):
        nat.deploy(0.01)
    with pytest.raises(NotFound):
        nat.mailbox.answer(nat.uuid, new_id(), CommandAnswer(204))


def test_an_answer_counts_once_and_from_the_cloudlet_that_was_asked(nat, pool):
    asked = pool.submit(nat.agents.release, nat.cloudlet, APP, CLIENT, 5)
    (command,) = nat.mailbox.poll(nat.uuid, 5)
    with pytest.raises(NotFound):
        nat.mailbox.answer(uuid4(), command["id"], CommandAnswer(500))
    nat.mailbox.answer(nat.uuid, command["id"], CommandAnswer(204))
    with pytest.raises(NotFound):
        nat.mailbox.answer(nat.uuid, command["id"], CommandAnswer(500))
    assert asked.result() is None


def test_a_poll_ends_empty_handed(nat):
    assert nat.mailbox.poll(nat.uuid, 0) == ()
    assert nat.mailbox.poll(nat.uuid, 0.05) == ()


def test_few_polls_wait_at_once_and_fewer_of_one_cloudlet(nat, pool):
    bells = Bells(3, 2)
    mine, other = uuid4(), uuid4()
    with bells.waiting(mine, 1), bells.waiting(mine, 1):
        with pytest.raises(TooMany):
            bells.waiting(mine, 1).__enter__()
        with bells.waiting(other, 2) as bell, pytest.raises(TooMany):
            bells.waiting(uuid4(), 3).__enter__()
        bells.ring(1)
        assert not bell.is_set()
    with bells.waiting(mine, 1) as bell:
        bells.ring(1)
        assert bell.is_set()
    assert bells._counts == bells._waiting == {}


def test_too_many_commands_for_one_cloudlet_fail_at_once(nat, pool):
    asked = [pool.submit(nat.deploy, 0.3) for _ in range(8)]
    nat.mailbox._answers._most_of_one = 8
    for _ in range(500):
        if len(nat.mailbox._answers._waiting) == 8:
            break
        threading.Event().wait(0.01)
    with pytest.raises(AgentError, match="too many"):
        nat.deploy()
    for each in asked:
        with pytest.raises(AgentError, match="in time"):
            each.result()


def test_without_its_table_a_mailbox_carries_nothing(nat):
    nat.store.away = True
    with pytest.raises(AgentError, match="kept"):
        nat.deploy()
    with pytest.raises(Unavailable):
        nat.mailbox.poll(nat.uuid, 5)
    nat.store.away, nat.table.away = False, True
    with pytest.raises(AgentError):
        nat.deploy()
    assert nat.mailbox.waiting(nat.uuid) == ()


@pytest.mark.parametrize(
    "value",
    [{}, {"status": 199}, {"status": 600}, {"status": "200"}, {"status": 200, "body": None}, [], None]
    + [{"status": 200, "body": body} for body in ("x", 1, [float("nan")], [float("inf")])],
)
def test_what_is_no_answer(value):
    with pytest.raises(InvalidRequest):
        CommandAnswer.from_json(value)


@pytest.mark.parametrize("text", ["", "A" * 21, "A" * 23, "A" * 21 + "+", "A" * 21 + "/", "é" * 22])
def test_what_is_no_id(text):
    with pytest.raises(InvalidRequest):
        parse_command_id(text)
    assert parse_command_id("A" * 22) == "A" * 22


def test_a_device_nobody_knows_the_place_of_has_none(nat, pool):
    client = replace(CLIENT, location=None)
    asked = pool.submit(nat.agents.release, nat.cloudlet, APP, client, 5)
    (command,) = nat.mailbox.poll(nat.uuid, 5)
    assert "location" not in command
    nat.mailbox.answer(nat.uuid, command["id"], CommandAnswer(204))
    asked.result()
