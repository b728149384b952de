"""What the operator's commands print: aligned tables for people, JSON and CSV for programs.

Called by `operator_commands.py`. Whatever others may have named is shown without control characters.
"""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

from operator_client import printable

_WIDEST = 60


def text_of(value: Any) -> str:
    """A value as a table shows it."""
    if value is None or value == [] or value == {}:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return printable(", ".join(map(text_of, value)), 2000)
    if isinstance(value, dict):
        return printable(", ".join(f"{name}={text_of(inner)}" for name, inner in value.items()), 2000)
    return printable(str(value), 2000)


def moment(seconds: int | None) -> str | None:
    """Seconds since 1970 as people read them."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], stream: TextIO) -> None:
    """Rows in aligned columns; numbers to the right. A column is as wide as its widest value, up to 60."""
    shown = [[text_of(row.get(column)) for column in columns] for row in rows]
    numeric = [_are_numbers([line[at] for line in shown]) for at in range(len(columns))]
    lines = [[column.upper().replace("_", " ") for column in columns], *shown]
    widths = [min(_WIDEST, max(len(line[at]) for line in lines)) for at in range(len(columns))]
    for line in lines:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ]
        print("  ".join(cells).rstrip(), file=stream)


def card(thing: Mapping[str, Any], stream: TextIO) -> None:
    """One thing, a line for each of its fields."""
    width = max(map(len, thing), default=0)
    for name, value in thing.items():
        print(f"{name.replace('_', ' ').ljust(width)}  {text_of(value)}", file=stream)


def as_json(thing: Any, stream: TextIO) -> None:
    """For programs; non-ASCII is escaped, so that any terminal takes it."""
    json.dump(thing, stream, indent=2)
    stream.write("\n")


class JsonArray:
    """A JSON array that is written while it grows."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._opening = "[\n"

    def add(self, entry: Mapping[str, Any]) -> None:
        """One more element."""
        self._stream.write(f"{self._opening}  {json.dumps(entry)}")
        self._opening = ",\n"

    def close(self) -> None:
        """That was all."""
        self._stream.write("[]\n" if self._opening == "[\n" else "\n]\n")


class CsvFile:
    """CSV (RFC 4180) with a header, written while it grows."""

    def __init__(self, stream: TextIO, columns: Sequence[str]) -> None:
        self._writer = csv.DictWriter(stream, columns, restval="", extrasaction="ignore")
        self._writer.writeheader()

    def add(self, entry: Mapping[str, Any]) -> None:
        """One more line."""
        self._writer.writerow(entry)

    def close(self) -> None:
        """That was all."""


def _are_numbers(texts: Sequence[str]) -> bool:
    """Whether what a column has is numbers."""
    given = [text for text in texts if text != "-"]
    return bool(given) and all(text.replace(".", "", 1).isdecimal() for text in given)
