"""The options that several of `sinfonia`'s commands have. Called by their modules."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from device_sdk.cli import values

Act = Callable[[argparse.Namespace], int]


def describe(
    parser: argparse.ArgumentParser,
    act: Act,
    *,
    taken: str = "never",
    usage: str | None = None,
    description: str | None = None,
    epilog: str | None = None,
) -> None:
    """What a command does, and how its help tells it. `taken`: whether words after `--` must, may or can
    never be given.
    """
    parser.usage, parser.epilog = usage, epilog
    parser.description = description or parser.description
    parser.set_defaults(act=act, taken=taken, quiet=False)


def add_app(parser: argparse.ArgumentParser) -> None:
    """Whose backend: ROOT and APP."""
    parser.add_argument("root", metavar="ROOT", help="URL of the root, such as https://root.example.org")
    parser.add_argument("app", metavar="APP", type=values.app, help="UUID of the app, or helloworld")


def add_choose(parser: argparse.ArgumentParser) -> None:
    """`--choose`."""
    text = (
        "of several cloudlets: the first that answers, in the root's order; any; or the one with the "
        "shortest round trip through its tunnel, measured in at most 3 s. The others are given back [first]"
    )
    parser.add_argument("--choose", choices=("first", "random", "fastest"), default="first", help=text)


def add_results(parser: argparse.ArgumentParser, default: int | None) -> None:
    """`--results`; without a `default` it goes by `--choose`."""
    known = default or "1, or 3 to choose random or fastest"
    text = f"how many cloudlets, 1 to 3 [{known}]"
    parser.add_argument("--results", type=values.results, default=default, metavar="N", help=text)


def add_search(parser: argparse.ArgumentParser) -> None:
    """Where cloudlets are looked for, and for how long."""
    text = "cloudlets on the device's own network: first, instead of the root, or never [prefer]"
    parser.add_argument("--jit", choices=("prefer", "only", "off"), default="prefer", help=text)
    text = "limit of the call [30]"
    parser.add_argument("--timeout", type=values.seconds, default=30.0, metavar="S", help=text)


def add_location(parser: argparse.ArgumentParser) -> None:
    """`--location`."""
    text = "where the device is, in degrees; tells the root"
    parser.add_argument("--location", type=values.location, metavar="LAT,LON", help=text)


def add_device(parser: argparse.ArgumentParser) -> None:
    """What the root is told about this device."""
    add_location(parser)
    text = (
        "what else the root may know of the device, beside what the user's file allows; see: sinfonia context"
    )
    parser.add_argument("--share", type=values.facts, default=(), metavar="FACT,…", help=text)
    text = "round the location to a grid of so many km [a given one as it is, another to 1]"
    parser.add_argument("--precision", type=values.kilometres, metavar="KM", help=text)


def add_deploy(parser: argparse.ArgumentParser) -> None:
    """What is asked of cloudlets, and what they and the root are told."""
    parser.add_argument(
        "--jit-trust",
        choices=("open", "paired"),
        default="open",
        help="of cloudlets nearby, ask also those that anybody may use, or only those paired with this "
        "device, which always have to show who they are [open]",
    )
    parser.add_argument(
        "--require",
        dest="requirements",
        action=values.Require,
        type=values.requirement,
        metavar="WHAT[=VALUE]",
        help="what a cloudlet must have: gpu, cached, cores=N, memory=16G, jurisdiction=DE (or US-PA; of "
        "several one is enough), trust=signed|invited|listed, max-price=N an hour; may be repeated",
    )
    parser.add_argument(
        "--set",
        dest="values",
        action=values.Set,
        type=values.setting,
        metavar="NAME=VALUE",
        help="a value that the app's recipe lets calls set, such as game.level=3: a number, true, false, or "
        "a text, which double quotes keep one; a backend that runs keeps its own; may be repeated",
    )
    add_device(parser)
    text = "don't tell the root the round trip to the cloudlet"
    parser.add_argument("--no-measurements", dest="measurements", action="store_false", help=text)


def add_ready_timeout(parser: argparse.ArgumentParser) -> None:
    """`--ready-timeout`."""
    text = "how long to wait for the backend [60]"
    parser.add_argument("--ready-timeout", type=values.seconds, default=60.0, metavar="S", help=text)


def add_output(parser: argparse.ArgumentParser) -> None:
    """For whom is printed, and how much."""
    parser.add_argument("--json", action="store_true", help="results and errors for programs")
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument("--verbose", action="store_true", help="say more")
    loudness.add_argument("--quiet", action="store_true", help="say nothing but results and errors")
