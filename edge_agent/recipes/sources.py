"""Where charts may come from: the operator's `--allow-charts`. Pure; asked by `repositories.py`.

Without the option, the operator's own recipes may name a chart anywhere, and a root's recipes one at any
public https address. With it, charts come from below the URLs given and from nowhere else, whoever wrote the
recipe; those that lie in the operator's own folder or repository of recipes are always taken.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from edge_agent.errors import RecipeUnusable

_PORTS = {"http": 80, "https": 443}


class Sources:
    """URLs below which charts may lie; none at all stands for anywhere. `encrypted` asks for https."""

    def __init__(self, prefixes: Sequence[str] = (), *, encrypted: bool = False) -> None:
        self._prefixes = [urlsplit(prefix) for prefix in prefixes]
        self._encrypted = encrypted

    def check(self, url: str) -> None:
        """Raise `RecipeUnusable` for a chart from elsewhere."""
        try:
            parts = urlsplit(url)
            clean = _is_clean(parts) and _server(parts)
        except ValueError:
            clean = False
        if not clean:
            raise RecipeUnusable(f"The chart's URL {url[:200]!r} is no plain http(s) URL.")
        if self._prefixes and not any(_is_below(parts, prefix) for prefix in self._prefixes):
            raise RecipeUnusable(f"This cloudlet takes no charts from {url[:200]} (--allow-charts).")
        if self._encrypted and not self._prefixes and parts.scheme != "https":
            raise RecipeUnusable("The chart of a root's recipe must have an https URL.")


ANYWHERE = Sources()


def _is_clean(parts: SplitResult) -> bool:
    """Whether what is compared is what is asked for: no user, no way up, nothing escaped in the path."""
    plain = re.fullmatch(r"[A-Za-z0-9._~!$&'()*+,;=:@/-]*", parts.path)
    return bool(plain) and "@" not in parts.netloc and ".." not in parts.path and not parts.fragment


def _server(parts: SplitResult) -> tuple[str, str, int]:
    port = parts.port or _PORTS[parts.scheme] if parts.scheme in _PORTS else 0
    if not port or not parts.hostname:
        raise ValueError("no server")
    return parts.scheme, parts.hostname.lower(), port


def _is_below(parts: SplitResult, prefix: SplitResult) -> bool:
    return _server(parts) == _server(prefix) and f"{parts.path}/".startswith(f"{prefix.path.rstrip('/')}/")
