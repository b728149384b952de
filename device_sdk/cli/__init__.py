"""The `sinfonia` command: a module for each of its commands, which `acts.py` lists.

A command's module has `add_act(acts)`, which adds its parser (`options.command`), and `act(options)`, which
returns the exit status. It prints results on stdout, progress goes through `showing.py`, and the errors of
`errors.py` become lines and statuses in `command.py`.
"""

from device_sdk.cli.command import main

__all__ = ["main"]
