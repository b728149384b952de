"""Recipes that only a root has: fetched from the root that asks for the app, with the cloudlet's lease token.
Called by `recipes.py`; calls `root_calls.py`.

What comes is checked like any recipe. Its chart's URL is fetched from public addresses only (`sessions.py`):
whoever wrote it must not make the agent knock at doors of its own network.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from edge_agent.errors import Forbidden, NotFound, RecipeUnusable, Unavailable
from edge_agent.recipes.recipe import Recipe
from edge_agent.recipes.recipes import Repository
from edge_agent.recipes.repositories import MAX_RECIPE_BYTES, Downloads
from edge_agent.roots.root_calls import RootCalls, RootError

_LOG = logging.getLogger(__name__)

_FRESH_SECONDS = 30.0
_KEPT = 256


class RootRecipes:
    """`calls` makes calls to the root of a URL, `token` is its lease's; `clock` is monotonic.

    A chart with a URL comes by `downloads`; one that has only a name is the cloudlet's `own`. The last
    recipes are kept there over restarts.
    """

    def __init__(
        self,
        calls: Callable[[str], RootCalls],
        token: Callable[[str], str | None],
        clock: Callable[[], float],
        downloads: Downloads,
        own: Repository,
    ) -> None:
        self._kept = downloads.kept
        self._downloads = downloads
        self._own = own
        self._calls = calls
        self._token = token
        self._clock = clock
        self._known: OrderedDict[tuple[str, UUID], tuple[float, bytes]] = OrderedDict()
        self._guard = threading.Lock()

    def recipe(self, app: UUID, root: str) -> bytes:
        """The recipe as the root of this URL has it, the last known one while the root is away.

        Raises `NotFound`, `RecipeUnusable` or `Unavailable`.
        """
        with self._guard:
            known = self._known.get((root, app))
        if known and self._clock() - known[0] < _FRESH_SECONDS:
            return known[1]
        try:
            body = self._fetch(app, root)
        except Unavailable as error:
            last = known[1] if known else self._kept.get(f"{root} {app}")
            if last is None:
                raise
            _LOG.warning("the last known recipe serves", extra={"root": root, "reason": str(error)})
            return last
        except (NotFound, Forbidden):
            self._kept.drop(f"{root} {app}")
            raise
        if known is None or known[1] != body:
            self._kept.put(f"{root} {app}", body)
        with self._guard:
            self._known[root, app] = (self._clock(), body)
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return body

    def chart(self, recipe: Recipe) -> tuple[Path, str]:
        """The chart on disk, and a text that changes when the chart does."""
        if recipe.has_url:
            return self._downloads.chart(recipe.chart, recipe)
        return self._own.chart(recipe)

    def _fetch(self, app: UUID, root: str) -> bytes:
        try:
            answer = self._calls(root).call(
                "GET", f"/api/v1/recipe/{app}/", token=self._token(root), most_bytes=MAX_RECIPE_BYTES
            )
        except RootError as error:
            if error.status == 404:
                raise NotFound("There is no recipe for this app, here or at its root.") from error
            if error.status == 422:
                raise RecipeUnusable(f"The root's recipe can't be used: {error}.") from error
            if error.status in (401, 403):
                raise Forbidden(f"The root does not give its recipe to this cloudlet: {error}.") from error
            raise Unavailable(f"The recipe's root {error}.") from error
        return json.dumps(answer).encode()
