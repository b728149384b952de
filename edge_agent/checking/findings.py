"""What a check found, and how people and programs read it: pure, used by all of this room."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from edge_agent.errors import AgentError

Level = Literal["good", "warning", "bad", "unknown"]
Check = Callable[[], "Iterable[Finding]"]

_MARKS: dict[Level, tuple[str, str]] = {
    "good": ("✓", "32"),
    "warning": ("!", "33"),
    "bad": ("✗", "31"),
    "unknown": ("?", "36"),
}
_WIDTH = 100
_TEXT = 30


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `advice`: what to do about it, empty where nothing has to be done."""

    part: str
    subject: str
    level: Level
    text: str
    advice: str = ""


def run(checks: Sequence[tuple[str, Check]]) -> Iterator[Finding]:
    """Do each check, named by its part and subject; one that fails is a finding too, and hides no other."""
    for name, check in checks:
        part, _, subject = name.partition(": ")
        try:
            yield from check()
        except (AgentError, OSError, ValueError, LookupError, TypeError) as error:
            yield Finding(part, subject, "bad", f"can't be checked: {error}"[:300])


def status(findings: Iterable[Finding]) -> int:
    """The exit status: 2 something has to be changed, 1 something should be looked at, 0 all is well."""
    levels = {finding.level for finding in findings}
    return 2 if "bad" in levels else 1 if "warning" in levels else 0


def as_json(findings: Sequence[Finding]) -> str:
    """One document: `status` as above, and `findings` with part, subject, level, text, advice."""
    return json.dumps({"status": status(findings), "findings": [asdict(one) for one in findings]}, indent=1)


def as_table(findings: Sequence[Finding], *, colour: bool) -> str:
    """A table by part, advice below each line that needs some, and a last line that sums it up."""
    lines: list[str] = []
    part = ""
    for finding in findings:
        if finding.part != part:
            part = finding.part
            lines += ["", f"\x1b[1m{part}\x1b[0m" if colour else part]
        lines += _rows(finding, colour=colour)
    bad, warnings = (sum(one.level == level for one in findings) for level in ("bad", "warning"))
    if bad:
        end = f"{_count(bad, 'thing has', 'things have')} to be changed before the agent can work."
    elif warnings:
        end = f"It can work; {_count(warnings, 'thing', 'things')} should be looked at."
    else:
        end = "All is well."
    return "\n".join([*lines[1:], "", end])


def _rows(finding: Finding, *, colour: bool) -> Iterator[str]:
    mark, code = _MARKS[finding.level]
    shown = f"\x1b[{code}m{mark}\x1b[0m" if colour else mark
    first, *more = textwrap.wrap(finding.text, _WIDTH - _TEXT) or [""]
    yield f"  {shown} {finding.subject:<{_TEXT - 5}} {first}"
    yield from (" " * _TEXT + line for line in more)
    for line in textwrap.wrap(
        finding.advice, _WIDTH - _TEXT - 2, initial_indent="→ ", subsequent_indent="  "
    ):
        yield " " * _TEXT + line


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
