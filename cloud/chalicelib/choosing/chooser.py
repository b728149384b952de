"""Which of the eligible cloudlets, and in which order: the root's chain of matchers, or the app's own.

Called by `deploying/selection.py`; calls the matchers, `upcall.py` and `measurements.py`. Whatever a matcher
that is not built in does, there is an answer within its time budget: the default chain's, with a word that
tells why (law 9).
"""

import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol
from uuid import UUID

from chalicelib.accounts.apps import App
from chalicelib.accounts.recipes import Recipe
from chalicelib.choosing.budget import Budget, MatcherFailed
from chalicelib.choosing.estimate import with_reach
from chalicelib.choosing.matcher_names import is_upcall
from chalicelib.choosing.matchers import built_in_matchers, installed_matcher
from chalicelib.choosing.matching import ClientInfo, Matcher, eligible
from chalicelib.choosing.reach import Measured
from chalicelib.choosing.upcall import MOST_CANDIDATES, Upcalls, question_of
from chalicelib.fields import Address
from chalicelib.fleet.cloudlets import Cloudlet
from chalicelib.observing import count
from chalicelib.settings import SettingsError

DEFAULT = ("network", "spread")
_log = logging.getLogger(__name__)


class Surveys(Protocol):
    """What was measured; see `measurements.py`."""

    def near(self, address: Address) -> Mapping[UUID, Measured]:
        """From the client's network, by cloudlet; nothing where nothing is known."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The candidates, the best first. `fallback`: one word why the default chain chose them, if it had to."""

    cloudlets: list[Cloudlet]
    fallback: str | None = None


class Chooser:
    """Orders candidates. Safe between threads."""

    def __init__(
        self,
        names: Sequence[str],
        chance: random.Random,
        *,
        upcalls: Upcalls,
        budget: Budget,
        surveys: Surveys,
        installed: Callable[[str], Matcher | None] = installed_matcher,
    ) -> None:
        """`names`: the root's chain. An unknown one is a `SettingsError`."""
        self._names = tuple(names)
        self._built_in = built_in_matchers(chance)
        self._upcalls = upcalls
        self._budget = budget
        self._surveys = surveys
        self._find_installed = installed
        self._installed: dict[str, Matcher | None] = {}
        for name in self._names:
            self._demand(name)

    def eligible(self, client: ClientInfo, app: App, cloudlet: Cloudlet) -> bool:
        """Whether a cloudlet may be offered to this client for this app."""
        return eligible(client, app, cloudlet)

    def informed(self, client: ClientInfo, cloudlets: Sequence[Cloudlet]) -> ClientInfo:
        """The client with what was measured from its network, for `expected_ms` of these cloudlets."""
        return with_reach(client, self._surveys.near(client.ipaddress), cloudlets)

    def order(self, client: ClientInfo, app: App, cloudlets: Sequence[Cloudlet]) -> Choice:
        """The candidates among `cloudlets`, which is left alone; each once, none that is not eligible."""
        candidates = [each for each in cloudlets if eligible(client, app, each)]
        if not candidates:
            return Choice([])
        client = self.informed(client, candidates)
        names = app.matchers or self._names
        try:
            return Choice(self._choose(names, client, app, candidates))
        except MatcherFailed as error:
            _log.warning(
                "a matcher failed; the default chain chooses",
                extra={"app_uuid": str(app.uuid), "matchers": names, "detail": _detail(error)},
                exc_info=error.__cause__ is not None and not is_upcall(names[0]),
            )
            count("MatcherFallbacks")
            return Choice(self._default(client, app.recipe, candidates), str(error))

    def _choose(
        self, names: Sequence[str], client: ClientInfo, app: App, candidates: list[Cloudlet]
    ) -> list[Cloudlet]:
        if all(name in self._built_in for name in names):
            return _run([self._built_in[name] for name in names], client, app.recipe, candidates)
        if is_upcall(names[0]):
            chosen = self._ask(names[0], client, app, candidates)
        else:
            chosen = self._budget.run(
                app.tenant, ",".join(names), lambda: self._ask_installed(names, client, app, candidates)
            )
        if not chosen:  # no fault that it has to rest for
            raise MatcherFailed("none")
        return chosen

    def _ask_installed(
        self, names: Sequence[str], client: ClientInfo, app: App, candidates: list[Cloudlet]
    ) -> list[Cloudlet]:
        """A chain with matchers that are not built in; to load one may take long, too."""
        return _run([self._known(name) for name in names], client, app.recipe, candidates)

    def _ask(self, name: str, client: ClientInfo, app: App, candidates: list[Cloudlet]) -> list[Cloudlet]:
        """The upcall: the best few by the default chain are put to it."""
        asked = self._default(client, app.recipe, candidates)[:MOST_CANDIDATES]
        question = question_of(client, app, asked)
        known = {each.uuid: each for each in asked}
        self._upcalls.prepare(name)

        def ask() -> list[Cloudlet]:
            chosen = dict.fromkeys(self._upcalls.ask(name, question, self._budget.seconds))
            if not chosen.keys() <= known.keys():
                raise MatcherFailed("unknown")
            return [known[uuid] for uuid in chosen]

        return self._budget.run(app.tenant, name, ask)

    def _default(self, client: ClientInfo, recipe: Recipe, candidates: list[Cloudlet]) -> list[Cloudlet]:
        return _run([self._built_in[name] for name in DEFAULT], client, recipe, candidates)

    def _known(self, name: str) -> Matcher:
        matcher = self._matcher(name)
        if matcher is None:
            raise MatcherFailed("missing")
        return matcher

    def _demand(self, name: str) -> None:
        try:
            known = not is_upcall(name) and self._matcher(name) is not None
        except MatcherFailed as error:
            raise SettingsError(f"SINFONIA_MATCHERS: {name} can't be loaded") from error
        if not known:
            raise SettingsError(f"SINFONIA_MATCHERS: there is no matcher called {name}")

    def _matcher(self, name: str) -> Matcher | None:
        if name in self._built_in:
            return self._built_in[name]
        if name not in self._installed:
            try:
                self._installed[name] = self._find_installed(name)
            except Exception as error:
                raise MatcherFailed("failed") from error
        return self._installed[name]


def _detail(error: MatcherFailed) -> str:
    return str(error) if error.__cause__ is None else f"{error}: {error.__cause__}"


def _run(
    matchers: Sequence[Matcher], client: ClientInfo, recipe: Recipe, candidates: list[Cloudlet]
) -> list[Cloudlet]:
    """What a chain yields, each once. Raises `MatcherFailed`: unknown (it was not given), or endless."""
    known = {cloudlet.uuid: cloudlet for cloudlet in candidates}
    left = list(candidates)
    most = 2 * len(candidates) + len(matchers)  # a few repetitions are forgiven
    yielded = list(islice(_yields(matchers, client, recipe, left), most + 1))
    if len(yielded) > most:
        raise MatcherFailed("endless")
    chosen = dict.fromkeys(getattr(each, "uuid", None) for each in yielded)
    if not chosen.keys() <= known.keys():
        raise MatcherFailed("unknown")
    return [known[uuid] for uuid in chosen if uuid is not None]


def _yields(
    matchers: Sequence[Matcher], client: ClientInfo, recipe: Recipe, left: list[Cloudlet]
) -> Iterator[object]:
    for matcher in matchers:
        yield from matcher(client, recipe, left)
