"""`sinfonia completion`: what a shell needs to complete the command line by the Tab key."""

from __future__ import annotations

import argparse

from device_sdk.cli import options as shared
from device_sdk.cli.completing import SHELLS, Command, Option

_ABOUT = """\
Print what your shell completes sinfonia's commands and options with.

  bash   sinfonia completion bash > ~/.local/share/bash-completion/completions/sinfonia
  zsh    sinfonia completion zsh > "${fpath[1]}/_sinfonia"
  fish   sinfonia completion fish > ~/.config/fish/completions/sinfonia.fish
"""
_HIDDEN = "==SUPPRESS=="  # argparse.SUPPRESS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said on the command line."""
    shared.describe(parser, act, description=_ABOUT)
    parser.add_argument("shell", choices=tuple(SHELLS), help="which shell")
    shared.add_output(parser)


def act(options: argparse.Namespace) -> int:
    """Print the shell's text."""
    from device_sdk.cli.arguments import whole_parser  # which lists this command, too

    print(SHELLS[options.shell](_commands(whole_parser())), end="")
    return 0


def _commands(parser: argparse.ArgumentParser) -> list[Command]:
    """The commands of the parser with their options."""
    (acts,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))  # noqa: SLF001
    for act in acts.choices.values():
        act.load()
    texts = {one.dest: one.help or "" for one in acts._choices_actions}  # noqa: SLF001 - argparse tells no other way
    return [
        Command(name, texts[name], tuple(_options(act)), _words(act)) for name, act in acts.choices.items()
    ]


def _options(parser: argparse.ArgumentParser) -> list[Option]:
    return [
        Option(
            action.option_strings[-1],
            (action.help or "").replace("%%", "%"),
            takes_value=action.nargs != 0,
            choices=tuple(map(str, action.choices or ())),
            is_file=action.metavar == "FILE",
        )
        for action in parser._actions  # noqa: SLF001
        if action.option_strings and action.help != _HIDDEN
    ]


def _words(parser: argparse.ArgumentParser) -> tuple[str, ...]:
    """What can stand alone: the choices of arguments, and the app that every root has."""
    alone = [action for action in parser._actions if not action.option_strings]  # noqa: SLF001
    apps = ("helloworld",) if any(action.metavar == "APP" for action in alone) else ()
    return (*apps, *(str(choice) for action in alone for choice in action.choices or ()))
