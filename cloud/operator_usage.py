"""The operator's `usage` command: a summary for people, every entry for programs.

Called by `operator_cli.py`; calls `operator_client.py` and `operator_output.py`.
"""

import sys
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

from operator_client import Refused
from operator_commands import Session
from operator_output import CsvFile, JsonArray, moment, table

_CSV_COLUMNS = ("event", "app", "cloudlet", "deployment", "device", "from", "to", "bytes_in", "bytes_out")
_COLUMNS = ("deployments", "hours", "bytes_in", "bytes_out")


def usage(session: Session, today: date) -> None:
    """Show or export the usage of some days."""
    options = session.options
    last = options.last or today
    first = options.first or last.replace(day=1)
    if options.csv and options.json:
        raise Refused("--csv and --json: choose one.")
    if first > last:
        raise Refused("--to: must not be before --from.")
    entries = _entries(session, first, last)
    if options.csv:
        _export(CsvFile(session.output, _CSV_COLUMNS), entries, _for_spreadsheets)
    elif options.json:
        _export(JsonArray(session.output), entries, lambda entry: entry)
    else:
        table(_summary(entries, options.by), (options.by, *_COLUMNS), session.output)


def _entries(session: Session, first: date, last: date) -> Iterator[dict[str, Any]]:
    """Every entry; on a terminal a line says how far it is."""
    query = {"from": str(first), "to": str(last), "limit": "1000"}
    count = 0
    alive = sys.stderr.isatty()
    for page in session.client.pages("tenants", session.tenant, "usage", query=query):
        yield from page
        count += len(page)
        if alive and page:
            sys.stderr.write(f"\r\x1b[K{count} entries, up to {moment(page[-1]['from'])}")
            sys.stderr.flush()
    if alive:
        sys.stderr.write("\r\x1b[K")


def _export(
    file: CsvFile | JsonArray,
    entries: Iterator[dict[str, Any]],
    shown: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    for entry in entries:
        file.add(shown(entry))
    file.close()


def _for_spreadsheets(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "from": moment(entry["from"]), "to": moment(entry.get("to"))}


def _summary(entries: Iterator[dict[str, Any]], by: str) -> list[dict[str, Any]]:
    """A line per app, cloudlet or day: deployments that began or were reported, their hours and bytes."""
    lines: dict[str, dict[str, Any]] = {}
    deployments: dict[str, set[tuple[str, str]]] = {}
    for entry in entries:
        name = str(moment(entry["from"]))[:10] if by == "day" else entry[by]
        line = lines.setdefault(name, {by: name, "seconds": 0, "bytes_in": 0, "bytes_out": 0})
        line["seconds"] += entry.get("to", entry["from"]) - entry["from"]
        line["bytes_in"] += entry.get("bytes_in", 0)
        line["bytes_out"] += entry.get("bytes_out", 0)
        deployments.setdefault(name, set()).add((entry["cloudlet"], entry["deployment"]))
    return [
        {**line, "deployments": len(deployments[name]), "hours": f"{line['seconds'] / 3600:.1f}"}
        for name, line in sorted(lines.items())
    ]
