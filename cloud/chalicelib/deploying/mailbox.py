"""The way to cloudlets that can't be called: commands wait until they are fetched, and then their answers.

`DeliveredCalls` is called by `agents.py` like `AgentCalls`; the views let cloudlets fetch (`waiting`
with a keepalive, `poll` for the long poll) and answer. All containers share the table; within one container
whoever waits hears at once.
"""

import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from chalicelib.choosing.matching import ClientInfo
from chalicelib.deploying.agents import AgentError, Signer, body_of
from chalicelib.deploying.commands import Command, CommandAnswer, CommandStore
from chalicelib.errors import NotFound, TooMany, Unavailable
from chalicelib.fleet.cloudlets import Cloudlet, RowKey
from chalicelib.fleet.root_keys import LIFE_SECONDS, Call
from chalicelib.keys import path_form
from chalicelib.webcall import WebAnswer

COMMAND_SECONDS = 30  # no deploy waits longer
MOST_POLL_SECONDS = 20.0
_LOOK_SECONDS = 1.0  # how old news from another container may get
_RETRY_SECONDS = 5.0
_POLLS = 12  # at once in one container: a local root has 32 threads
_POLLS_OF_ONE = 2  # a cloudlet's old one may not have ended yet
_WAITING = 64
_WAITING_FOR_ONE = 16

assert COMMAND_SECONDS <= LIFE_SECONDS  # noqa: S101 - a command's signature holds as long as the command


class FlagStore(Protocol):
    """What a mailbox needs of the table of cloudlets."""

    def flag(self, key: RowKey) -> bool:
        """Have the cloudlet's next keepalive say that commands wait (False: there is no such row)."""


class Bells:
    """Wakes whoever waits for something in this container, so many at once. Safe between threads."""

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._lock = threading.Lock()
        self._waiting: dict[threading.Event, Hashable] = {}
        self._counts: Counter[Hashable] = Counter()

    @contextmanager
    def waiting(self, owner: Hashable, subject: Hashable) -> Iterator[threading.Event]:
        """An event that is set when the subject's bell rings. Raises `TooMany` where too many wait."""
        event = threading.Event()
        with self._lock:
            if len(self._waiting) >= self._most or self._counts[owner] >= self._most_of_one:
                raise TooMany("Too many wait here already.", _RETRY_SECONDS)
            self._waiting[event] = subject
            self._counts[owner] += 1
        try:
            yield event
        finally:
            with self._lock:
                del self._waiting[event]
                self._counts[owner] -= 1
                if not self._counts[owner]:
                    del self._counts[owner]

    def ring(self, subject: Hashable) -> None:
        """Wake those who wait for this."""
        with self._lock:
            events = [event for event, each in self._waiting.items() if each == subject]
        for event in events:
            event.set()


class Mailbox:
    """Commands and answers. `clock`: seconds since 1970; `monotonic` is the clock of time-outs."""

    def __init__(
        self,
        store: CommandStore,
        flags: FlagStore,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._store = store
        self._flags = flags
        self._clock = clock
        self._monotonic = monotonic
        self._polls = Bells(_POLLS, _POLLS_OF_ONE)
        self._answers = Bells(_WAITING, _WAITING_FOR_ONE)

    def waiting(self, cloudlet: UUID) -> tuple[dict[str, Any], ...]:
        """`Commands` of the contract, each of which is told once. Raises `Unavailable`."""
        return tuple(command.to_json() for command in self._store.fetch(cloudlet, self._clock()))

    def poll(self, cloudlet: UUID, seconds: float) -> tuple[dict[str, Any], ...]:
        """The same, and where there are none wait for some. Raises `TooMany`, `Unavailable`."""
        end = self._monotonic() + seconds
        with self._polls.waiting(cloudlet, cloudlet) as bell:
            while True:
                bell.clear()
                commands = self.waiting(cloudlet)
                left = end - self._monotonic()
                if commands or left <= 0:
                    return commands
                bell.wait(min(_LOOK_SECONDS, left))

    def answer(self, cloudlet: UUID, command_id: str, answer: CommandAnswer) -> None:
        """Hand an answer to whoever waits for it. Raises `NotFound` where nobody does, `Unavailable`."""
        if not self._store.answer(cloudlet, command_id, answer, self._clock()):
            raise NotFound("No such command waits for an answer of this cloudlet.")
        self._answers.ring(command_id)

    def carry(self, cloudlet: Cloudlet, command: Command, seconds: float) -> CommandAnswer | None:
        """Have a command fetched and wait for the answer; None if there is none in time.

        Raises `TooMany` where too many wait already, `Unavailable`.
        """
        end = self._monotonic() + min(seconds, COMMAND_SECONDS)
        with self._answers.waiting(cloudlet.uuid, command.id) as bell:
            self._store.post(command)
            try:
                self._flags.flag(cloudlet.key)
                self._polls.ring(cloudlet.uuid)
                return self._await(cloudlet.uuid, command.id, bell, end)
            finally:
                with suppress(Unavailable):  # it expires by itself
                    self._store.remove(cloudlet.uuid, command.id)

    def _await(
        self, cloudlet: UUID, command_id: str, bell: threading.Event, end: float
    ) -> CommandAnswer | None:
        while (left := end - self._monotonic()) > 0:
            bell.wait(min(_LOOK_SECONDS, left))
            answer = self._store.answered(cloudlet, command_id)
            if answer is not None:
                return answer
        return None


@dataclass(frozen=True, slots=True)
class DeliveredCalls:
    """An `agents.Way` through a mailbox. `clock`: seconds since 1970; `fresh_id`: a name nobody guesses."""

    mailbox: Mailbox
    signer: Signer
    fresh_id: Callable[[], str]
    clock: Callable[[], float]

    def ask(
        self, method: str, cloudlet: Cloudlet, app_uuid: UUID, client: ClientInfo, query: str, seconds: float
    ) -> WebAnswer:
        """Have a command fetched, and wait for its answer."""
        target = f"/{app_uuid}/{path_form(client.publickey)}{query}"
        body = body_of(method, client)
        call = Call(cloudlet.uuid, method, target, client.ipaddress, client.location, body)
        command_id = self.fresh_id()
        expires_at = int(self.clock()) + COMMAND_SECONDS
        command = Command(command_id, call, self.signer.sign(call, command_id), expires_at)
        try:
            answer = self.mailbox.carry(cloudlet, command, seconds)
        except TooMany as error:
            raise AgentError("has too many commands waiting") from error
        except Unavailable as error:
            raise AgentError("can't be reached: its commands can't be kept") from error
        if answer is None:
            raise AgentError("did not fetch or not answer its command in time")
        return WebAnswer(answer.status, "application/json", answer.body)
