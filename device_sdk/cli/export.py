"""`sinfonia export`: a tunnel for a device that has no Sinfonia, such as a phone."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from device_sdk import DeviceError, RequestError, Target
from device_sdk.calls.call import Parts
from device_sdk.cli import options as shared
from device_sdk.cli.deploy import deploy
from device_sdk.cli.showing import say, timings
from device_sdk.keys import state_folder
from device_sdk.tunnels.quick import wg_quick

_ABOUT = """\
Deploy the backend for another device, such as a phone, and write the tunnel to it as a file that wg-quick and
WireGuard's own apps read, or as a QR code that the apps scan.

The other device gets a key of its own, kept here under the name of --as: exporting again gives the same
backend, `sinfonia release ROOT APP --as NAME` gives it back. Keep the file and the code to yourself: whoever
has them is that device.

The gateway resolves the backend's names and no others, and phones ask it for all while the tunnel is up: on
Android give the tunnel to the app alone (--android-app), elsewhere use addresses (--no-names).
"""
_EXAMPLES = """\
examples:
  sinfonia export https://root.example.org APP-UUID                    # writes sf-… .conf
  sinfonia export https://root.example.org APP-UUID --as phone --qr
  sinfonia export https://root.example.org APP-UUID --output tv.conf && sudo wg-quick up ./tv.conf
"""
# What wg-quick(8) and the apps take as a tunnel's name: an interface's.
_NAME = re.compile(r"[A-Za-z0-9_=+.-]{1,15}\.conf")
_OWNER = re.compile(r"[A-Za-z0-9_-]{1,32}")
_PACKAGE = re.compile(r"[A-Za-z]\w{0,63}(\.[A-Za-z]\w{0,63}){1,7}", re.ASCII)
_QUIET_ZONE = 4  # modules around a code (ISO/IEC 18004)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said on the command line."""
    shared.describe(parser, act, description=_ABOUT, epilog=_EXAMPLES)
    shared.add_app(parser)
    shared.add_search(parser)
    shared.add_deploy(parser)
    add_owner(parser, default="export")
    text = "where to write it, 0600 [sf-APP.conf]; - for standard output"
    parser.add_argument("--output", metavar="FILE", help=text)
    parser.add_argument("--qr", action="store_true", help="show a QR code on the terminal instead")
    parser.add_argument("--png", metavar="FILE", help="write a QR code as a picture, 0600")
    parser.add_argument("--force", action="store_true", help="write over a file that is there")
    text = "send all the other device's traffic into the tunnel; what is not for the backend is lost there"
    parser.add_argument("--all-traffic", action="store_true", help=text)
    text = "don't resolve names through the tunnel; the file tells the backend's addresses"
    parser.add_argument("--no-names", dest="names", action="store_false", help=text)
    text = "on Android, give the tunnel and its names to this app alone (org.example.app); may be repeated"
    parser.add_argument(
        "--android-app",
        dest="android_apps",
        type=_package,
        action="append",
        default=[],
        metavar="PACKAGE",
        help=text,
    )
    shared.add_output(parser)


def add_owner(parser: argparse.ArgumentParser, default: str | None) -> None:
    """`--as`: for which other device."""
    text = "the other device's name, for its key" + (f" [{default}]" if default else "")
    parser.add_argument("--as", dest="owner", type=_owner, default=default, metavar="NAME", help=text)


def parts_for(options: argparse.Namespace) -> Parts | None:
    """A call's parts, with the other device's keys if there is one."""
    if options.owner is None:
        return None
    state = state_folder(os.environ)
    return Parts(state, keys=state / "exported" / options.owner)


def act(options: argparse.Namespace) -> int:
    """Deploy, and write the tunnel."""
    path, png = _paths(options)
    options.results = 1
    target = deploy(options, timings(options), parts_for(options))[0]
    text = _tunnel(options, target, _about(options, target))
    short = _tunnel(options, target, [])
    if options.qr:
        _code(short).terminal(sys.stdout, border=_QUIET_ZONE, compact=True)
    if png:
        picture = io.BytesIO()
        _code(short).save(picture, kind="png", scale=6, border=_QUIET_ZONE)
        _write(png, picture.getvalue(), force=options.force)
    if path:
        _write(path, text.encode(), force=options.force)
    if options.output == "-":
        print(text, end="")
    elif options.json:
        files = [str(file) for file in (path, png) if file]
        print(json.dumps({"Target": target.to_json(), "Files": files}))
    _remark(options, target, path or png)
    return 0


def _tunnel(options: argparse.Namespace, target: Target, about: list[str]) -> str:
    return wg_quick(
        target.plan,
        target.key,
        about,
        all_traffic=options.all_traffic,
        names=options.names,
        android_apps=options.android_apps,
    )


def _remark(options: argparse.Namespace, target: Target, path: Path | None) -> None:
    say(options, f"a tunnel to the backend at {target.place}{f', in {path}' if path else ''}")
    say(
        options,
        f"to give the backend back: sinfonia release {options.root} {options.app} --as {options.owner}",
    )
    if options.names and not options.android_apps:
        text = "while the tunnel is up, that device resolves the backend's names alone; see --no-names"
        say(options, text)
    if target.plan.endpoint[0].is_loopback:
        say(options, "the gateway is on this device's loopback, which no other device reaches")


def _about(options: argparse.Namespace, target: Target) -> list[str]:
    places = [f"{service.name} is {service.address}" for service in target.services.values()]
    return [
        f"The backend of app {options.app} at {target.place}, by sinfonia export.",
        "The cloudlet keeps it while the tunnel is up, and takes it back some minutes after",
        "(five, unless its operator chose otherwise). Then export again.",
        *places,
    ]


def _paths(options: argparse.Namespace) -> tuple[Path | None, Path | None]:
    """Where the file and the picture go; raises before anything is deployed."""
    if options.json and (options.output == "-" or options.qr):
        raise RequestError("--json prints the target; name a file with --output or --png beside it.")
    if options.qr or options.png:
        _code("")  # says what is missing
    png = Path(options.png) if options.png else None
    output = options.output or ("" if options.qr or png else f"sf-{str(options.app)[:8]}.conf")
    path = Path(output) if output not in ("", "-") else None
    if path and not _NAME.fullmatch(path.name):
        raise RequestError(
            f"{path.name!r} names no tunnel: at most 15 letters, digits and _=+.- before .conf, please."
        )
    for file in filter(None, (path, png)):
        if file.exists() and not options.force:
            raise RequestError(f"{file} is there already; --force writes over it.")
        if not os.access(file.parent, os.W_OK):
            raise RequestError(f"There is no folder {file.parent} to write to.")
    return path, png


def _code(text: str) -> Any:
    try:
        import segno
    except ImportError as error:
        raise DeviceError("For QR codes: pip install 'sinfonia-serverless[cli]'.") from error
    return segno.make(text or "-", micro=False, error="l")


def _write(path: Path, content: bytes, *, force: bool) -> None:
    """A file that only its owner reads, from the first moment on."""
    try:
        if force:
            path.unlink(missing_ok=True)
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        try:
            with file:
                file.write(content)
        except OSError:
            path.unlink(missing_ok=True)  # half a tunnel is none
            raise
    except OSError as error:
        raise DeviceError(f"{path} can't be written: {error.strerror}.") from error


def _package(text: str) -> str:
    if not _PACKAGE.fullmatch(text):
        raise argparse.ArgumentTypeError("must be the name of a package, such as org.example.app")
    return text


def _owner(text: str) -> str:
    if not _OWNER.fullmatch(text):
        raise argparse.ArgumentTypeError("must be at most 32 letters, digits, _ and -")
    return text
