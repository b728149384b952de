"""Where recipes and charts are: a folder, or below a URL; the operator's `--recipes`.

A recipe is `<app uuid>.yaml`; its chart `<chart>-<version>.tgz` lies beside it, or at an absolute URL. In a
folder the chart may also lie unpacked as `<chart>/`, there or in `../charts`. Called by `recipes.py` and
`root_recipes.py`; calls the file system or HTTP.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import requests

from edge_agent.errors import NotFound, RecipeUnusable, Unavailable
from edge_agent.recipes.archives import digest_of
from edge_agent.recipes.kept import KeptRecipes, store
from edge_agent.recipes.recipe import Recipe, is_url
from edge_agent.recipes.recipes import Repository, keep
from edge_agent.recipes.sources import ANYWHERE, Sources
from edge_agent.sessions import read_body

_LOG = logging.getLogger(__name__)

MAX_RECIPE_BYTES = 256 * 1024
MAX_CHART_BYTES = 8 * 1024 * 1024
_KEPT_CHARTS = 64
_FRESH_SECONDS = 30.0
_HTTP_TIMEOUT = (5.0, 15.0)  # the second is for the whole answer: see `sessions.py`


class Folder:
    """Recipes and charts in a folder."""

    def __init__(self, path: Path, downloads: Downloads) -> None:
        self._path = path
        self._downloads = downloads

    def recipe(self, app: UUID) -> bytes:
        """Read `<uuid>.yaml`."""
        try:
            with (self._path / f"{app}.yaml").open("rb") as file:
                return _bounded(file.read(MAX_RECIPE_BYTES + 1), MAX_RECIPE_BYTES, "The recipe")
        except FileNotFoundError as error:
            raise NotFound("There is no recipe for this app.") from error
        except OSError as error:
            raise Unavailable(f"The recipe can't be read: {error.strerror}.") from error

    def chart(self, recipe: Recipe) -> tuple[Path, str]:
        """`<chart>-<version>.tgz`, else the folder `<chart>`, else `../charts/<chart>`."""
        if recipe.has_url:
            return self._downloads.chart(recipe.chart, recipe)
        archive = self._path / f"{recipe.chart}-{recipe.version}.tgz"
        unpacked = self._path / recipe.chart
        for path in (archive, unpacked if unpacked.is_dir() else None, _sibling(self._path, recipe.chart)):
            if path is not None and path.exists():
                return path, _state_of(path)
        raise RecipeUnusable(f"There is no chart {recipe.chart}-{recipe.version}.tgz beside the recipe.")


class Web:
    """Recipes and charts below a URL."""

    def __init__(self, url: str, downloads: Downloads) -> None:
        self._url = url.rstrip("/")
        self._downloads = downloads

    def recipe(self, app: UUID) -> bytes:
        """Get `<uuid>.yaml`."""
        return self._downloads.recipe(f"{self._url}/{app}.yaml")

    def chart(self, recipe: Recipe) -> tuple[Path, str]:
        """Get `<chart>-<version>.tgz`, once for each version."""
        url = recipe.chart if recipe.has_url else f"{self._url}/{recipe.chart}"
        return self._downloads.chart(url, recipe)


class Downloads:
    """HTTP with limits: recipes are asked for anew after half a minute, charts are kept in a folder."""

    def __init__(
        self,
        folder: Path,
        session: requests.Session,
        clock: Callable[[], float],
        sources: Sources = ANYWHERE,
    ) -> None:
        self._folder = folder
        self._session = session
        self._clock = clock
        self._sources = sources
        self._recipes: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self.kept = KeptRecipes(folder / "recipes")

    def recipe(self, url: str) -> bytes:
        """A recipe. While the repository is away the last known one serves, also after a restart.

        Raises `NotFound`, `Unavailable`.
        """
        known = self._recipes.get(url)
        if known and self._clock() - known[0] < _FRESH_SECONDS:
            return known[1]
        try:
            body = self._get(url, MAX_RECIPE_BYTES, "The recipe")
        except NotFound:
            self.kept.drop(url)
            raise
        except Unavailable:
            last = known[1] if known else self.kept.get(url)
            if last is None:
                raise
            _LOG.warning("recipe repository is away, the last known recipe serves", extra={"url": url})
            return last
        if known is None or known[1] != body:
            self.kept.put(url, body)
        keep(self._recipes, url, (self._clock(), body))
        return body

    def chart(self, url: str, recipe: Recipe) -> tuple[Path, str]:
        """A chart's archive; a version that was fetched once is not fetched again, unless the recipe gives
        another digest than it has.

        Raises `RecipeUnusable`, also for a chart from where none may come, or `Unavailable`.
        """
        full = url if url.endswith(".tgz") else f"{url}-{recipe.version}.tgz"
        self._sources.check(full)
        path = self._folder / f"{hashlib.sha256(f'{full} {recipe.version}'.encode()).hexdigest()}.tgz"
        if not path.exists() or (recipe.digest and digest_of(path) != recipe.digest):
            store(path, self._fetch_chart(full, recipe.digest), _KEPT_CHARTS)
        return path, path.name

    def _fetch_chart(self, url: str, digest: str) -> bytes:
        try:
            body = self._get(url, MAX_CHART_BYTES, "The chart")
        except NotFound as error:
            raise RecipeUnusable(f"There is no chart at {url}.") from error
        if digest and f"sha256:{hashlib.sha256(body).hexdigest()}" != digest:
            raise RecipeUnusable(f"The chart at {url} has another digest than the recipe gives.")
        return body

    def _get(self, url: str, limit: int, what: str) -> bytes:
        try:
            with self._session.get(url, timeout=_HTTP_TIMEOUT, stream=True, allow_redirects=False) as answer:
                if answer.status_code == 404:
                    raise NotFound("There is no recipe for this app.")
                if answer.is_redirect:
                    raise Unavailable(f"{what}: the repository redirects, which is not followed.")
                if answer.status_code != 200:
                    raise Unavailable(f"{what}: the repository answered {answer.status_code}.")
                return _bounded(read_body(answer, limit), limit, what)
        except requests.RequestException as error:
            raise Unavailable(f"{what} can't be fetched: {type(error).__name__}.") from error


class Nothing:
    """No recipes and no charts: all of them are the roots'."""

    def recipe(self, _app: UUID) -> bytes:
        """Raise `NotFound`."""
        raise NotFound("There is no recipe for this app.")

    def chart(self, _recipe: Recipe) -> tuple[Path, str]:
        """Raise `RecipeUnusable`."""
        raise RecipeUnusable("The chart of a root's recipe must be a URL: this cloudlet has none.")


def open_repository(where: str | None, downloads: Downloads) -> Repository:
    """The repository of `--recipes`: a URL or a folder; without it there is none."""
    if where is None:
        return Nothing()
    return Web(where, downloads) if is_url(where) else Folder(Path(where), downloads)


def _sibling(folder: Path, chart: str) -> Path | None:
    path = folder.parent / "charts" / chart
    return path if path.is_dir() else None


def _bounded(data: bytes, limit: int, what: str) -> bytes:
    if len(data) > limit:
        raise RecipeUnusable(f"{what} is larger than {limit} bytes.")
    return data


def _state_of(path: Path) -> str:
    files: Iterator[Path] = iter(sorted(path.rglob("*"))) if path.is_dir() else iter([path])
    states = [(str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files]
    return hashlib.sha256(json.dumps(states).encode()).hexdigest()
