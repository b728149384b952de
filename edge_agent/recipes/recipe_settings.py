"""What an operator can set about recipes, charts and images: options and their checks. Called by
`arguments.py` and `settings.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from edge_agent.errors import SettingsError
from edge_agent.recipes.limits import STANDARD, Limits, amount, millis
from edge_agent.recipes.recipe import is_url

_ALL = "all"
_MOST_APPS = 256
_MOST_PODS = 1000


@dataclass(frozen=True)
class RecipeSettings:
    """`allow_charts`: URLs below which charts may lie, none for anywhere; `ceiling`: what any one deployment
    may use in all; `prefetch`: apps whose charts and images are fetched ahead, or `prefetch_all` of the
    folder.
    """

    allow_charts: tuple[str, ...] = ()
    ceiling: Limits = STANDARD
    prefetch: tuple[UUID, ...] = ()
    prefetch_all: bool = False

    @classmethod
    def from_arguments(cls, arguments: Any) -> RecipeSettings:
        """Check the parsed command line; raises `SettingsError`."""
        names = [name for name in arguments.prefetch if name != _ALL]
        everything = len(names) < len(arguments.prefetch)
        if everything and (arguments.recipes is None or is_url(arguments.recipes)):
            raise SettingsError("--prefetch all: needs --recipes DIR; apps of a URL or of roots go by UUID")
        if len(names) > _MOST_APPS:
            raise SettingsError(f"--prefetch: at most {_MOST_APPS} apps")
        return cls(
            tuple(_prefix(url) for url in arguments.allow_charts),
            _ceiling(arguments),
            tuple(dict.fromkeys(_app(name) for name in names)),
            everything,
        )

    def wanted(self, recipes: str | None) -> Sequence[UUID]:
        """The apps to fetch ahead now; `recipes` is the folder, whose files come and go."""
        if not self.prefetch_all or recipes is None:
            return self.prefetch
        found = list(self.prefetch)
        for path in sorted(Path(recipes).glob("*.yaml")):
            try:
                found.append(UUID(path.stem))
            except ValueError:  # not a recipe
                continue
        return list(dict.fromkeys(found))[:_MOST_APPS]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options, in a group of their own."""
    group = parser.add_argument_group(
        "what guests may bring and use",
        "A recipe gives its chart's digest, the values that callers may set, and the limits of a deployment; "
        "these hold whatever it says.",
    )
    group.add_argument(
        "--allow-charts",
        action="append",
        default=[],
        metavar="URL",
        help="take charts from below this URL only, and from --recipes itself; may be repeated (default: "
        "anywhere for recipes of --recipes, public https for those of roots)",
    )
    for name, example, what in (
        ("cpu", "2 or 500m", "cores"),
        ("memory", "4Gi", "memory"),
        ("pods", "5", "pods"),
        ("storage", "10Gi", "room for what its containers write"),
    ):
        group.add_argument(
            f"--max-{name}",
            metavar="N",
            help=f"the most {what} that one deployment may use in all, such as {example}; a chart that asks "
            f"for more is refused (default: {_default(name)})",
        )
    group.add_argument(
        "--prefetch",
        action="append",
        default=[],
        metavar="APP|all",
        help="fetch this app's chart and images ahead, by UUID, and again when they are gone; may be "
        "repeated; all: every app in the folder of --recipes. What is here is told to roots as cached",
    )


def _default(name: str) -> str:
    shown = {"cpu": STANDARD.cpu_millis // 1000, "pods": STANDARD.pods}
    sizes = {"memory": STANDARD.memory_bytes, "storage": STANDARD.storage_bytes}
    return str(shown[name]) if name in shown else f"{sizes[name] >> 30}Gi"


def _prefix(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good or "@" in url or parts.query or parts.fragment or ".." in url or "%" in url:
        raise SettingsError(f"--allow-charts {url}: must be a plain http(s) URL below which charts lie")
    return url


def _app(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise SettingsError(f"--prefetch {text}: must be an app's UUID, or all") from error


def _ceiling(arguments: Any) -> Limits:
    read = {"cpu": millis, "memory": amount, "storage": amount, "pods": _count}
    fields = {"cpu": "cpu_millis", "memory": "memory_bytes", "storage": "storage_bytes", "pods": "pods"}
    given = {}
    for name, parse in read.items():
        text = getattr(arguments, f"max_{name}")
        if text is None:
            continue
        value = parse(text)
        if value is None or not 0 < value <= 1 << 60:
            raise SettingsError(f"--max-{name} {text}: must be above 0, such as 2, 500m or 4Gi")
        given[fields[name]] = value
    return Limits(**{**vars(STANDARD), **given})


def _count(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and int(text[:9]) <= _MOST_PODS else None
