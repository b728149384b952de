"""What people and programs see of a command: progress and errors on stderr, tables and JSON on stdout.

Called by the commands and `command.py`. Whatever came over a wire loses its control characters here.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence

from device_sdk import Timings
from device_sdk.cli.progress import display
from device_sdk.cli.tables import layout
from device_sdk.fields import printable

STALE = "not heard of lately"


def timings(options: argparse.Namespace) -> Timings:
    """What shows progress as the options ask, and remembers how long each phase took."""
    return Timings(display(sys.stderr, quiet=options.quiet or options.json, verbose=options.verbose))


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The rows as the terminal has room for them; a row a line, without a head, for other programs."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    return layout(heads, [[printable(cell) for cell in row] for row in rows], width)


def complain(
    options: argparse.Namespace, kind: str, message: str, status: int, trace: str | None = None
) -> None:
    """Say what went wrong: a line, or with `--json` an object."""
    line = printable(message)
    if options.json:
        traced = {"TraceID": trace} if trace else {}
        line = json.dumps({"Error": kind, "Detail": line, "ExitStatus": status, **traced})
    else:
        known = f" (trace {trace})" if trace and options.verbose else ""
        line = f"sinfonia: {line}{known}"
    start = "\r\x1b[K" if sys.stderr.isatty() else ""
    print(f"{start}{line}", file=sys.stderr, flush=True)


def say(options: argparse.Namespace, text: str) -> None:
    """Tell people, on stderr, what is not the result."""
    if not (options.quiet or options.json):
        print(f"sinfonia: {printable(text)}", file=sys.stderr, flush=True)
