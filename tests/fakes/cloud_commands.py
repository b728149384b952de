"""Commands in memory: with the methods and rules of `command_table.DynamoCommandTable`."""

import threading
from uuid import UUID

from chalicelib.deploying.commands import MOST_COMMANDS, Command, CommandAnswer
from chalicelib.errors import Unavailable


class FakeCommands:
    """`away`: every call raises `Unavailable`. `operations` counts calls by name."""

    def __init__(self) -> None:
        self.away = False
        self.operations: list[str] = []
        self._lock = threading.Lock()
        self._commands: dict[tuple[UUID, str], Command] = {}
        self._taken: set[tuple[UUID, str]] = set()
        self._answers: dict[tuple[UUID, str], CommandAnswer] = {}

    def post(self, command: Command) -> None:
        with self._called("post"):
            self._commands[command.call.cloudlet, command.id] = command

    def fetch(self, cloudlet: UUID, now: float) -> list[Command]:
        with self._called("fetch"):
            waiting = [
                key
                for key, command in self._commands.items()
                if key[0] == cloudlet and key not in self._taken and command.expires_at > now
            ][:MOST_COMMANDS]
            self._taken.update(waiting)
            return [self._commands[key] for key in waiting]

    def answer(self, cloudlet: UUID, command_id: str, answer: CommandAnswer, now: float) -> bool:
        with self._called("answer"):
            key = cloudlet, command_id
            command = self._commands.get(key)
            if command is None or key not in self._taken or key in self._answers or command.expires_at <= now:
                return False
            self._answers[key] = answer
            return True

    def answered(self, cloudlet: UUID, command_id: str) -> CommandAnswer | None:
        with self._called("answered"):
            return self._answers.get((cloudlet, command_id))

    def remove(self, cloudlet: UUID, command_id: str) -> None:
        with self._called("remove"):
            self._commands.pop((cloudlet, command_id), None)
            self._taken.discard((cloudlet, command_id))
            self._answers.pop((cloudlet, command_id), None)

    def _called(self, operation: str) -> threading.Lock:
        if self.away:
            raise Unavailable("The table of commands can't be reached.")
        self.operations.append(operation)
        return self._lock
