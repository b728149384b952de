"""The keys that this device keeps: whether they are whole and its user's alone. Called by `doctor.py`, and by
`sinfonia doctor --repair`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from device_sdk.device.findings import Finding
from device_sdk.device.hardware import listed
from device_sdk.errors import DeviceError
from device_sdk.keys import kept_secret
from device_sdk.nearby.paired import paired_cloudlets

_REPAIR = "sinfonia doctor --repair"


def keys(state: Path) -> Finding:
    """All that is kept in the folder `state`."""
    problems = [_folder(folder) for folder in _folders(state)]
    secrets = list(_secrets(state))
    problems += [_secret(path) for path in secrets]
    try:
        paired_cloudlets(state)
    except DeviceError as error:
        problems.append(str(error))
    found = [problem for problem in problems if problem]
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        return Finding("problem", f"{found[0]}{more}", f"as it says, or: {_REPAIR}")
    return Finding("ok", f"{len(secrets)} in {state}")


def repair(state: Path) -> list[str]:
    """Take others' rights away, and put damaged keys aside. Returns what was done, a line each.

    A key that others could read is kept: it opens a backend of this device, and a new one would lose that.
    Raises `DeviceError` where that is not allowed.
    """
    done: list[str] = []
    try:
        for folder in _folders(state):
            if _folder(folder):
                folder.chmod(0o700)
                done.append(f"{folder} is its user's alone now")
        for path in _secrets(state):
            if path.is_symlink():
                continue
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                path.chmod(0o600)
                done.append(
                    f"{path} is its user's alone now; remove it for a new one if others may have read it"
                )
            if _secret(path):
                aside = path.with_name(f".{path.name}.damaged")
                path.replace(aside)
                done.append(f"{path} was damaged and is {aside.name} now; there will be a new one")
    except OSError as error:
        raise DeviceError(f"{error.filename} can't be repaired: {error.strerror}.") from error
    return done


def _folders(state: Path) -> list[Path]:
    owners = listed(state / "exported")
    inner = [state / "keys", state / "paired", *owners, *(owner / "keys" for owner in owners)]
    return [folder for folder in (state, *inner) if folder.is_dir()]


def _secrets(state: Path) -> Iterator[Path]:
    yield from (path for path in (state / "identity",) if path.exists())
    for folder in _folders(state):
        if folder.name == "keys":
            yield from (path for path in listed(folder) if not path.name.startswith("."))


def _folder(folder: Path) -> str:
    """What is wrong with a folder: who writes there can give this device keys of their own."""
    found = folder.stat()
    if os.geteuid() not in (0, found.st_uid):
        return _anothers(folder)
    return f"others can write to {folder}; run: chmod 700 {folder}" if found.st_mode & 0o022 else ""


def _secret(path: Path) -> str:
    """What is wrong with a key that is there."""
    if path.is_symlink() or not path.is_file():
        return f"{path} is no file; remove it"
    if os.geteuid() not in (0, path.stat().st_uid):
        return _anothers(path)
    try:
        kept_secret(path, "device's identity" if path.name == "identity" else "app's key", "one")
    except DeviceError as error:
        return str(error)
    return ""


def _anothers(path: Path) -> str:
    return f"{path} belongs to another user, as what sudo makes does; run: sudo chown {os.geteuid()} {path}"
