"""`sinfonia associate`: a command that keeps its backend while the device moves and cloudlets come and go."""

from __future__ import annotations

import argparse
import json
import shutil
import sys

from device_sdk import Association, AssociationEvent, associate
from device_sdk.cli import options as shared
from device_sdk.cli.context import told
from device_sdk.cli.showing import complain, say, timings
from device_sdk.tunnels.tunnel import check_device

NO_COMMAND = 127  # as shells have it
_USAGE = "sinfonia associate ROOT APP [options] [-- COMMAND …]"
_ABOUT = """\
Keep a way to a backend, whatever cloudlet it is on, and show what happens: when the cloudlet is lost, drains
or gets clearly slower, another one is ready before it is left. With a COMMAND until that ends, else until
Ctrl-C. What the command leaves running is ended with it.
"""
_WORDS = {
    "connected": "the backend runs at {0}",
    "degraded": "{0} has become slow: {1}",
    "handing_over": "going to {0}: {1}",
    "handed_over": "the backend runs at {0}",
    "lost": "{0} is lost: {1}; looking for another cloudlet",
    "recovered": "{0} is well again: {1}",
    "draining": "{0} will be away; looking for another cloudlet",
    "released": "the association with {0} has ended",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said on the command line."""
    shared.describe(parser, act, taken="may", usage=_USAGE, description=_ABOUT)
    shared.add_app(parser)
    shared.add_choose(parser)
    shared.add_results(parser, None)
    shared.add_search(parser)
    shared.add_deploy(parser)
    shared.add_ready_timeout(parser)
    parser.add_argument("--release", action="store_true", help="give the backend back at the end")
    shared.add_output(parser)


def act(options: argparse.Namespace) -> int:
    """Associate, and run the command, or wait."""
    if options.command and shutil.which(options.command[0]) is None:
        text = f"There is no command {options.command[0]!r}; nothing was deployed."
        complain(options, "CommandNotFound", text, NO_COMMAND)
        return NO_COMMAND
    check_device()
    with _associated(options) as association:
        status = association.run(options.command) if options.command else _wait(association)
        if options.release:
            association.release()
    return status


def _associated(options: argparse.Namespace) -> Association:
    return associate(
        options.root,
        options.app,
        choose=options.choose,
        results=options.results,
        jit=options.jit,
        jit_trust=options.jit_trust,
        context=told(options),
        requirements=options.requirements,
        values=options.values,
        measurements=options.measurements,
        timeout=options.timeout,
        ready_timeout=options.ready_timeout,
        on_progress=timings(options),
        on_event=lambda event: _show(options, event),
    )


def _wait(association: Association) -> int:
    """Until somebody ends it; that is no failure."""
    try:
        for _ in association.events():
            pass
    except KeyboardInterrupt:
        return 0
    return 0


def _show(options: argparse.Namespace, event: AssociationEvent) -> None:
    if options.json:  # stdout is the command's, where there is one
        print(json.dumps(event.to_json()), file=sys.stderr if options.command else sys.stdout, flush=True)
    else:
        say(options, _WORDS[event.kind].format(event.cloudlet, event.reason))
