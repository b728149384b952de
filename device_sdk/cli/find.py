"""`sinfonia find`: the cloudlets around, without deploying."""

from __future__ import annotations

import argparse
import json

from device_sdk import Candidate, find_cloudlets
from device_sdk.cli import options as shared
from device_sdk.cli.context import place
from device_sdk.cli.showing import STALE, table, timings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said on the command line."""
    shared.describe(parser, act)
    shared.add_app(parser)
    shared.add_results(parser, 3)
    shared.add_search(parser)
    shared.add_device(parser)
    shared.add_output(parser)


def act(options: argparse.Namespace) -> int:
    """Print the cloudlets that a deploy would ask."""
    candidates = find_cloudlets(
        options.root,
        options.app,
        results=options.results,
        jit=options.jit,
        location=place(options),
        timeout=options.timeout,
        on_progress=timings(options),
    )
    if options.json:
        print(json.dumps([candidate.to_json() for candidate in candidates]))
    else:
        print(table(("CLOUDLET", "ADDRESS", "DISTANCE", ""), [_row(one) for one in candidates]))
    return 0


def _row(candidate: Candidate) -> tuple[str, ...]:
    distance = "" if candidate.distance_km is None else f"{candidate.distance_km:.1f} km"
    local = "local network" if candidate.local_network else ""
    more = ", ".join(filter(None, (local, STALE if candidate.stale else "")))
    return (
        candidate.name or str(candidate.uuid),
        candidate.endpoint or "through its root",
        distance,
        more,
    )
