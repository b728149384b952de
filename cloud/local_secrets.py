"""The secrets of a local root, each in a file that its owner alone can read. Called by `local_root.py`."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from chalicelib.accounts.tokens import Scope, TokenRequest, Tokens
from chalicelib.errors import Unauthorized

_LEASE_FILE = "lease-secret"
_OPERATOR_FILE = "operator-token"


def lease_secret(data: Path | None) -> str:
    """Kept in the data folder; without a folder a new one each time."""
    if data is None:
        return secrets.token_hex(32)
    path = data / _LEASE_FILE
    if not path.exists():
        whole = _written(data, _LEASE_FILE, secrets.token_hex(32))
        with suppress(FileExistsError):  # another root made it first
            os.link(whole, path)
        whole.unlink()
    return path.read_text().strip()


def operator_token(tokens: Tokens, folder: Path) -> Path:
    """The file with a token that manages this root; the one that is there if it is still good."""
    path = folder / _OPERATOR_FILE
    with suppress(FileNotFoundError, Unauthorized):
        if tokens.identify(path.read_text().strip()).is_operator:
            return path
    _, text = tokens.make("", TokenRequest(Scope.OPERATOR, "made by the local root"))
    return _written(folder, _OPERATOR_FILE, text + "\n").replace(path)


def _written(folder: Path, name: str, text: str) -> Path:
    """A file beside the one that is meant, complete before it gets its name."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = folder / f".{name}-{os.getpid()}"
    with os.fdopen(os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    return whole
