"""What tenants do with their apps: claim a UUID, set them up, add versions of their recipes, give them up.

Called by `views/apps.py`. Who writes an app's document first has its UUID. Everything else of an app is in
its tenant's partition and written before that document or removed before it, so that what a crash leaves is
harmless, and the same call made again puts it right.
"""

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

from chalicelib.accounts.app_records import (
    POINTER,
    AppRecord,
    AppSettings,
    app_key,
    recipe_key,
    recipe_of,
)
from chalicelib.accounts.apps import AppBook
from chalicelib.accounts.documents import Document, DocumentKey, Documents, sweep, tenant_partition
from chalicelib.accounts.recipes import Recipe, RecipeBook
from chalicelib.accounts.tenants import TenantBook
from chalicelib.choosing.matcher_names import LAMBDA
from chalicelib.errors import (
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    QuotaExceeded,
    RecipeUnusable,
    Stale,
)

_ATTEMPTS = 4
_UNKNOWN = "This tenant has no such app."
_TAKEN = "This UUID is taken."
_CHANGED = "The app was changed since."


class ManagedApps:
    """The apps that tenants have."""

    def __init__(
        self,
        documents: Documents,
        tenants: TenantBook,
        book: AppBook,
        own: RecipeBook,
        clock: Callable[[], float],
    ) -> None:
        """`clock`: seconds since 1970; `own`: recipes whose UUIDs are the root's and can't be claimed."""
        self._documents = documents
        self._tenants = tenants
        self._book = book
        self._own = own
        self._clock = clock

    def get(self, tenant: str, uuid: UUID) -> AppRecord:
        """The app as it is now. Raises `NotFound`, also for another tenant's."""
        record = self._standing(uuid)
        if record is None or record.tenant != tenant:
            raise NotFound(_UNKNOWN)
        return record

    def page(self, tenant: str, limit: int, after: str) -> tuple[list[AppRecord], str | None]:
        """A tenant's apps by their UUIDs, and where the next page begins (None at the end)."""
        start = POINTER + after if after else ""
        page = self._documents.page(tenant_partition(tenant), POINTER, limit, start)
        names = [each.key.name.removeprefix(POINTER) for each in page.documents]
        found = self._documents.read_many([app_key(UUID(name)) for name in names])
        records = sorted((AppRecord.from_document(each) for each in found), key=lambda each: str(each.uuid))
        mine = [record for record in records if record.tenant == tenant]
        return mine, names[-1] if page.more and names else None

    def put(
        self,
        tenant: str,
        uuid: UUID,
        settings: AppSettings,
        *,
        by_operator: bool,
        version: int | None = None,
    ) -> AppRecord:
        """Claim the UUID, or change the app.

        Raises `Conflict` where somebody else has it, `QuotaExceeded`, `Stale` where another `version` stands.
        """
        standing = self._standing(uuid)
        if standing is not None and standing.tenant != tenant:
            raise Conflict(_TAKEN)
        if version is not None and version != (standing.version if standing else 0):
            raise Stale(_CHANGED)
        self._check(settings, standing, by_operator=by_operator)
        if standing is None and tenant:
            self._check_free(uuid)
        pointer = Document(DocumentKey(tenant_partition(tenant), f"{POINTER}{uuid}"), {})
        is_new = self._tenants.claim(tenant, pointer, self._tenants.get(tenant).quotas.apps)
        if standing is None:
            record = AppRecord(uuid, tenant, settings, created=int(self._clock()))
        else:
            recipe = settings.recipe or standing.settings.recipe
            record = replace(standing, settings=replace(settings, recipe=recipe))
        if not self._documents.write(record.to_document()):
            owner = self._standing(uuid)
            if is_new and (owner is None or owner.tenant != tenant):
                self._documents.erase(pointer.key)
            raise Stale(_CHANGED) if owner is None or owner.tenant == tenant else Conflict(_TAKEN)
        self._book.forget(uuid)
        return replace(record, version=record.version + 1)

    @staticmethod
    def _check(settings: AppSettings, standing: AppRecord | None, *, by_operator: bool) -> None:
        before = standing.settings.matchers if standing else ()
        for matcher in settings.matchers:
            if matcher.startswith(LAMBDA) and not by_operator and matcher not in before:
                raise Forbidden("Only an operator names a Lambda function: the root's own rights invoke it.")
        numbers = standing.numbers if standing else []
        if settings.recipe is not None and settings.recipe not in numbers:
            raise InvalidRequest(f"recipe: this app has no version {settings.recipe}")

    def remove(self, tenant: str, uuid: UUID) -> None:
        """Give an app up, its recipes too; the UUID is free then. Raises `NotFound`, `Stale`."""
        record = self.get(tenant, uuid)
        self._sweep(record)
        if not self._documents.erase(app_key(uuid), record.version):
            raise Stale(_CHANGED)
        self._book.forget(uuid)

    def _sweep(self, record: AppRecord) -> None:
        partition = tenant_partition(record.tenant)
        sweep(self._documents, partition, f"recipe#{record.uuid}#")
        self._documents.erase(DocumentKey(partition, f"{POINTER}{record.uuid}"))

    def release(self, tenant: str, uuid: UUID) -> None:
        """Let go of an app that is the tenant's, since the tenant goes."""
        record = self._standing(uuid)
        if record is not None and record.tenant == tenant:
            self.remove(tenant, uuid)

    def add_recipe(self, tenant: str, uuid: UUID, recipe: Recipe, *, use: bool) -> int:
        """Add a version of the app's recipe, deployed from now on if `use`; its number.

        Raises `NotFound`, `QuotaExceeded`.
        """
        number = self._reserve(tenant, uuid)
        created = int(self._clock())
        key = recipe_key(tenant, uuid, number)
        left = self._documents.read(key)  # by a removal that was cut short
        body = {"recipe": recipe.to_json(), "created": created}
        if not self._documents.write(Document(key, body, left.version if left else 0)):
            raise Stale(_CHANGED)

        def added(record: AppRecord) -> AppRecord:
            return record.with_recipe(number, created, use=use and number > (record.settings.recipe or 0))

        self._change(tenant, uuid, added)
        return number

    def _reserve(self, tenant: str, uuid: UUID) -> int:
        """A version number that nobody else gets."""
        most = self._tenants.get(tenant).quotas.recipes

        def reserved(record: AppRecord) -> AppRecord:
            if len(record.recipes) >= most:
                raise QuotaExceeded(f"An app may have {most} versions of its recipe; remove one first.")
            return replace(record, newest=record.newest + 1)

        return self._change(tenant, uuid, reserved).newest

    def recipe(self, tenant: str, uuid: UUID, number: int) -> Recipe:
        """One version. Raises `NotFound`."""
        if number in self.get(tenant, uuid).numbers:
            document = self._documents.read(recipe_key(tenant, uuid, number))
            if document is not None:
                return recipe_of(document, uuid)
        raise NotFound("This app has no such version of its recipe.")

    def remove_recipe(self, tenant: str, uuid: UUID, number: int) -> None:
        """Remove a version that is not deployed. Raises `NotFound`, `Conflict`."""

        def removed(record: AppRecord) -> AppRecord:
            if number not in record.numbers:
                raise NotFound("This app has no such version of its recipe.")
            if number == record.settings.recipe:
                raise Conflict("This version is the one that is deployed; choose another one first.")
            return replace(record, recipes=tuple(each for each in record.recipes if each[0] != number))

        self._change(tenant, uuid, removed)
        self._documents.erase(recipe_key(tenant, uuid, number))

    def _change(self, tenant: str, uuid: UUID, change: Callable[[AppRecord], AppRecord]) -> AppRecord:
        """Write what `change` makes of the app as it is now; again if it changed meanwhile."""
        for _ in range(_ATTEMPTS):
            record = change(self.get(tenant, uuid))
            if self._documents.write(record.to_document()):
                self._book.forget(uuid)
                return record
        raise Stale(_CHANGED)

    def _standing(self, uuid: UUID) -> AppRecord | None:
        document = self._documents.read(app_key(uuid))
        return None if document is None else AppRecord.from_document(document)

    def _check_free(self, uuid: UUID) -> None:
        """Whether the root itself has no app by this UUID. Raises `Conflict`, `Unavailable`."""
        try:
            self._own.find(uuid)
        except NotFound:
            return
        except RecipeUnusable as error:
            raise Conflict(_TAKEN) from error
        raise Conflict(_TAKEN)
