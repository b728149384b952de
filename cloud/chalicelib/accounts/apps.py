"""Apps: a recipe, whose it is, and how its owner wants cloudlets to be chosen.

Called by `deploying/deploy.py` and the views; calls `accounts/recipes.py`. Tenants' apps come first; one of
the recipe folder or URL is the root's own: its tenant is "". What was found, or not, is kept for seconds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from chalicelib.accounts.app_records import AppRecord, app_key, recipe_key, recipe_of
from chalicelib.accounts.documents import Documents
from chalicelib.accounts.fair_cache import FairCache
from chalicelib.accounts.recipes import Recipe, RecipeBook
from chalicelib.choosing.requirements import Requirements
from chalicelib.errors import NotFound

_FRESH_SECONDS = 10.0
_ABSENT_SECONDS = 5.0
_REMEMBERED = 256  # a recipe has up to 64 KiB
_NOBODY = "?"  # owns what is not there
_UNKNOWN = "There is no recipe for this app."


@dataclass(frozen=True, slots=True)
class App:
    """An app as a deploy needs it.

    `matchers`: nothing (the root's chain), names of installed ones, or one upcall ("lambda:<arn>", "https://…").
    `uses_shared`: whether shared cloudlets may serve it besides the tenant's own. `values`: what its calls to
    cloudlets set, unless the device sets it otherwise.
    """

    uuid: UUID
    recipe: Recipe
    tenant: str = ""
    matchers: tuple[str, ...] = ()
    requirements: Requirements = field(default_factory=Requirements)
    uses_shared: bool = True
    token_required: bool = False
    deploys_per_minute: int | None = None
    values: Mapping[str, Any] = field(default_factory=dict)


class AppBook:
    """Finds apps by UUID. Safe to share between threads."""

    def __init__(self, recipes: RecipeBook, documents: Documents, monotonic: Callable[[], float]) -> None:
        self._recipes = recipes
        self._documents = documents
        self._cache: FairCache[UUID, App | NotFound] = FairCache(_REMEMBERED, monotonic)

    def find(self, uuid: UUID) -> App:
        """The app as it was at most ten seconds ago. Raises `NotFound`, `RecipeUnusable` or `Unavailable`."""
        known = self._cache.get(uuid)
        if known is None:
            try:
                known = self._tenants_app(uuid) or App(uuid, self._recipes.find(uuid))
                self._cache.put(uuid, known, known.tenant, _FRESH_SECONDS)
            except NotFound as error:
                known = error
                self._cache.put(uuid, NotFound(str(error)), _NOBODY, _ABSENT_SECONDS)
        if isinstance(known, NotFound):
            raise NotFound(str(known))
        return known

    def forget(self, uuid: UUID) -> None:
        """Look anew at the next call, since the app was changed here."""
        self._cache.forget(uuid)

    def _tenants_app(self, uuid: UUID) -> App | None:
        """The app that a tenant has by this UUID: two reads."""
        document = self._documents.read(app_key(uuid))
        if document is None:
            return None
        record = AppRecord.from_document(document)
        settings = record.settings
        if settings.recipe is None:
            raise NotFound("This app has no recipe yet.")
        recipe = self._documents.read(recipe_key(record.tenant, uuid, settings.recipe))
        if recipe is None:  # removed a moment ago
            raise NotFound(_UNKNOWN)
        return App(
            uuid=uuid,
            recipe=recipe_of(recipe, uuid),
            tenant=record.tenant,
            matchers=settings.matchers,
            requirements=settings.requirements,
            uses_shared=settings.uses_shared,
            token_required=settings.token_required,
            deploys_per_minute=settings.deploys_per_minute,
            values=settings.values,
        )
