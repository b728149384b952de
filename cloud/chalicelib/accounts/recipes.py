"""Recipes: what an app's backend is. From a folder or from a URL, one `<app UUID>.yaml` each.

Called by `deploy.py` (does the app exist?) and `app.py`. A bounded number is remembered for seconds.
"""

import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml

from chalicelib.accounts.recipe_terms import read_terms
from chalicelib.errors import InvalidRequest, NotFound, RecipeUnusable, Unavailable
from chalicelib.fields import Fields
from chalicelib.webcall import CallError, WebCaller

_MOST_BYTES = 262144  # as much as the agent reads
_CALL_SECONDS = 3.0
_REMEMBERED = 256
_FOLDER_SECONDS = 2.0
_URL_SECONDS = 30.0


class _Loader(yaml.SafeLoader):
    """Plain YAML without aliases, which make much of little."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Refuse an alias where a node is expected."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has an alias; write the value out")
        return super().compose_node(parent, index)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A chart with a version and values. `restricted` (the default): not shown to everybody.

    `terms`: `digest`, `settable` and `limits`, those that it gives; they are for cloudlets.
    """

    uuid: UUID
    chart: str
    version: str
    description: str | None = None
    values: dict[str, Any] = field(default_factory=dict)
    restricted: bool = True
    terms: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_yaml(cls, uuid: UUID, text: bytes) -> "Recipe":
        """From a recipe file. Raises `RecipeUnusable`."""
        try:
            loaded = yaml.load(text, _Loader)  # noqa: S506 - a safe loader's child
            if isinstance(loaded, dict) and loaded.get("values", loaded) is None:
                del loaded["values"]  # "values:" with nothing behind it
            return cls.from_json(uuid, loaded, "recipe")
        except (yaml.YAMLError, TypeError, ValueError, RecursionError) as error:
            raise RecipeUnusable(f"The recipe of {uuid} can't be used: {error}") from error

    @classmethod
    def from_json(cls, uuid: UUID, value: object, where: str = "body") -> "Recipe":
        """From `Recipe` of the contract. Raises `InvalidRequest`."""
        fields = Fields(value, where)
        values = fields.get("values") if fields.has("values") else {}
        if not isinstance(values, dict):
            raise InvalidRequest(f"{fields.name('values')}: must be an object")
        try:  # YAML knows dates, sets and infinities, JSON half surrogate pairs; the wire carries neither
            json.dumps(values, allow_nan=False, ensure_ascii=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidRequest(f"{fields.name('values')}: {error}") from error
        return cls(
            uuid=uuid,
            chart=fields.text("chart", 1024, 1),
            version=fields.text("version", 128, 1),
            description=fields.text("description", 4096) if fields.has("description") else None,
            values=values,
            restricted=fields.boolean("restricted") if fields.has("restricted") else True,
            terms=read_terms(fields),
        )

    def to_json(self) -> dict[str, Any]:
        """As `Recipe` of the contract."""
        description = {} if self.description is None else {"description": self.description}
        return {
            "chart": self.chart,
            "version": self.version,
            **description,
            "values": self.values,
            **self.terms,
            "restricted": self.restricted,
        }


class RecipeBook:
    """The recipes of one folder or URL. Safe to share between threads."""

    def __init__(self, source: str, monotonic: Callable[[], float]) -> None:
        """`source`: a folder, or a URL that starts with http:// or https:// and may be private."""
        self._source = source
        self._is_url = source.startswith(("http://", "https://"))
        self._monotonic = monotonic
        self._caller = WebCaller(allow_private=True, monotonic=monotonic)
        self._lock = threading.Lock()
        self._known: OrderedDict[UUID, tuple[float, Recipe]] = OrderedDict()

    def find(self, uuid: UUID) -> Recipe:
        """The app's recipe. Raises `NotFound`, `RecipeUnusable` or `Unavailable`."""
        now = self._monotonic()
        with self._lock:
            known = self._known.get(uuid)
        if known is not None and known[0] > now:
            return known[1]
        recipe = Recipe.from_yaml(uuid, self._fetch(uuid) if self._is_url else self._read(uuid))
        with self._lock:
            self._known[uuid] = (now + (_URL_SECONDS if self._is_url else _FOLDER_SECONDS), recipe)
            self._known.move_to_end(uuid)
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return recipe

    def _read(self, uuid: UUID) -> bytes:
        try:
            with (Path(self._source) / f"{uuid}.yaml").open("rb") as file:
                text = file.read(_MOST_BYTES + 1)
        except FileNotFoundError as error:
            raise NotFound("There is no recipe for this app.") from error
        except OSError as error:
            raise Unavailable("The recipes can't be read.") from error
        if len(text) > _MOST_BYTES:
            raise RecipeUnusable(f"The recipe of {uuid} has more than {_MOST_BYTES} bytes.")
        return text

    def _fetch(self, uuid: UUID) -> bytes:
        url = f"{self._source.rstrip('/')}/{uuid}.yaml"
        try:
            answer = self._caller.call("GET", url, {}, seconds=_CALL_SECONDS, most_bytes=_MOST_BYTES)
        except CallError as error:
            raise Unavailable(f"The recipe repository {error}.") from error
        if answer.status in {403, 404, 410}:
            raise NotFound("There is no recipe for this app.")
        if answer.status != 200:
            raise Unavailable(f"The recipe repository answered {answer.status}.")
        return answer.body
