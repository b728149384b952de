"""The accounts of a root in memory, for the tests of this folder."""

import random
from pathlib import Path
from uuid import UUID

from chalicelib.accounts.admissions import Admissions
from chalicelib.accounts.apps import AppBook
from chalicelib.accounts.managed_apps import ManagedApps
from chalicelib.accounts.recipes import RecipeBook
from chalicelib.accounts.tenants import Quotas, TenantBook, TenantSettings
from chalicelib.accounts.tokens import Scope, TokenRequest, Tokens

from tests.fakes.cloud_documents import FakeDocuments

NOW = 1_795_000_000


class Accounts:
    """One container's view of accounts; `beside` makes another container's. Both have the same clock."""

    def __init__(
        self,
        folder: Path,
        documents: FakeDocuments | None = None,
        time: list[float] | None = None,
        seed: int = 1,
    ) -> None:
        self.folder = folder
        self.documents = documents or FakeDocuments()
        self._time = time or [float(NOW)]
        chance = random.Random(seed)
        recipes = RecipeBook(str(folder), self.clock)
        self.tenants = TenantBook(self.documents, self.clock, self.clock)
        self.tokens = Tokens(self.documents, self.tenants, self.clock, self.clock, chance.randbytes)
        self.admissions = Admissions(self.documents, self.tenants, self.clock, chance.randbytes)
        self.book = AppBook(recipes, self.documents, self.clock)
        self.apps = ManagedApps(self.documents, self.tenants, self.book, recipes, self.clock)

    @property
    def now(self) -> float:
        return self._time[0]

    @now.setter
    def now(self, seconds: float) -> None:
        self._time[0] = seconds

    def clock(self) -> float:
        return self.now

    def beside(self) -> "Accounts":
        return Accounts(self.folder, self.documents, self._time, seed=2)

    def tenant(self, name: str, **quotas: int) -> None:
        self.tenants.put(name, TenantSettings(quotas=Quotas(**quotas)), by_operator=True)

    def token(self, tenant: str, scope: Scope, **wishes) -> str:
        return self.tokens.make(tenant, TokenRequest(scope, **wishes))[1]

    def release(self, tenant: str):
        return lambda uuid: self.apps.release(tenant, UUID(uuid))
