"""`sinfonia release`: give back what this device has of an app."""

from __future__ import annotations

import argparse
import json

from device_sdk import NotFoundError, SinfoniaError, Target, TunnelError, find_deployments, open_tunnel
from device_sdk.cli import options as shared
from device_sdk.cli.export import add_owner, parts_for
from device_sdk.cli.showing import table, timings
from device_sdk.tunnels.tunnel import check_device


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said on the command line."""
    shared.describe(parser, act)
    shared.add_app(parser)
    shared.add_search(parser)
    shared.add_location(parser)
    add_owner(parser, default=None)
    shared.add_output(parser)


def act(options: argparse.Namespace) -> int:
    """Give back what this device has of the app. Nothing to give back is fine."""
    check_device()
    try:
        targets = find_deployments(
            options.root,
            options.app,
            jit=options.jit,
            location=options.location,
            timeout=options.timeout,
            on_progress=timings(options),
            parts=parts_for(options),
        )
    except NotFoundError:
        targets = []
    problems = {target.place: release_one(target) for target in targets}
    if options.json:
        print(json.dumps([{"Cloudlet": place, "Released": not why} for place, why in problems.items()]))
    elif not options.quiet:
        rows = [(place, why or "released") for place, why in problems.items()]
        print(table(("CLOUDLET", ""), rows) if rows else "nothing to release")
    return TunnelError.exit_status if any(problems.values()) else 0


def release_one(target: Target) -> str:
    """Give one backend back. Returns what went wrong; its cloudlet reclaims it then."""
    try:
        with open_tunnel(target) as tunnel:
            tunnel.release()
    except SinfoniaError as error:
        return str(error)
    return ""
