"""From the shell to a command and back: errors become one line and an exit status. Called by the package."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import NoReturn

from device_sdk import SinfoniaError
from device_sdk.cli.arguments import WrongCallError, parse, split
from device_sdk.cli.showing import complain

_WRONG_CALL = 2


def prepare(words: Sequence[str]) -> Callable[[], int]:
    """What carries the words out and returns the exit status; what it needs is loaded by then."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal may lack a letter
    try:
        return partial(_carry_out, parse(words))
    except WrongCallError as error:
        return partial(_refuse, words, error)


def _carry_out(options: argparse.Namespace) -> int:
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        status = int(options.act(options))
        sys.stdout.flush()  # here, where a closed pipe is understood
    except SinfoniaError as error:
        complain(options, type(error).__name__, str(error), error.exit_status, error.trace_id)
        return error.exit_status
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        complain(options, "Interrupted", "Interrupted.", 128 + signal.SIGINT)
        return 128 + signal.SIGINT
    else:
        return status
    finally:
        signal.signal(signal.SIGTERM, before)


def _refuse(words: Sequence[str], error: WrongCallError) -> int:
    """Say what is wrong with the call, to programs as they get any other error."""
    options = argparse.Namespace(json="--json" in split(words)[0], verbose=False)
    if not options.json:
        print(error.usage, end="", file=sys.stderr)
    complain(options, "WrongCall", str(error), _WRONG_CALL)
    return _WRONG_CALL


def _terminated(number: int, _frame: object) -> NoReturn:
    """End as if the program had come to its end, so that tunnels are taken down."""
    sys.exit(128 + number)
