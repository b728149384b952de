"""Commands that come by mail: done as calls are, each once, answered; and the long poll that fetches them."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_agent.errors import InvalidRequest
from edge_agent.roots.commands import MOST_AT_ONCE, Commands
from edge_agent.roots.mailbox import WAIT_SECONDS, Mailbox
from edge_agent.roots.root_calls import RootError
from edge_agent.roots.root_wire import Command, read_commands
from edge_agent.serving.api import make_api
from edge_agent.serving.callers import Callers
from tests.fakes.edge_agent_backends import HELLOWORLD
from tests.fakes.edge_agent_parts import AGENT, Clock, Parts
from tests.fakes.edge_agent_roots import SigningRoot, trust

TARGET = f"/{HELLOWORLD}/HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw"


class FakeCalls:
    """A root that answers from `script`: a value, an error, or a function; keeps what it was told."""

    name = "root.example"
    path = f"/api/v1/cloudlets/{AGENT}"

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.told: list[tuple[str, str, Any, str | None]] = []

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        self.told.append((method, path, body, options.get("token")))
        said = self.script.pop(0) if self.script else {}
        if isinstance(said, Exception):
            raise said
        return said() if callable(said) else said


class Mail:
    """An agent that can't be called, its root, and the commands between them."""

    def __init__(self, folder: Path) -> None:
        self.parts = Parts()
        self.root = SigningRoot()
        trusts = trust(folder, self.root, clock=self.parts.clock)
        api = make_api(self.parts.deployments, Callers(AGENT, trusts, self.parts.clock))
        self.calls = FakeCalls()
        self.steps: list[Callable[[], None]] = []
        self.commands = Commands(api, self.steps.append, lambda: self.calls, lambda: "token-1")  # type: ignore[arg-type, return-value]

    def command(
        self, method: str = "POST", query: str = "?wait=0", number: int = 1, **claims: Any
    ) -> Command:
        target = TARGET + query
        return Command(f"{number:022}", method, target, self.root.sign(method, target, **claims))

    def work(self) -> list[tuple[int, Any]]:
        """Do what waits; the answers that were told."""
        told = len(self.calls.told)
        while self.steps:
            self.steps.pop(0)()
        return [(body["status"], body.get("body")) for _, _, body, _ in self.calls.told[told:]]


@pytest.fixture
def mail(tmp_path: Path) -> Mail:
    return Mail(tmp_path)


def test_a_command_is_done_as_a_call_and_answered(mail: Mail) -> None:
    mail.commands.take([mail.command()])
    ((status, body),) = mail.work()
    assert (status, body[0]["Status"]) == (200, "Deploying")
    assert mail.calls.told[0][:2] == ("POST", f"{FakeCalls.path}/commands/{1:022}")
    assert mail.calls.told[0][3] == "token-1"
    (record,) = mail.parts.runtime.records()
    assert record.root == mail.root.url
    mail.commands.take([mail.command("GET", "", 2), mail.command("DELETE", "", 3)])
    assert [status for status, _ in mail.work()] == [200, 204]
    mail.parts.settle()
    assert mail.parts.runtime.records() == []


def test_a_commands_body_is_the_calls_and_signed_with_it(mail: Mail) -> None:
    target, body = f"{TARGET}?wait=0", '{"values":{"greeting":"Hi"}}'
    signature = mail.root.sign("POST", target, body.encode())
    mail.commands.take([Command(f"{1:022}", "POST", target, signature, body.replace("Hi", "Ho"))])
    assert [status for status, _ in mail.work()] == [401]
    mail.commands.take([Command(f"{2:022}", "POST", target, signature, body)])
    assert [status for status, _ in mail.work()] == [200]
    (record,) = mail.parts.runtime.records()
    assert record.order.values == '{"greeting":"Hi"}'
    assert mail.parts.catalogue.values == ['{"greeting":"Hi"}']


def test_the_same_command_is_done_once_by_whatever_way_it_comes(mail: Mail) -> None:
    command = mail.command()
    mail.commands.take([command, command])
    mail.commands.take([command])
    assert len(mail.work()) == 1
    mail.commands.take([command])
    assert mail.work() == []


def test_under_another_id_its_signature_is_used_up(mail: Mail) -> None:
    command = mail.command()
    mail.commands.take([command, Command(f"{2:022}", command.method, command.path, command.signature)])
    assert [status for status, _ in mail.work()] == [200, 401]


@pytest.mark.parametrize("claims", [{"aud": "other"}, {"exp": 7}, {"htm": "GET"}, {"kid": "x"}])
def test_a_command_that_is_not_the_roots_does_nothing(mail: Mail, claims: dict[str, Any]) -> None:
    mail.commands.take([mail.command(**claims)])
    ((status, body),) = mail.work()
    assert (status, body["type"]) == (401, "urn:sinfonia:problem:unauthorized")
    assert mail.parts.runtime.records() == []


def test_a_path_elsewhere_leads_nowhere(mail: Mail) -> None:
    for number, path in enumerate(("/../health", "//x", "/%2e%2e/health", "/?", "/x/y")):
        signature = mail.root.sign("GET", path)
        mail.commands.take([Command(f"{number:022}", "GET", path, signature)])
    assert all(status in (400, 404) for status, _ in mail.work())


def test_a_root_that_does_not_hear_costs_nothing(mail: Mail) -> None:
    mail.calls.script = [RootError("away")]
    mail.commands.take([mail.command()])
    mail.work()
    mail.commands.take([mail.command(number=2)])
    assert [status for status, _ in mail.work()] == [200]


def test_no_more_are_taken_than_can_be_done(mail: Mail) -> None:
    for number in range(MOST_AT_ONCE + 5):
        mail.commands.take([mail.command(number=number)])
    assert len(mail.steps) == MOST_AT_ONCE
    mail.work()
    mail.commands.take([mail.command(number=99)])
    assert len(mail.steps) == 1


GOOD = {
    "id": "3q2-7wECAwQFBgcICQoLDA",
    "method": "POST",
    "path": "/a/b?wait=5",
    "client_ip": "198.51.100.7",
    "signature": "a..b",
}


@pytest.mark.parametrize(
    "change",
    [
        {"id": "short"},
        {"id": 7},
        {"id": "x/" * 11},
        {"method": "PUT"},
        {"method": None},
        {"path": "x"},
        {"path": "/a b"},
        {"path": "/" + "x" * 256},
        {"path": "/a\r\nHost: b"},
        {"client_ip": ""},
        {"signature": ""},
        {"signature": "x" * 3000},
        {"location": {"latitude": 91, "longitude": 0}},
    ],
)
def test_other_commands_are_refused(change: dict[str, Any]) -> None:
    assert read_commands([GOOD, GOOD])
    with pytest.raises(InvalidRequest):
        read_commands([{**GOOD, **change}])


@pytest.mark.parametrize("value", [None, {}, "x", [GOOD] * 9, [1]])
def test_other_lists_are_refused(value: Any) -> None:
    with pytest.raises(InvalidRequest):
        read_commands(value)


class Box:
    """A mailbox with a scripted root and a clock."""

    def __init__(self, *script: Any, token: str | None = "token-1") -> None:
        self.clock = Clock()
        self.calls = FakeCalls(*script)
        self.taken: list[Command] = []
        self.token = token
        self.mailbox = Mailbox(
            self.calls,  # type: ignore[arg-type]
            lambda: self.token,
            self.taken.extend,
            self.clock,
            random.Random(1),
        )

    def held(self, answer: Any, seconds: float = WAIT_SECONDS) -> Callable[[], Any]:
        """What a root answers that holds the call."""

        def answered() -> Any:
            self.clock.seconds += seconds
            return answer

        return answered


def test_commands_are_fetched_without_a_pause() -> None:
    box = Box([GOOD])
    assert box.mailbox.step() == 0.0
    assert box.taken[0].id == GOOD["id"]
    assert box.calls.told == [("GET", f"{FakeCalls.path}/commands?wait={WAIT_SECONDS}", None, "token-1")]


def test_a_held_answer_is_asked_again_at_once_and_an_unheld_one_is_not() -> None:
    box = Box()
    box.calls.script = [box.held([]), [], []]
    assert box.mailbox.step() == 0.0
    assert 2.5 <= box.mailbox.step() <= 5
    assert 2.5 <= box.mailbox.step() <= 5


def test_without_a_lease_nobody_is_asked() -> None:
    box = Box(token=None)
    assert box.mailbox.step() == 1.0
    assert box.calls.told == []


def test_a_root_that_is_away_or_talks_nonsense_is_asked_ever_more_seldom() -> None:
    box = Box(*[RootError("away")] * 7, {"commands": 7}, RootError("busy", 429, 120.0), [], RootError("x"))
    pauses = [box.mailbox.step() for _ in range(8)]
    assert pauses[0] <= 2
    assert all(30 <= pause <= 60 for pause in pauses[-2:])
    assert box.mailbox.step() == 120.0
    box.mailbox.step()
    assert box.mailbox.step() <= 2, "a success starts the back-off anew"


def test_no_fault_ends_the_thread() -> None:
    box = Box(ZeroDivisionError("no"))
    stop = threading.Event()
    thread = threading.Thread(target=box.mailbox.run, args=(stop,))
    thread.start()
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
