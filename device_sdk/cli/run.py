"""`sinfonia run`: a command with a way to its backend."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from typing import Any

from device_sdk import Chosen, SinfoniaError, Timings, Tunnel, choose
from device_sdk.cli import options as shared
from device_sdk.cli.deploy import deploy
from device_sdk.cli.showing import STALE, complain, say, timings
from device_sdk.tunnels.tunnel import check_device
from device_sdk.wire import MAX_RESULTS

RELEASE_WAIT_SECONDS = 2.0  # after the command has ended
NO_COMMAND = 127  # as shells have it
_USAGE = "sinfonia run ROOT APP [options] -- COMMAND …"
_ABOUT = """\
Deploy the backend, and run a command with a way to it, in a network of the command's own. What the command
leaves running in there is ended with it: SIGTERM, and SIGKILL 2 s later.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said on the command line."""
    shared.describe(parser, act, taken="must", usage=_USAGE, description=_ABOUT)
    shared.add_app(parser)
    shared.add_choose(parser)
    shared.add_results(parser, None)
    shared.add_search(parser)
    shared.add_deploy(parser)
    shared.add_ready_timeout(parser)
    parser.add_argument("--release", action="store_true", help="give the backend back when the command ends")
    shared.add_output(parser)


def act(options: argparse.Namespace) -> int:
    """Deploy, open a tunnel, and run the command behind it."""
    program = options.command[0]
    if shutil.which(program) is None:
        text = f"There is no command {program!r}; nothing was deployed."
        complain(options, "CommandNotFound", text, NO_COMMAND)
        return NO_COMMAND
    check_device()
    seen = timings(options)
    options.results = options.results or (1 if options.choose == "first" else MAX_RESULTS)
    targets = deploy(options, seen)
    with choose(targets, options.choose, ready_timeout=options.ready_timeout, on_progress=seen) as chosen:
        _summary(options, chosen, seen)
        status = chosen.tunnel.run(options.command)
        if options.release:
            _release_after(chosen.tunnel, options)
        chosen.wait_released(RELEASE_WAIT_SECONDS)
    return status


def _release_after(tunnel: Tunnel, options: argparse.Namespace) -> None:
    """Give the backend back; a failure is told, and the command's own status stands."""
    try:
        tunnel.release()
    except SinfoniaError as error:
        complain(options, type(error).__name__, str(error), error.exit_status)


def _summary(options: argparse.Namespace, chosen: Chosen, seen: Timings) -> None:
    target = chosen.target
    if options.json:
        facts: dict[str, Any] = {"Target": target.to_json(), "Timings": seen.to_json()}
        if len(chosen.measured) > 1:
            facts["Measured"] = [one.to_json() for one in chosen.measured]
        print(json.dumps(facts), file=sys.stderr, flush=True)
    else:
        rtt_ms = next(one.rtt_ms for one in chosen.measured if one.target is target)
        far = "" if rtt_ms is None else f", {rtt_ms:.1f} ms away"
        say(options, f"the backend runs at {target.place}{far}{f' ({STALE})' if target.stale else ''}")
