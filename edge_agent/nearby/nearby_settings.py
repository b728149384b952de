"""What an operator can say of devices nearby: whom the cloudlet serves directly, and where it is announced.
Part of `settings.py` and `arguments.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.errors import InvalidRequest, SettingsError
from edge_agent.nearby.trust import MODES, Mode
from edge_agent.option_values import Address, parse_either_address
from edge_agent.serving.signatures import PublicKey

_MAX_FILE_BYTES = 1 << 20


@dataclass(frozen=True)
class NearbySettings:
    """`mode`: which devices may call directly; open, since devices at home knew no other way at first. `keys`
    are those of listed devices. `interfaces`: where to announce, as addresses come and go there, besides the
    `addresses`; also that of each address in `interfaces_of`.
    """

    mode: Mode = "open"
    keys: tuple[PublicKey, ...] = ()
    interfaces: tuple[str, ...] = ()
    announce: bool = False
    addresses: tuple[str, ...] = ()
    interfaces_of: tuple[str, ...] = ()

    @classmethod
    def from_arguments(cls, arguments: Any, listen: Sequence[Address], host: str) -> NearbySettings:
        """Check the parsed command line; `host` is the address where others reach the API that listens at
        `listen`. Raises `SettingsError`.
        """
        keys = tuple(key for text in arguments.device_key for key in _keys(text))
        mode: Mode = arguments.nearby or ("keys" if keys else "open")
        if mode == "keys" and not keys:
            raise SettingsError("--nearby keys: no device could call; list some with --device-key KEY|FILE")
        for name in arguments.announce_interface:
            if not 0 < len(name) < 16 or "/" in name or not name.isprintable() or " " in name:
                raise SettingsError(f"--announce-interface {name}: that is no interface's name, as eth0 is")
        addresses = _addresses(arguments, listen, host)
        interfaces = tuple(arguments.announce_interface)
        everywhere = any(one.anywhere and one.version == 6 for one in listen)
        beside = addresses if everywhere and not arguments.announce_address else ()
        return cls(mode, keys, interfaces, bool(addresses or interfaces), addresses, beside)


def add_options(group: argparse._ActionsContainer) -> None:
    """Add the options to a group of the command line."""
    group.add_argument("--announce", action="store_true", help="announce it by Zeroconf on this network")
    group.add_argument(
        "--announce-address",
        action="append",
        default=[],
        metavar="IP",
        help="announce this address (default: those of --listen); may be repeated",
    )
    group.add_argument(
        "--announce-interface",
        action="append",
        default=[],
        metavar="NAME",
        help="announce on this interface, as eth0, with the addresses that it has and --listen names, also "
        "when they change or come later; for IPv6 too with --listen [::]; may be repeated",
    )
    group.add_argument(
        "--nearby",
        choices=MODES,
        help="which devices may call it without a root: open, all that reach it; pairing, those that were "
        "paired by a code (sinfonia-agent pair); keys, those of --device-key (default: open, or keys if "
        "there are some)",
    )
    group.add_argument(
        "--device-key",
        action="append",
        default=[],
        metavar="KEY|FILE",
        help="a device's public key, as `sinfonia pair --show-key` prints it there, or a file with one at "
        "the start of each line; may be repeated",
    )


def _addresses(arguments: Any, listen: Sequence[Address], host: str) -> tuple[str, ...]:
    """Those to announce, besides an interface's."""
    texts = arguments.announce_address
    given = tuple(parse_either_address(text, "--announce-address", 1).host for text in texts)
    near = not all(one.loopback for one in listen)
    if not near and (arguments.announce or arguments.announce_interface) and not given:
        raise SettingsError(
            "--announce: nobody can reach a loopback address; give --listen an address of the network"
        )
    if given or not arguments.announce:
        return given
    others = (one.host for one in listen if not (one.anywhere or one.loopback))
    return tuple(dict.fromkeys((host, *others)))


def _keys(text: str) -> Sequence[PublicKey]:
    if "/" not in text and len(text) == 43:
        return [_key(text, "--device-key")]
    try:
        with Path(text).open() as file:
            lines = file.read(_MAX_FILE_BYTES).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--device-key {text}: is no key, and no file that can be read") from error
    words = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    return [_key(one[0], f"--device-key {text}") for one in words]


def _key(text: str, where: str) -> PublicKey:
    try:
        return PublicKey.from_text(text, where)
    except InvalidRequest as error:
        raise SettingsError(str(error)) from error
