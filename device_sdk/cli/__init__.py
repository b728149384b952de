"""The `sinfonia` command: a module for each of its commands, which `acts.py` lists.

A command's module has `add_arguments(parser)`, which says what can be said (`options.describe`), and
`act(options)`, which returns the exit status. It prints results on stdout, progress goes through
`showing.py`, and the errors of `errors.py` become lines and statuses in `command.py`.

Here is the way in. It imports next to nothing, so that Ctrl-C is understood from the first moments on.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

_INTERRUPTED = 130  # 128 + SIGINT
_LINE = "sinfonia: Interrupted.\n"
_OBJECT = '{"Error": "Interrupted", "Detail": "Interrupted.", "ExitStatus": 130}\n'


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    words = sys.argv[1:] if argv is None else argv
    try:
        return _loaded(words)()
    except KeyboardInterrupt:
        _interrupted(words)


def _loaded(words: Sequence[str]) -> Callable[[], int]:
    """What carries the words out, with the modules that it needs.

    An interrupt ends the program at once meanwhile: as an exception it may come up where imports can't hand
    it on (a weak reference's callback), and would be lost.
    """
    import signal

    default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if default:  # else it is ignored, as shells have it for what runs in the background
        signal.signal(signal.SIGINT, lambda *_: _interrupted(words))
    try:
        from device_sdk.cli.command import prepare

        return prepare(words)
    finally:
        if default:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _interrupted(words: Sequence[str]) -> NoReturn:
    """End the program; nothing has been begun."""
    to_programs = "--json" in words[: words.index("--") if "--" in words else len(words)]
    os.write(2, (_OBJECT if to_programs else _LINE).encode())
    os._exit(_INTERRUPTED)
