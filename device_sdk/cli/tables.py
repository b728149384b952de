"""Tables for people: columns where they fit the terminal, else each row as a name with its facts below.

Called by `showing.py`. Nothing is cut off, but from the living line of `progress.py`.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Sequence

_GAP = "  "
_INDENT = "    "
_LEAST_WORDS = 24  # a last column narrower than that is no pleasure to read


def layout(heads: Sequence[str], rows: Sequence[Sequence[str]], width: int | None) -> str:
    """The table as text. `width` is the terminal's; None where there is none, so that each row is one line,
    without a head.
    """
    lines = [list(heads), *map(list, rows)] if width else [list(row) for row in rows]
    used = [column for column in range(len(heads)) if any(row[column] for row in rows)]
    lines = [[line[column] for column in used] for line in lines]
    if not lines:
        return ""
    widths = [max(map(columns, cells)) for cells in zip(*lines, strict=True)]
    before = sum(widths[:-1]) + len(_GAP) * (len(widths) - 1)
    if width is None or before + widths[-1] <= width:
        return "\n".join(_line(line, widths) for line in lines)
    if before + _LEAST_WORDS <= width:
        return "\n".join(_wrapped(line, widths, before, width) for line in lines)
    return "\n".join(_stacked(line, width) for line in lines[1:])


def columns(text: str) -> int:
    """How many columns of a terminal the text takes (Unicode Standard Annex 11)."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(bool(unicodedata.combining(char)) for char in text)


def cut(text: str, width: int) -> str:
    """The beginning of `text` that fits so many columns."""
    while columns(text) > max(0, width):
        text = text[:-1]
    return text


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell + " " * (width - columns(cell)) for cell, width in zip(cells, widths, strict=True))
    return _GAP.join(padded).rstrip()


def _wrapped(cells: Sequence[str], widths: Sequence[int], before: int, width: int) -> str:
    words = textwrap.wrap(cells[-1], width - before) or [""]
    first = _line([*cells[:-1], words[0]], widths)
    return "\n".join([first, *(" " * before + more for more in words[1:])])


def _stacked(cells: Sequence[str], width: int) -> str:
    facts = textwrap.wrap(_GAP.join(filter(None, cells[1:])), max(8, width - len(_INDENT)))
    return "\n".join([cells[0], *(_INDENT + fact for fact in facts)])
