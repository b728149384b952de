"""The recipe: what is deployed for an app, one YAML object. Read by `recipes.py`; the published fields are
`chart`, `version`, `values`, `description` and `restricted`, of which the agent needs the first three.

    chart: web                    # beside the recipe, or an http(s) URL
    version: 1.4.0
    digest: sha256:…              # of the chart's archive; another one is refused
    values: {level: 1}
    settable: [greeting]          # what callers may set: see `settable.py`
    limits: {cpu: "2", memory: 1Gi, pods: 3, storage: 1Gi}   # in all; at most the operator's
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_agent.errors import RecipeUnusable
from edge_agent.recipes.limits import read_limits
from edge_agent.recipes.manifests import load_documents
from edge_agent.recipes.settable import Setting, merged, read_settable

_CHART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]*")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Recipe:
    """A chart, its version and the values it is rendered with; `digest` is empty where none is given.

    `limits` are fields of `Limits`, those that the recipe gives.
    """

    chart: str
    version: str
    values: dict[str, Any] = field(default_factory=dict)
    digest: str = ""
    settable: tuple[Setting, ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, data: bytes) -> Recipe:
        """Check a recipe's YAML; raises `RecipeUnusable`."""
        documents = load_documents(data.decode("utf-8", "replace"), "The recipe")
        if len(documents) != 1 or not isinstance(documents[0], dict):
            raise RecipeUnusable("The recipe is not one YAML object.")
        try:
            return cls._checked(documents[0])
        except ValueError as error:
            raise RecipeUnusable(f"The recipe's {error}.") from error

    @classmethod
    def _checked(cls, data: Mapping[str, Any]) -> Recipe:
        chart, version, values = data.get("chart"), data.get("version"), data.get("values")
        if isinstance(chart, str) and chart.startswith("oci://"):
            raise ValueError("chart is in an OCI registry; charts come from http(s) URLs")
        if not isinstance(chart, str) or not (_CHART.fullmatch(chart) or is_url(chart)) or len(chart) > 1024:
            raise ValueError("chart must be a name or an http(s) URL")
        if not isinstance(version, str) or not _VERSION.fullmatch(version) or len(version) > 128:
            raise ValueError("version must be text such as '0.1.0'")
        if values is not None and not isinstance(values, dict):
            raise ValueError("values must be an object")
        digest = data.get("digest") or ""
        if digest and not (isinstance(digest, str) and _DIGEST.fullmatch(digest)):
            raise ValueError("digest must be sha256: and 64 hexadecimal digits")
        settable = read_settable(data.get("settable") or [])
        return cls(chart, version, values or {}, digest, settable, read_limits(data.get("limits") or {}))

    @property
    def has_url(self) -> bool:
        """Whether the chart says by itself where it is."""
        return is_url(self.chart)

    @property
    def release(self) -> str:
        """The chart's bare name; Helm's release is called so, and by habit its service too."""
        stem = self.chart.rsplit("/", 1)[-1].removesuffix(".tgz").lower()
        return re.sub(r"[^a-z0-9]+", "-", stem)[:40].strip("-") or "app"

    def with_values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The values with what a call sets over them; raises `RecipeUnusable` naming what it may not set."""
        try:
            return merged(self.values, self.settable, given)
        except ValueError as error:
            raise RecipeUnusable(f"{error}.") from error


def is_url(text: str) -> bool:
    """Whether it is an http(s) URL, and no name or path."""
    return text.startswith(("http://", "https://"))
