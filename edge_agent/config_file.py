"""`--config FILE`: options from a YAML file, by the names that they have on the command line. Called by
`arguments.py`; reads the one file.

    name: shop-7
    root:
      - https://root.example/api
      - {url: https://other.example/api, capacity: 10, price: 0.12}
    recipes-from-roots: true
    idle-seconds: 120

They come before those of the command line: there an option that is given once is given anew, and one that may
be repeated is added to. An option whose help says so may be an object, which stands for its JSON. What the
values may be is checked where all are, in `settings.py`.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from edge_agent.errors import SettingsError

_OPTION = "--config"
_MOST_BYTES = 1 << 20


def with_file(words: Sequence[str], known: Collection[str], objects: Collection[str] = ()) -> list[str]:
    """The words of a command line with the options of the file that `--config` names, if it does, right after
    the command. `known`: names of options, without dashes; `objects`: those that may be objects. Raises
    `SettingsError`.
    """
    named = _named(words)
    if named is None:
        return list(words)
    return [*words[:1], *_options(Path(named), known, objects), *words[1:]]


def _named(words: Sequence[str]) -> str | None:
    found = None
    for number, word in enumerate(words):
        if word == _OPTION and number + 1 < len(words):
            found = words[number + 1]
        elif word.startswith(f"{_OPTION}="):
            found = word.partition("=")[2]
    return found


def _options(path: Path, known: Collection[str], objects: Collection[str]) -> Iterator[str]:
    for name, value in _read(path).items():
        if name not in known or f"--{name}" == _OPTION:
            near = difflib.get_close_matches(str(name), known, 1)
            hint = f"; is {near[0]} meant?" if near else "; `sinfonia-agent run --help` names them all"
            raise SettingsError(f"{_OPTION} {path}: there is no option {name}{hint}")
        for one in value if isinstance(value, list) else [value]:
            yield from _words(path, name, _as_json(path, name, one) if name in objects else one)


def _words(path: Path, name: str, value: Any) -> Iterator[str]:
    if value is True:
        yield f"--{name}"
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield f"--{name}={value}"
    elif value is not False and value is not None:
        raise SettingsError(
            f"{_OPTION} {path}: {name} must be text, a number, true, false, or a list of them"
        )


def _as_json(path: Path, name: str, value: Any) -> Any:
    """An object's JSON; other values as they are."""
    if not isinstance(value, dict):
        return value
    try:
        return json.dumps({field: said for field, said in value.items() if said is not None})
    except (TypeError, ValueError, RecursionError) as error:
        raise SettingsError(f"{_OPTION} {path}: {name} has something that is no text or number") from error


def _read(path: Path) -> dict[Any, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{_OPTION} {path}: {error.strerror or error}") from error
    if len(text) > _MOST_BYTES:
        raise SettingsError(f"{_OPTION} {path}: has more than a megabyte")
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise SettingsError(f"{_OPTION} {path}: is no YAML{where}") from error
    if not isinstance(data, dict | None):
        raise SettingsError(f"{_OPTION} {path}: must have lines such as name: value")
    return data or {}
