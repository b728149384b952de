"""`sinfonia doctor`: what this device lacks, and what to do."""

from __future__ import annotations

import argparse
import json
import os
import sys

from device_sdk import RequestError
from device_sdk.cli import options as shared
from device_sdk.cli import values
from device_sdk.cli.showing import say, table
from device_sdk.device.doctor import checks
from device_sdk.device.findings import Check, Finding
from device_sdk.device.stored import repair
from device_sdk.keys import state_folder

_ABOUT = """\
Look at what tunnels and backends need on this device, try it, and say what to do about what is missing. With
ROOT also whether the root is reached and the clocks agree; with --app also the whole way: deploy, tunnel
(UDP), backend, release. It uses a key of its own and touches no backend that you have.

exit status: 0 if nothing is a problem (warnings are for what works without, or not as well), else 1
"""
_MARKS = {"ok": "✓", "warning": "!", "problem": "✗"}
PROBLEM = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said on the command line."""
    shared.describe(parser, act, description=_ABOUT)
    parser.add_argument("root", metavar="ROOT", nargs="?", help="URL of a root")
    parser.add_argument(
        "--app", type=values.app, metavar="APP", help="an app to try: its UUID, or helloworld"
    )
    text = "first take others' rights on this device's keys away, and put damaged ones aside"
    parser.add_argument("--repair", action="store_true", help=text)
    shared.add_output(parser)


def act(options: argparse.Namespace) -> int:
    """Look at everything, and print what was found."""
    if options.app and not options.root:
        raise RequestError("With --app also say which root: sinfonia doctor ROOT --app APP.")
    state = state_folder(os.environ)
    listed = checks(state, options.root, options.app)
    for line in repair(state) if options.repair else ():
        say(options, line)
    found = [(check, _look(options, check)) for check in listed]
    if options.json:
        print(json.dumps([check.to_json(finding) for check, finding in found]))
    else:
        print(table(("", "CHECK", "FOUND"), [_row(*one) for one in found]))
    return PROBLEM if any(finding.state == "problem" for _, finding in found) else 0


def _look(options: argparse.Namespace, check: Check) -> Finding:
    """The finding, with a line on the terminal while it takes its time."""
    alive = sys.stderr.isatty() and not (options.quiet or options.json)
    if alive:
        print(f"\r\x1b[K… {check.name}", end="", file=sys.stderr, flush=True)
    try:
        return check.look()
    finally:
        if alive:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _row(check: Check, finding: Finding) -> tuple[str, ...]:
    advice = f" → {finding.advice}" if finding.advice else ""
    return _MARKS[finding.state], check.name, f"{finding.detail}{advice}"
