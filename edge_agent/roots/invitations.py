"""Invitations: secrets that let a cloudlet in at roots that ask for one. Read by `root_settings.py`; no error
and no log repeats one.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from pathlib import Path

from edge_agent.errors import SettingsError

_LOG = logging.getLogger(__name__)

_MOST_BYTES = 4096
_INVITATION = re.compile(r"[!-~]{1,128}")


def read_invitation(path: str, option: str) -> str:
    """The invitation that a file holds, and nothing else; raises `SettingsError`."""
    try:
        with Path(path).open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{option} {path}: can't be read") from error
    if len(text) > _MOST_BYTES:
        raise SettingsError(f"{option} {path}: is too large to be an invitation")
    if stat.S_ISREG(mode) and mode & stat.S_IROTH:  # not refused: a pod's secrets are so, and it is alone
        _LOG.warning("everybody on this machine can read an invitation", extra={"path": path})
    return check_invitation(text.decode("latin-1").strip())


def check_invitation(code: str) -> str:
    """The code, if it may be one; raises `SettingsError`."""
    if not _INVITATION.fullmatch(code):
        raise SettingsError("the invitation must be 1 to 128 characters without blanks")
    return code
