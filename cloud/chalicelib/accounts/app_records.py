"""Apps as they are kept, and what their owners say of them. Called by `apps.py` and `managed_apps.py`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from chalicelib.accounts.documents import Document, DocumentKey, tenant_partition, time_text
from chalicelib.accounts.recipes import Recipe
from chalicelib.call_values import check_values
from chalicelib.choosing.matcher_names import parse_matchers
from chalicelib.choosing.requirements import Requirements
from chalicelib.fields import Fields

POINTER = "app#"
_MOST_DEPLOYS = 10**9


@dataclass(frozen=True, slots=True)
class AppSettings:
    """What an app's owner says of it. `recipe`: the version to deploy, None for what was deployed so far."""

    name: str | None = None
    matchers: tuple[str, ...] = ()
    requirements: Requirements = field(default_factory=Requirements)
    uses_shared: bool = True
    token_required: bool = False
    deploys_per_minute: int | None = None
    recipe: int | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: object, *, allow_private: bool = False) -> "AppSettings":
        """From `AppSettings` of the contract. `allow_private`: an upcall may be http:// too."""
        fields = Fields(value, "body")
        given = fields.get("matchers") if fields.has("matchers") else []
        return cls._read(fields, parse_matchers(given, "matchers", allow_private=allow_private))

    @classmethod
    def from_kept(cls, kept: Mapping[str, Any]) -> "AppSettings":
        """From what is kept; a matcher that is no longer installed is its chooser's business."""
        return cls._read(Fields(kept, "app"), tuple(kept["matchers"]))

    @classmethod
    def _read(cls, fields: Fields, matchers: tuple[str, ...]) -> "AppSettings":
        return cls(
            name=fields.label("name", 128, 1) if fields.has("name") else None,
            matchers=matchers,
            requirements=Requirements.from_json(fields.get("requirements"))
            if fields.has("requirements")
            else Requirements(),
            uses_shared=fields.boolean("uses_shared") if fields.has("uses_shared") else True,
            token_required=fields.boolean("token_required") if fields.has("token_required") else False,
            deploys_per_minute=fields.integer("deploys_per_minute", 1, _MOST_DEPLOYS)
            if fields.has("deploys_per_minute")
            else None,
            recipe=fields.integer("recipe", 1, 999_999) if fields.has("recipe") else None,
            values=check_values(fields.get("values"), "values") if fields.has("values") else {},
        )

    def to_json(self) -> dict[str, Any]:
        """As `AppSettings` of the contract, without what is not set."""
        shown: dict[str, Any] = {
            "matchers": list(self.matchers),
            "requirements": self.requirements.to_json(),
            "uses_shared": self.uses_shared,
            "token_required": self.token_required,
        }
        for name in ("name", "deploys_per_minute", "recipe"):
            if getattr(self, name) is not None:
                shown[name] = getattr(self, name)
        if self.values:
            shown["values"] = dict(self.values)
        return shown


@dataclass(frozen=True, slots=True)
class AppRecord:
    """An app. `newest`: the highest recipe version given out; `recipes`: (version, when) of those kept."""

    uuid: UUID
    tenant: str
    settings: AppSettings
    created: int = 0
    newest: int = 0
    recipes: tuple[tuple[int, int], ...] = ()
    version: int = 0

    @property
    def numbers(self) -> list[int]:
        """The recipe versions that there are."""
        return [number for number, _ in self.recipes]

    def with_recipe(self, number: int, created: int, *, use: bool) -> "AppRecord":
        """The same with one more recipe version, which is deployed from now on or not."""
        settings = replace(self.settings, recipe=number) if use else self.settings
        return replace(self, settings=settings, recipes=(*self.recipes, (number, created)))

    def to_json(self) -> dict[str, Any]:
        """As `App` of the contract."""
        return {"uuid": str(self.uuid), **self.settings.to_json(), "created": time_text(self.created)}

    def versions_json(self) -> list[dict[str, Any]]:
        """The versions of its recipe, as `RecipeVersion` of the contract."""
        return [
            {"number": number, "created": time_text(created), "deployed": number == self.settings.recipe}
            for number, created in self.recipes
        ]

    def to_document(self) -> Document:
        """As it is kept."""
        body = {
            "tenant": self.tenant,
            "settings": self.settings.to_json(),
            "created": self.created,
            "newest": self.newest,
            "recipes": [list(each) for each in self.recipes],
        }
        return Document(app_key(self.uuid), body, self.version)

    @classmethod
    def from_document(cls, document: Document) -> "AppRecord":
        """From what is kept."""
        body = document.body
        return cls(
            uuid=UUID(document.key.partition.removeprefix(POINTER)),
            tenant=body["tenant"],
            settings=AppSettings.from_kept(body["settings"]),
            created=body["created"],
            newest=body["newest"],
            recipes=tuple((number, created) for number, created in body["recipes"]),
            version=document.version,
        )


def app_key(uuid: UUID) -> DocumentKey:
    """Where an app is kept: found by its UUID alone, whoever owns it."""
    return DocumentKey(f"{POINTER}{uuid}", "app")


def recipe_key(tenant: str, uuid: UUID, number: int) -> DocumentKey:
    """Where a version of an app's recipe is kept."""
    return DocumentKey(tenant_partition(tenant), f"recipe#{uuid}#{number:06d}")


def recipe_of(document: Document, uuid: UUID) -> Recipe:
    """The recipe that a document holds."""
    return Recipe.from_json(uuid, document.body["recipe"])
