"""One root, put together from its settings. Called by `app.py` on the first request, and by tests."""

import random
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from chalicelib.accounts.admissions import Admissions
from chalicelib.accounts.apps import AppBook
from chalicelib.accounts.ledger import Ledger
from chalicelib.accounts.limits import Allowances, Limits, Paces
from chalicelib.accounts.managed_apps import ManagedApps
from chalicelib.accounts.recipes import RecipeBook
from chalicelib.accounts.tenants import TenantBook
from chalicelib.accounts.tokens import Tokens
from chalicelib.choosing.budget import Budget
from chalicelib.choosing.chooser import Chooser
from chalicelib.choosing.matching import ClientInfo, client_distance_km, is_local
from chalicelib.choosing.measurements import Measurements
from chalicelib.choosing.upcall import GRACE_SECONDS, Upcalls
from chalicelib.deploying.agents import AgentCalls, ReachableAgents
from chalicelib.deploying.asking import Means
from chalicelib.deploying.deploy import Deployer
from chalicelib.deploying.holds import MOST_HELD, Holds
from chalicelib.deploying.mailbox import DeliveredCalls, Mailbox
from chalicelib.deploying.records import Records
from chalicelib.deploying.selection import Selection
from chalicelib.deploying.setbacks import Setbacks
from chalicelib.deploying.standing import Standing
from chalicelib.fleet.admission import Admission
from chalicelib.fleet.cloudlets import Cloudlet
from chalicelib.fleet.keepalives import Keepalives
from chalicelib.fleet.leases import LeaseSigner
from chalicelib.fleet.neighbourhood import Neighbourhood
from chalicelib.fleet.notices import Notices
from chalicelib.fleet.place_cache import CachedPlaces
from chalicelib.fleet.plausibility import Plausibility
from chalicelib.fleet.pressure import Pressure
from chalicelib.fleet.registry import Pace, Registry
from chalicelib.fleet.root_keys import RootKeys, new_id
from chalicelib.fleet.search import PlaceStore
from chalicelib.settings import Settings
from chalicelib.stores import CloudletTable, Stores, dynamo_stores
from chalicelib.tables.lambda_caller import LambdaCaller
from chalicelib.webcall import WebCaller


@dataclass(frozen=True, slots=True)
class Root:
    """What the views call."""

    settings: Settings
    registry: Registry
    keepalives: Keepalives
    mailbox: Mailbox
    keys: RootKeys
    deployer: Deployer
    standing: Standing
    recipes: RecipeBook
    apps: AppBook
    tenants: TenantBook
    tokens: Tokens
    admissions: Admissions
    managed_apps: ManagedApps
    limits: Limits
    ledger: Ledger
    measurements: Measurements
    leases: LeaseSigner
    places: PlaceStore
    clock: Callable[[], float]


def build_root(
    settings: Settings,
    stores: Stores | None = None,
    *,
    clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
    chance: random.Random | None = None,
) -> Root:
    """A root over its stores, by default the tables that the settings name. `clock`: seconds since 1970."""
    chance = chance or random.Random()  # noqa: S311 - spreads load, guards nothing
    stores = stores or dynamo_stores(settings, threading.Event().wait)
    table = stores.cloudlets
    places = CachedPlaces(table, monotonic)
    recipes = RecipeBook(settings.recipes, monotonic)
    apps = AppBook(recipes, stores.accounts, monotonic)
    tenants = TenantBook(stores.accounts, clock, monotonic)
    admissions = Admissions(stores.accounts, tenants, clock, secrets.token_bytes)
    measurements = Measurements(stores.measurements, clock, monotonic, used=settings.measurements)
    leases = LeaseSigner(settings.lease_secrets, clock)
    keys = RootKeys(settings.lease_secrets, clock)
    mailbox = Mailbox(stores.commands, table, clock, monotonic)
    ledger = Ledger(stores.usage, apps, clock)
    private = settings.allow_private_endpoints
    means = Means(
        selection=Selection(
            near=Neighbourhood(places, clock, chance, private=private),
            near_now=Neighbourhood(table, clock, chance, private=private),
            finder=table,
            chooser=_chooser(settings, measurements, chance, monotonic),
            setbacks=Setbacks(monotonic),
            clock=clock,
        ),
        records=Records(stores.records, clock, lambda: secrets.randbits(62) + 1),
        agents=ReachableAgents(
            AgentCalls(WebCaller(allow_private=private, monotonic=monotonic), keys, new_id),
            DeliveredCalls(mailbox, keys, new_id, clock),
        ),
        deadline_seconds=settings.deadline_seconds,
        monotonic=monotonic,
    )
    registry, keepalives = _fleet(settings, table, leases, admissions, mailbox, clock, monotonic)
    return Root(
        settings=settings,
        registry=registry,
        keepalives=keepalives,
        mailbox=mailbox,
        keys=keys,
        deployer=Deployer(apps, means, ledger, Holds(MOST_HELD)),
        standing=Standing(apps, means),
        recipes=recipes,
        apps=apps,
        tenants=tenants,
        tokens=Tokens(stores.accounts, tenants, clock, monotonic, secrets.token_bytes),
        admissions=admissions,
        managed_apps=ManagedApps(stores.accounts, tenants, apps, recipes, clock),
        limits=Limits(
            Paces(settings.calls_per_address, settings.calls_per_app),
            Allowances(stores.allowances, clock),
            tenants,
            monotonic,
        ),
        ledger=ledger,
        measurements=measurements,
        leases=leases,
        places=places,
        clock=clock,
    )


def _fleet(
    settings: Settings,
    table: CloudletTable,
    leases: LeaseSigner,
    admissions: Admissions,
    mailbox: Mailbox,
    clock: Callable[[], float],
    monotonic: Callable[[], float],
) -> tuple[Registry, Keepalives]:
    pace = Pace(settings.interval_seconds, settings.min_interval_seconds, settings.max_interval_seconds)
    plausibility = Plausibility(clock, monotonic)
    pressure = Pressure(
        table.count,
        keepalives_per_s=settings.keepalives_per_s,
        most_seconds=settings.max_interval_seconds,
        monotonic=monotonic,
    )
    notices = Notices(table, clock, private=settings.allow_private_endpoints)
    admission = Admission(admissions, admits_unsigned=settings.open)
    return (
        Registry(table, leases, pace, admission, plausibility, pressure, notices, clock),
        Keepalives(table, leases, plausibility, pressure, notices, mailbox, clock),
    )


def _chooser(
    settings: Settings, measurements: Measurements, chance: random.Random, monotonic: Callable[[], float]
) -> Chooser:
    return Chooser(
        settings.matchers,
        chance,
        upcalls=Upcalls(
            LambdaCaller(settings.matcher_seconds + GRACE_SECONDS),
            WebCaller(allow_private=settings.allow_private_endpoints, monotonic=monotonic),
        ),
        budget=Budget(settings.matcher_seconds, monotonic),
        surveys=measurements,
    )


def candidate_json(cloudlet: Cloudlet, client: ClientInfo, *, stale: bool = False) -> dict[str, object]:
    """As `Candidate` of the contract; `stale`: if its lease has ended."""
    candidate: dict[str, object] = {"UUID": str(cloudlet.uuid)}
    if cloudlet.name is not None:
        candidate["Name"] = cloudlet.name
    if cloudlet.callable:
        candidate["Endpoint"] = cloudlet.endpoint
    if cloudlet.location is not None:
        candidate["Location"] = [cloudlet.location.latitude, cloudlet.location.longitude]
    distance_km = client_distance_km(client, cloudlet)
    if distance_km is not None:
        candidate["DistanceKm"] = round(distance_km, 1)
    candidate["LocalNetwork"] = is_local(client, cloudlet)
    if stale:
        candidate["Stale"] = True
    candidate["Resources"] = dict(cloudlet.resources)
    return candidate
