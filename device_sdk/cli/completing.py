"""The texts by which shells complete the command line. Called by `completion.py`."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

_MOST_COLUMNS = 70  # of an option's help beside it


@dataclass(frozen=True)
class Option:
    """One option: its `name` with dashes. A value is one of `choices` where there are any, or a file."""

    name: str
    help: str
    takes_value: bool = False
    choices: tuple[str, ...] = ()
    is_file: bool = False


@dataclass(frozen=True)
class Command:
    """One command with its `options`; `words` are what can stand without one."""

    name: str
    help: str
    options: tuple[Option, ...]
    words: tuple[str, ...] = ()


def bash(commands: Sequence[Command]) -> str:
    """For bash, by its programmable completion. Behind `--` it completes what bash does by itself."""
    values, words = [], []
    for command in commands:
        for option in command.options:
            if option.choices:
                values.append(f'    "{command.name} {option.name}") words="{" ".join(option.choices)}" ;;')
            elif option.takes_value:
                values.append(f'    "{command.name} {option.name}") return ;;')
        names = " ".join(option.name for option in command.options)
        words.append(f'      {command.name}) words="{" ".join((names, *command.words))}" ;;')
    return "\n".join(
        [
            "_sinfonia() {",
            '  local current="${COMP_WORDS[COMP_CWORD]}" words="" word',
            "  COMPREPLY=()",
            '  for word in "${COMP_WORDS[@]:0:COMP_CWORD}"; do [[ $word == -- ]] && return; done',
            '  case "${COMP_WORDS[1]} ${COMP_WORDS[COMP_CWORD-1]}" in',
            *values,
            "  esac",
            "  if [[ -z $words && $COMP_CWORD -gt 1 ]]; then",
            '    case "${COMP_WORDS[1]}" in',
            *words,
            "    esac",
            "  elif [[ -z $words ]]; then",
            f'    words="{" ".join(command.name for command in commands)} --help --version"',
            "  fi",
            '  COMPREPLY=($(compgen -W "$words" -- "$current"))',
            "}",
            "complete -o default -F _sinfonia sinfonia",
            "",
        ]
    )


def zsh(commands: Sequence[Command]) -> str:
    """For zsh, zshcompsys(1)."""
    listed = " ".join(shlex.quote(f"{one.name}:{one.help}") for one in commands)
    cases = []
    for command in commands:
        options = " ".join(shlex.quote(_zsh_option(option)) for option in command.options)
        words = f"*: :({' '.join(command.words)})" if command.words else "*: :_default"
        cases.append(f"    {command.name}) _arguments {options} {shlex.quote(words)} ;;")
    return "\n".join(
        [
            "#compdef sinfonia",
            "_sinfonia() {",
            f"  local -a commands=({listed})",
            "  if (( CURRENT == 2 )); then",
            "    _describe command commands",
            "    return",
            "  fi",
            "  if (( ${words[(i)--]} < CURRENT )); then",
            "    local -i dashes=${words[(i)--]}",
            "    shift dashes words",
            "    (( CURRENT -= dashes ))",
            "    _normal -p sinfonia",
            "    return",
            "  fi",
            '  local command="$words[2]"',
            "  shift words",
            "  (( CURRENT-- ))",
            '  case "$command" in',
            *cases,
            "  esac",
            "}",
            '[[ "$funcstack[1]" == _sinfonia ]] && _sinfonia "$@" || compdef _sinfonia sinfonia',
            "",
        ]
    )


def _zsh_option(option: Option) -> str:
    text = _short(option.help).translate(str.maketrans("[]:", "();"))
    value = ":value:" if option.takes_value else ""
    if option.choices:
        value += f"({' '.join(option.choices)})"
    return f"{option.name}[{text}]{value}{'_files' if option.is_file else ''}"


def fish(commands: Sequence[Command]) -> str:
    """For fish, complete(1)."""
    lines = [
        "complete -c sinfonia -n 'not contains -- -- (commandline -opc)' -f"
    ]  # behind it, what fish does
    for command in commands:
        lines.append(
            f"complete -c sinfonia -n __fish_use_subcommand -a {command.name} -d {shlex.quote(command.help)}"
        )
        seen = f"complete -c sinfonia -n '__fish_seen_subcommand_from {command.name}'"
        if command.words:
            lines.append(f"{seen} -a {shlex.quote(' '.join(command.words))}")
        lines += [f"{seen} {_fish_option(option)}" for option in command.options]
    return "\n".join([*lines, ""])


def _fish_option(option: Option) -> str:
    value = " -r -F" if option.is_file else " -x" if option.takes_value else ""
    if option.choices:
        value += f" -a {shlex.quote(' '.join(option.choices))}"
    return f"-l {option.name.removeprefix('--')}{value} -d {shlex.quote(_short(option.help))}"


def _short(text: str) -> str:
    """Quotes and long explanations are for `--help`."""
    line = text.split(";")[0].replace("'", "\u2019")
    return line if len(line) <= _MOST_COLUMNS else line[: _MOST_COLUMNS - 1] + "…"


SHELLS: Mapping[str, Callable[[Sequence[Command]], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
