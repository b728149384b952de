"""Where the operator's secrets come from and go to: never the command line, where everybody can read them.

Called by `operator_cli.py`, `operator_commands.py` and `operator_bootstrap.py`.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from operator_client import NotAllowed, Refused

_LONGEST = 4096
_TENANT_OF_TOKEN = re.compile(r"sf_(?:([a-z0-9-]+)\.)?[0-9a-f]+_")


def read_token(file: str | None, environ: Mapping[str, str]) -> str:
    """The token of a file (`-`: standard input), or of `SINFONIA_TOKEN`. Raises `NotAllowed`."""
    if file is None:
        token = environ.get("SINFONIA_TOKEN", "").strip()
        if not token:
            raise NotAllowed("There is no token: set SINFONIA_TOKEN, or give --token-file.")
    else:
        token = _read(file)
    if not re.fullmatch(r"[!-~]{1,1024}", token):
        raise NotAllowed(f"{file or 'SINFONIA_TOKEN'} has no token in it.")
    return token


def tenant_of(token: str) -> str:
    """The tenant whose token it is, as the token itself says; the root's otherwise."""
    found = _TENANT_OF_TOKEN.match(token)
    return (found[1] if found else None) or "root"


def _read(file: str) -> str:
    if file == "-":
        return sys.stdin.read(_LONGEST).strip()
    try:
        with Path(file).open(encoding="utf-8", errors="replace") as stream:
            return stream.read(_LONGEST).strip()
    except OSError as error:
        raise NotAllowed(f"The token can't be read from {file}: {error.strerror}.") from error


@contextmanager
def new_secret_file(name: str | None) -> Iterator[Callable[[str], None]]:
    """What keeps a secret in a new file that only its owner can read; removed again if nothing is kept.

    The file is made first: a secret that is shown once must not meet a file that can't be written.
    """
    if name is None:
        yield lambda _secret: None
        return
    path = Path(name)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise Refused(f"{name} is there already; a secret goes into a new file.") from error
    except OSError as error:
        raise Refused(f"{name} can't be made: {error.strerror}.") from error
    kept = False

    def keep(secret: str) -> None:
        nonlocal kept
        file.write(f"{secret}\n")
        file.flush()
        kept = True

    try:
        with os.fdopen(descriptor, "w") as file:
            yield keep
    finally:
        if not kept:
            with suppress(OSError):
                path.unlink()
