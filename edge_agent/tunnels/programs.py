"""Running the programs that set tunnels up: `ip`, `wg`, `nft`, `wireguard-go`. Used by `interface.py` and
`gateway.py`; every call has a time-out, and every failure is one sentence.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence

from edge_agent.errors import Unavailable

_TIMEOUT = 10.0

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


class Programs:
    """Calls programs by `run`, which is `subprocess.run`."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def call(self, arguments: Sequence[str], text: str = "") -> bytes:
        """What the program prints, given `text` to read; raises `Unavailable` if it fails."""
        status, output, said = self._call(arguments, text)
        if status:
            lines = said.decode("utf-8", "replace").strip().splitlines()
            raise Unavailable(f"{' '.join(arguments[:3])}: {lines[0] if lines else status}")
        return output

    def attempt(self, *arguments: str) -> bool:
        """Whether the program did it; raises `Unavailable` where it can't even be run."""
        return self._call(arguments, "")[0] == 0

    def _call(self, arguments: Sequence[str], text: str) -> tuple[int, bytes, bytes]:
        try:
            done = self._run(
                list(arguments),
                input=text.encode(),
                capture_output=True,
                timeout=_TIMEOUT,
                check=False,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise Unavailable(f"{arguments[0]} is not installed") from error
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"{arguments[0]} did not end within {_TIMEOUT:g} s") from error
        return done.returncode, done.stdout, done.stderr
