"""The command line of `sinfonia`: from words to checked options, and the help that teaches them.

Called by `command.py` and `completion.py`. The commands add their own arguments (`acts.py`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

from device_sdk import __version__
from device_sdk.cli.acts import ACTS

DESCRIPTION = (
    "Run an app's backend on the best nearby cloudlet, and reach it through a tunnel of the app's own."
)
EPILOG = """\
examples:
  sinfonia run http://127.0.0.1:8080 helloworld -- curl http://helloworld/
  sinfonia run https://root.example.org APP-UUID --location 40.44,-79.94 -- ./my-app
  sinfonia find https://root.example.org APP-UUID --json
  sinfonia deploy https://root.example.org APP-UUID --results 3
  sinfonia deploy https://root.example.org APP-UUID --require gpu --require jurisdiction=DE
  sinfonia run https://root.example.org APP-UUID --set game.level=3 -- ./my-app
  sinfonia release https://root.example.org APP-UUID
  sinfonia export https://root.example.org APP-UUID --as phone --qr
  sinfonia pair living-room 482709
  sinfonia doctor https://root.example.org --app helloworld

The root learns nothing about this device but what you allow: sinfonia context --help
For apps whose owner asks for a token, put it into the variable SINFONIA_TOKEN.
With --json, results are JSON on standard output, and errors an object on standard error:
  {"Error": "RootError", "Detail": "…", "ExitStatus": 110, "TraceID": "…"}

exit status:
  0 done; of `run` and `associate`: the command's own, 128 + n if signal n ended it,
    127 if there is no such command
  1 of `doctor`: something is missing
  2 the call is wrong, or the root refuses it (unknown app)
  110 the root can't be reached or answers nonsense    111 no cloudlet can serve this device now
  112 the backend could not be deployed                113 no way to the backend through the tunnel
  114 this device lacks rights, a program, or has a damaged key
  115 what answers nearby is not the cloudlet that this device was paired with
"""


class WrongCallError(Exception):
    """The words make no sense; `usage` teaches the right ones."""

    def __init__(self, message: str, usage: str) -> None:
        super().__init__(message)
        self.usage = usage


class Parser(argparse.ArgumentParser):
    """Raises `WrongCallError`, takes options only as they are written, and keeps its descriptions' lines."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        shape = argparse.RawDescriptionHelpFormatter
        super().__init__(*arguments, **{"formatter_class": shape, "allow_abbrev": False, **settings})

    def error(self, message: str) -> NoReturn:
        """Refuse the call."""
        raise WrongCallError(message, self.format_usage())


class ActParser(Parser):
    """The parser of one command, whose module is imported when the command is asked for."""

    def __init__(self, *arguments: Any, module: str, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._module: str | None = module

    def load(self) -> None:
        """Let the module add what it takes. May be called again."""
        module, self._module = self._module, None
        if module is not None:
            import_module(module).add_arguments(self)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, of which this is what it calls for a command."""
        self.load()
        return super().parse_known_args(args, namespace)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The checked options; `act` is the function to call, `command` what follows `--`.

    Raises `WrongCallError`; `--help` and `--version` print and exit with 0.
    """
    arguments, command = split(argv)
    parser = whole_parser()
    options = parser.parse_args(_joined(arguments))
    if options.taken == "must" and not command:
        parser.error(f"{options.name} needs a command after --")
    if options.taken == "never" and len(arguments) < len(argv):
        parser.error(f"{options.name} takes no command")
    options.command = command
    return options


def whole_parser() -> Parser:
    """The parser with every command's, each of which is complete once it is loaded."""
    parser = Parser("sinfonia", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"sinfonia {__version__}")
    acts = parser.add_subparsers(
        required=True, metavar="COMMAND", title="commands", dest="name", parser_class=ActParser
    )
    for name, about in ACTS.items():
        acts.add_parser(name, help=about, description=about, module=f"device_sdk.cli.{name}")
    return parser


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words before and after the first `--`."""
    words = list(argv)
    if "--" not in words:
        return words, []
    at = words.index("--")
    return words[:at], words[at + 1 :]


def _joined(arguments: Sequence[str]) -> list[str]:
    """`--location -37.8,144.9` as one word: argparse takes a value that begins with a dash for an option."""
    joined: list[str] = []
    for word in arguments:
        if joined and joined[-1] == "--location" and word[:1] == "-":
            joined[-1] = f"--location={word}"
        else:
            joined.append(word)
    return joined
