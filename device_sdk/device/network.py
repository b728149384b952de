"""How the device is connected. Called by `gathering.py`; asks the system's files, `ip` and, where there is
one, NetworkManager. Each function returns None where the system does not tell.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from device_sdk.device.hardware import read

Ask = Callable[[Sequence[str]], str]

_SECONDS = 2.0
_MOST_ADDRESSES = 16  # as the contract has it
_METERED = {
    1: True,
    2: False,
    3: True,
    4: False,
}  # NetworkManager's NMMetered; 3 and 4 are guesses of its own
_METERED_OF = "org.freedesktop.NetworkManager /org/freedesktop/NetworkManager org.freedesktop.NetworkManager"


def ask(command: Sequence[str]) -> str:
    """What a short command prints; empty where it fails or there is none."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False, text=True)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return done.stdout if done.returncode == 0 else ""


def addresses(ask: Ask = ask) -> tuple[str, ...] | None:
    """The device's addresses that others can reach: neither loopback's nor a link's."""
    return _global(_interfaces(ask)) or None


def _interfaces(ask: Ask) -> list[dict[str, Any]]:
    return _array(ask(["ip", "-json", "address", "show", "up"]))


def _global(interfaces: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    found = (
        str(one.get("local", ""))
        for interface in interfaces
        for one in interface.get("addr_info") or ()
        if one.get("scope") == "global"
    )
    return tuple(text for text in found if _is_address(text))[:_MOST_ADDRESSES]


def link_type(root: Path, ask: Ask = ask) -> str | None:
    """`wifi`, `ethernet`, `mobile` or `tunnel`: of the interface that the default route takes."""
    name = next(
        (str(route.get("dev", "")) for route in _array(ask(["ip", "-json", "route", "show", "default"]))), ""
    )
    if not name or "/" in name:
        return None
    folder = root / "sys/class/net" / name
    if (folder / "wireless").exists() or (folder / "phy80211").exists():
        return "wifi"
    kind = next((line[8:] for line in read(folder / "uevent").splitlines() if line[:8] == "DEVTYPE="), "")
    if kind in ("wwan", "wlan"):
        return {"wwan": "mobile", "wlan": "wifi"}[kind]
    # <linux/if_arp.h>: 1 is Ethernet, 512 PPP, 519 raw IP as modems have it, 65534 none
    return {"1": "ethernet", "512": "mobile", "519": "mobile", "65534": "tunnel"}.get(
        read(folder / "type").strip()
    )


def metered(ask: Ask = ask) -> bool | None:
    """Whether traffic costs, as NetworkManager has it."""
    said = ask(["busctl", "--json=short", "--timeout=1", "get-property", *_METERED_OF.split(), "Metered"])
    try:
        return _METERED.get(json.loads(said)["data"])
    except (ValueError, LookupError, TypeError):
        return None


def _array(text: str) -> list[dict[str, Any]]:
    """The objects in what `ip -json` printed."""
    try:
        value = json.loads(text)
    except ValueError:
        return []
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
