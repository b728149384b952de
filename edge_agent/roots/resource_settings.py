"""What an operator can say of where the cloudlet's resources are measured. Part of `settings.py` and
`arguments.py`.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_agent.errors import SettingsError
from edge_agent.option_values import parse_url
from edge_agent.roots.prometheus import QUERIES

_MOST_CHARACTERS = 4096


@dataclass(frozen=True)
class ResourceSettings:
    """`prometheus` is a server's URL, None for this machine's and the cluster's own word; `queries` are
    PromQL expressions by the names of their values.
    """

    prometheus: str | None = None
    queries: Mapping[str, str] = field(default_factory=lambda: QUERIES)

    @classmethod
    def from_arguments(cls, arguments: Any) -> ResourceSettings:
        """Check the parsed command line; raises `SettingsError`."""
        url = arguments.prometheus
        if arguments.prometheus_query and not url:
            raise SettingsError("--prometheus-query: there is no --prometheus")
        queries = _queries(arguments.prometheus_query)
        return cls(parse_url(url, "--prometheus") if url else None, queries)


def add_options(group: argparse._ActionsContainer) -> None:
    """Add the options to a group of the command line."""
    group.add_argument(
        "--prometheus",
        metavar="URL",
        help="take measurements from there (default: from /proc, and on Kubernetes from its API)",
    )
    group.add_argument(
        "--prometheus-query",
        action="append",
        default=[],
        metavar="NAME=EXPR",
        help=f"measure this value by this PromQL expression; may be repeated. Names: {', '.join(QUERIES)}; "
        "ratios are 0 to 1, the GPU's 0 to 100, rates in bytes a second (default: what node-exporter and "
        "NVIDIA's DCGM exporter say of all machines)",
    )


def _queries(given: Sequence[str]) -> Mapping[str, str]:
    """What is given, and the usual expressions for what is not."""
    asked: dict[str, str] = {}
    for text in given:
        name, _, expression = (part.strip() for part in text.partition("="))
        if name not in QUERIES:
            near = difflib.get_close_matches(name, QUERIES, 1, 0.5)
            hint = f"; is {near[0]} meant?" if near else f"; there are {', '.join(QUERIES)}"
            raise SettingsError(f"--prometheus-query {text[:80]}: there is no value {name[:40]}{hint}")
        if name in asked:
            raise SettingsError(f"--prometheus-query: {name} is given twice")
        if not 0 < len(expression) <= _MOST_CHARACTERS:
            raise SettingsError(
                f"--prometheus-query {name}: must be NAME=EXPR, of at most {_MOST_CHARACTERS} characters"
            )
        asked[name] = expression
    return {**QUERIES, **asked}
