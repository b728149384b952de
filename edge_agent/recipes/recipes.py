"""Backends of apps: `prepare(app)` finds the recipe, renders its chart, checks what comes out, and keeps it
until the recipe or the chart changes.

Called by `lifecycle.py`; calls a repository (`repositories.py`, `root_recipes.py`), a renderer (`charts.py`)
and `manifests.py`.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar
from uuid import UUID

from edge_agent.deployments.records import NOTHING, Order
from edge_agent.errors import NotFound, RecipeUnusable, Unavailable
from edge_agent.recipes import manifests
from edge_agent.recipes.archives import digest_of
from edge_agent.recipes.limits import STANDARD, Limits
from edge_agent.recipes.manifests import Backend
from edge_agent.recipes.recipe import Recipe
from edge_agent.recipes.renamed import with_images

_KEPT = 256
_RENDERERS = 2  # helm is quick; more at once would make each other late
_RENDER_WAIT_SECONDS = 25.0
_FRESH_SECONDS = 30.0
_Value = TypeVar("_Value")


class Repository(Protocol):
    """Where recipes and charts come from."""

    def recipe(self, app: UUID, /) -> bytes:
        """The recipe's YAML; raises `NotFound` or `Unavailable`."""

    def chart(self, recipe: Recipe, /) -> tuple[Path, str]:
        """The chart on disk, and a text that changes when the chart does."""


class RootRepository(Protocol):
    """The same at the root that asks for an app, which may have recipes of its own: `root_recipes.py`."""

    def recipe(self, app: UUID, root: str) -> bytes:
        """The recipe as the root of this URL has it."""

    def chart(self, recipe: Recipe) -> tuple[Path, str]:
        """As above."""


class Brought(Protocol):
    """A bundle that a device handed over: `provisioning/bundles.py`."""

    @property
    def recipe(self) -> bytes:
        """The recipe's YAML."""

    @property
    def chart(self) -> Path:
        """The chart's archive."""

    @property
    def images(self) -> Mapping[str, str]:
        """How its images are called here, by what the chart calls them."""


class BundleSource(Protocol):
    """The bundles of this cloudlet."""

    def get(self, name: str, app: UUID) -> Brought:
        """A bundle for this app that is ready; raises `NotFound`."""


class Renderer(Protocol):
    """What makes manifests of charts."""

    def render(self, chart: Path, release: str, values: dict[str, Any]) -> str:
        """The manifests as YAML; raises `RecipeUnusable`."""


@dataclass(frozen=True)
class _Found:
    """A recipe's text, its chart, a text that changes when the chart does, and other names for its images."""

    body: bytes
    chart: Path
    state: str
    images: Mapping[str, str] = field(default_factory=dict)


class Recipes:
    """Backends by app: fetches, renders and checks, and keeps what it rendered; failures too, for a while.

    What the own `repository` does not know is asked `at_roots`, where that is wanted. No backend may use more
    than the `ceiling`.
    """

    def __init__(
        self,
        repository: Repository,
        renderer: Renderer,
        clock: Callable[[], float],
        at_roots: RootRepository | None = None,
        ceiling: Limits = STANDARD,
        bundles: BundleSource | None = None,
    ) -> None:
        self._bundles = bundles
        self._ceiling = ceiling
        self._repository = repository
        self._at_roots = at_roots
        self._renderer = renderer
        self._clock = clock
        self._rendered: OrderedDict[str, Backend] = OrderedDict()
        self._failed: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._guard = threading.Lock()
        self._rendering = threading.BoundedSemaphore(_RENDERERS)

    def prepare(self, app: UUID, order: Order = NOTHING) -> Backend:
        """The backend of an app, as a call orders it.

        Raises `NotFound`, `RecipeUnusable`, `Forbidden` or `Unavailable`. Makes nothing.
        """
        found = self._found(app, order)
        recipe = Recipe.parse(found.body)
        merged = recipe.with_values(_given(order.values))
        facts = [found.body.hex(), str(found.chart), found.state, order.values]
        key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        backend = self._known(key)
        if backend is not None:
            return backend
        if not self._rendering.acquire(timeout=_RENDER_WAIT_SECONDS):
            raise Unavailable("Other charts are being rendered.", 10)
        try:
            return self._known(key) or self._render(key, recipe, found, merged)
        finally:
            self._rendering.release()

    def _found(self, app: UUID, order: Order) -> _Found:
        """The own repository's recipe; else what the device handed over; else that of the root that asks."""
        try:
            body = self._repository.recipe(app)
        except NotFound:
            if order.bundle and self._bundles is not None:
                brought = self._bundles.get(order.bundle, app)
                return _Found(brought.recipe, brought.chart, order.bundle, brought.images)
            if self._at_roots is None or not order.root:
                raise
            body = self._at_roots.recipe(app, order.root)
            return _Found(body, *self._at_roots.chart(Recipe.parse(body)))
        return _Found(body, *self._repository.chart(Recipe.parse(body)))

    def _known(self, key: str) -> Backend | None:
        with self._guard:
            failed = self._failed.get(key)
            if failed and self._clock() - failed[0] < _FRESH_SECONDS:
                raise RecipeUnusable(failed[1])
            return self._rendered.get(key)

    def _render(self, key: str, recipe: Recipe, found: _Found, values: dict[str, Any]) -> Backend:
        try:
            _check_digest(recipe, found.chart)
            text = self._renderer.render(found.chart, recipe.release, values)
            limits = self._ceiling.narrowed(recipe.limits)
            backend = manifests.check(text, recipe.release, recipe.version, limits)
            backend = with_images(backend, found.images)
        except RecipeUnusable as error:
            with self._guard:
                keep(self._failed, key, (self._clock(), str(error)))
            raise
        with self._guard:
            keep(self._rendered, key, backend)
        return backend


def keep(kept: OrderedDict[str, _Value], key: str, value: _Value) -> None:
    """Add it, and let the oldest go where there are too many."""
    kept[key] = value
    if len(kept) > _KEPT:
        kept.popitem(last=False)


def _check_digest(recipe: Recipe, chart: Path) -> None:
    if recipe.digest and digest_of(chart) != recipe.digest:
        raise RecipeUnusable("The chart's digest is not the one that the recipe gives.")


def _given(values: str) -> dict[str, Any]:
    """What a record keeps of a call's values."""
    try:
        given = json.loads(values or "{}")
    except (ValueError, RecursionError) as error:
        raise RecipeUnusable("The record's values are damaged.") from error
    if not isinstance(given, dict):
        raise RecipeUnusable("The record's values are damaged.")
    return given
