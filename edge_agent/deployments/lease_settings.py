"""What an operator can say of how long backends stay, and of how many there are. Part of `settings.py` and
`arguments.py`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from edge_agent.errors import SettingsError
from edge_agent.option_values import within

_DAY = 86_400
_SHORTEST_IDLE = 60


@dataclass(frozen=True)
class LeaseSettings:
    """`idle_seconds`: five minutes without a sign of life, as a phone that sleeps keeps its backend for a
    while. `rest_seconds`: half an hour more, in which an idle backend costs addresses only. `remove_on_exit`
    takes everything down with the agent.
    """

    idle_seconds: float = 300.0
    rest_seconds: float = 1800.0
    max_age_seconds: float | None = None
    max_deployments: int = 1000
    remove_on_exit: bool = False

    @classmethod
    def from_arguments(cls, arguments: Any) -> LeaseSettings:
        """Check the parsed command line; raises `SettingsError`."""
        age = arguments.max_age
        most = arguments.max_deployments
        if not 1 <= most <= 100_000:
            raise SettingsError("--max-deployments: must be 1 to 100000")
        on_exit = arguments.on_exit or ("remove" if arguments.runtime == "podman" else "keep")
        return cls(
            _idle(arguments.idle_seconds, trial=arguments.trial),
            within(arguments.rest_seconds, "--rest-seconds", 0, 30 * _DAY),
            None if age is None else within(age, "--max-age", 60, 365 * _DAY),
            most,
            on_exit == "remove",
        )


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options, in a group of their own."""
    group = parser.add_argument_group("how long backends stay, and how many")
    group.add_argument(
        "--idle-seconds",
        type=float,
        default=300.0,
        metavar="S",
        help="a backend whose device shows no sign of life for so long is idle, and rests (default: 300; at "
        f"least {_SHORTEST_IDLE}, as tunnels in use show a sign every 25 s or so)",
    )
    group.add_argument(
        "--rest-seconds",
        type=float,
        default=1800.0,
        metavar="N",
        help="an idle backend's pods are taken down, and its address and tunnel are kept for so long, so that"
        " its device finds it again by using it; 0 removes it at once (default: %(default)s)",
    )
    group.add_argument(
        "--max-age",
        type=float,
        metavar="SECONDS",
        help="remove a backend that is as old as this, though it is in use; none within the agent's first ten"
        " minutes, as the time of day may have jumped meanwhile (default: never)",
    )
    group.add_argument(
        "--max-deployments",
        type=int,
        default=1000,
        metavar="N",
        help="have no more backends than this at a time, resting ones included; those make room for new ones"
        " (default: %(default)s)",
    )
    group.add_argument(
        "--on-exit",
        choices=("keep", "remove"),
        help="what becomes of backends and tunnels when the agent "
        "ends (default: remove with podman, keep with kubernetes)",
    )
    group.add_argument(
        "--trial",
        action="store_true",
        help=f"for trials only: allow --idle-seconds below {_SHORTEST_IDLE}, which takes backends away from "
        "devices that use them",
    )


def _idle(seconds: float, *, trial: bool) -> float:
    if not trial and 1 <= seconds < _SHORTEST_IDLE:
        raise SettingsError(
            f"--idle-seconds {seconds:g}: backends in use would rest too, as their tunnels show a sign of "
            f"life every 25 s or so; give at least {_SHORTEST_IDLE}, or --trial with it to see it happen"
        )
    return within(seconds, "--idle-seconds", 1, _DAY)
