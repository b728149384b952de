"""`sinfonia deploy`: a backend, and the ways to it."""

from __future__ import annotations

import argparse
import json

from device_sdk import Target, Timings, deploy_backend
from device_sdk.calls.call import Parts
from device_sdk.cli import options as shared
from device_sdk.cli.context import told
from device_sdk.cli.showing import STALE, table, timings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said on the command line."""
    shared.describe(parser, act)
    shared.add_app(parser)
    shared.add_results(parser, 1)
    shared.add_search(parser)
    shared.add_deploy(parser)
    shared.add_output(parser)


def act(options: argparse.Namespace) -> int:
    """Deploy and print the targets."""
    targets = deploy(options, timings(options))
    if options.json:
        print(json.dumps([target.to_json() for target in targets]))
    else:
        rows = [(one.place, one.status, one.deployment.tunnel.endpoint, _more(one)) for one in targets]
        print(table(("CLOUDLET", "STATUS", "GATEWAY", ""), rows))
    return 0


def deploy(options: argparse.Namespace, seen: Timings, parts: Parts | None = None) -> list[Target]:
    """What the options ask for: those of `add_search` and `add_deploy`."""
    return deploy_backend(
        options.root,
        options.app,
        results=options.results,
        jit=options.jit,
        jit_trust=options.jit_trust,
        context=told(options),
        requirements=options.requirements,
        values=options.values,
        measurements=options.measurements,
        timeout=options.timeout,
        on_progress=seen,
        parts=parts,
    )


def _more(target: Target) -> str:
    return ", ".join(filter(None, ("nearby" if target.jit else "", STALE if target.stale else "")))
