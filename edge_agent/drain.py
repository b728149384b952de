"""Draining: a file in the state folder says that nothing new is to be begun, also after a restart. Written by
`sinfonia-agent drain` and `undrain`, looked at by the running agent (`__main__.py`); calls the file system.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from edge_agent.errors import SettingsError

_FILE = "draining"


def is_draining(folder: Path) -> bool:
    """Whether the agent of this state folder is to drain."""
    return (folder / _FILE).exists()


def set_draining(folder: Path, *, draining: bool) -> str:
    """Write it down, and return what that means, in one line; raises `SettingsError`."""
    if not (folder / "identity.json").exists():
        raise SettingsError(f"--state {folder}: there is no agent's state")
    try:
        if draining:
            (folder / _FILE).touch(mode=0o600)
        else:
            (folder / _FILE).unlink(missing_ok=True)
    except OSError as error:
        raise SettingsError(f"--state {folder}: {error.strerror or error}") from error
    what = (
        "draining: backends that run go on, nothing new is begun"
        if draining
        else "no longer draining: new backends are welcome"
    )
    return f"{what}; {'its roots hear of it within a second' if runs(folder) else 'no agent runs there now'}"


def runs(folder: Path) -> bool:
    """Whether an agent holds the folder's lock (`identity.py`)."""
    try:
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
