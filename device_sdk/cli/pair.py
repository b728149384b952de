"""`sinfonia pair`: this device and a cloudlet at home come to know each other."""

from __future__ import annotations

import argparse
import json
import os

from device_sdk.cli import options as shared
from device_sdk.errors import NotFoundError, RequestError
from device_sdk.keys import state_folder
from device_sdk.nearby.identity import device_identity
from device_sdk.nearby.paired import PairedCloudlet, forget, paired_cloudlets
from device_sdk.nearby.pairing import pair, pin
from device_sdk.nearby.pairing_wire import encoded

_ABOUT = """\
Pair this device with a cloudlet on its own network, so that the cloudlet serves it and no impostor can.

The cloudlet's operator runs `sinfonia-agent pair` there and reads out a code of six digits. Or: the operator
lists this device (--show-key) and hands on the cloudlet's key (`sinfonia-agent pair --key`).
"""
_EXAMPLES = """\
examples:
  sinfonia pair living-room 482709
  sinfonia pair http://192.168.1.5:7070 482709
  sinfonia pair living-room --key 11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo
  sinfonia pair --list
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said on the command line."""
    shared.describe(parser, act, description=_ABOUT, epilog=_EXAMPLES)
    parser.add_argument("where", metavar="NAME|URL", nargs="?", help="the cloudlet")
    parser.add_argument("code", metavar="CODE", nargs="?", help="what it shows")
    parser.add_argument("--key", help="the cloudlet's public key, in the place of a code")
    parser.add_argument("--name", help="what this device calls itself there [its host name]")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="show the cloudlets that this device knows")
    what.add_argument("--forget", metavar="NAME|UUID", help="know a cloudlet no more")
    what.add_argument("--show-key", action="store_true", help="show this device's public key")
    shared.add_output(parser)


def act(options: argparse.Namespace) -> int:
    """Do what the command line says. Raises the errors of `errors.py`."""
    state = state_folder(os.environ)
    if options.show_key:
        key = encoded(device_identity(state).public)
        print(json.dumps({"Key": key}) if options.json else key)
        return 0
    _show(_cloudlets(options), options)
    return 0


def _cloudlets(options: argparse.Namespace) -> list[PairedCloudlet]:
    state = state_folder(os.environ)
    if options.list:
        return list(paired_cloudlets(state).values())
    if options.forget:
        gone = forget(state, options.forget)
        if not gone:
            raise NotFoundError(
                f"This device knows no cloudlet {options.forget!r}; see: sinfonia pair --list."
            )
        return gone
    if not options.where or bool(options.code) == bool(options.key):
        raise RequestError("Say which cloudlet, and the code that it shows: sinfonia pair NAME|URL CODE.")
    if options.key:
        return [pin(options.where, options.key)]
    return [pair(options.where, options.code, name=options.name)]


def _show(cloudlets: list[PairedCloudlet], options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps([one.to_json() for one in cloudlets]))
        return
    word = "forgotten  " if options.forget else "" if options.list else "paired  "
    lines = [f"{word}{one.name or '(no name)'}  {one.uuid}  {encoded(one.key)}" for one in cloudlets]
    print("\n".join(lines) or "this device is paired with no cloudlet")
