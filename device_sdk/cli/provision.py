"""`sinfonia provision`: a backend on a cloudlet nearby that has no recipe for the app, from files."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from device_sdk import Bundle, deploy_backend
from device_sdk.cli import options as shared
from device_sdk.cli import values
from device_sdk.cli.showing import timings

DESCRIPTION = """\
Deploy on a cloudlet of the device's own network. Where that has no recipe for the app, hand it the recipe,
its chart and its images; what is there already is not sent again, and a call that was broken off goes on
where it was. Only cloudlets whose operator allows it take them (sinfonia-agent run --take-bundles).
`sinfonia run` finds the backend then.

The images are an OCI archive, as podman save --format oci-archive and docker save (25 and later) write it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said on the command line."""
    shared.describe(parser, act, description=DESCRIPTION)
    shared.add_app(parser)
    parser.add_argument("--recipe", type=Path, required=True, metavar="FILE", help="the recipe (YAML)")
    parser.add_argument("--chart", type=Path, required=True, metavar="FILE", help="its chart (.tgz)")
    text = "its images, where the cloudlet can't pull them"
    parser.add_argument("--images", type=Path, metavar="FILE", help=text)
    text = "which of images made for several architectures to send [amd64]"
    parser.add_argument("--platform", default="amd64", metavar="ARCH", help=text)
    text = "also hand it to cloudlets that anybody may use, or only to those paired with this device [open]"
    parser.add_argument("--jit-trust", choices=("open", "paired"), default="open", help=text)
    text = "limit of it all [600]"
    parser.add_argument("--timeout", type=values.seconds, default=600.0, metavar="S", help=text)
    shared.add_output(parser)


def act(options: argparse.Namespace) -> int:
    """Hand over what is lacking, deploy, and print the target."""
    bundle = Bundle.of(options.app, options.recipe, options.chart, options.images, options.platform)
    targets = deploy_backend(
        options.root,
        options.app,
        jit="only",
        jit_trust=options.jit_trust,
        bundle=bundle,
        timeout=options.timeout,
        on_progress=timings(options),
    )
    if options.json:
        print(json.dumps([target.to_json() for target in targets]))
    for target in () if options.json else targets:
        print(f"{target.place}  {target.status}  {target.deployment.tunnel.endpoint}")
    return 0
