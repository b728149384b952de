"""`sinfonia-agent pair`: shows a code by which a device can be paired, and whom it is paired with. Works on
the state folder alone, whether the agent runs or not.
"""

from __future__ import annotations

import argparse
import json
import secrets
from collections.abc import Callable
from pathlib import Path

from edge_agent.errors import SettingsError
from edge_agent.identity import public_key_in
from edge_agent.nearby.codes import ATTEMPTS, MAX_MINUTES, Codes
from edge_agent.nearby.devices import Devices
from edge_agent.serving.signatures import PublicKey

_ABOUT = """\
Show a code that pairs one device with this cloudlet. Type it on the device: sinfonia pair NAME CODE.

Both then keep each other's keys: the cloudlet knows the device's calls, and the device knows an impostor by
its answers. The agent may be running; it has to be for the device to use the code.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Make `parser` that of the command."""
    parser.description = _ABOUT
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--minutes", type=int, default=10, metavar="N", help=f"how long it is good, 1 to {MAX_MINUTES} [10]"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="show the paired devices instead")
    what.add_argument("--key", action="store_true", help="show this cloudlet's public key instead")
    what.add_argument("--forget", metavar="NAME|KEY", help="forget the devices of this name or key instead")
    parser.add_argument("--json", action="store_true", help="for programs")


def pair(arguments: argparse.Namespace, now: Callable[[], float]) -> str:
    """Do it, and return what to print; raises `SettingsError`."""
    folder = Path(arguments.state)
    if not (folder / "identity.json").exists():
        raise SettingsError(f"--state {folder}: there is no agent's state; run the agent first")
    devices = Devices(folder / "devices")
    try:
        if arguments.key:
            key = PublicKey(public_key_in(folder)).text
            return json.dumps({"key": key}) if arguments.json else key
        if arguments.list or arguments.forget:
            shown = devices.forget(arguments.forget) if arguments.forget else devices.all()
            if arguments.json:
                return json.dumps([device.to_json() for device in shown])
            word = "forgotten  " if arguments.forget else ""
            lines = [f"{word}{one.key.text}  {one.paired}  {one.name}" for one in shown]
            return "\n".join(lines) or "no device is paired"
        return _issue(Codes(folder, now), arguments)
    except OSError as error:
        raise SettingsError(f"--state {folder}: {error.strerror or error}") from error


def _issue(codes: Codes, arguments: argparse.Namespace) -> str:
    if not 1 <= arguments.minutes <= MAX_MINUTES:
        raise SettingsError(f"--minutes: must be 1 to {MAX_MINUTES}")
    code = codes.issue(arguments.minutes * 60.0, secrets.randbelow, secrets.token_hex(8))
    if arguments.json:
        return json.dumps({"code": code.digits, "seconds": arguments.minutes * 60, "attempts": ATTEMPTS})
    return (
        f"{code.digits}  good once, for {arguments.minutes} minutes and {ATTEMPTS} attempts; "
        f"on the device: sinfonia pair NAME|URL {code.digits}"
    )
