"""Where a root keeps what outlives a call: one table of DynamoDB for each kind of thing.

Called by `root.py`, which takes them as `Stores`, so that tests give others; and by `local_root.py`, which
has to make the tables. Nothing is reached before it is used.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Protocol

from chalicelib.accounts.documents import Documents
from chalicelib.accounts.ledger import UsageStore
from chalicelib.accounts.limits import AllowanceStore
from chalicelib.choosing.measurements import MeasurementStore
from chalicelib.deploying.commands import CommandStore
from chalicelib.deploying.mailbox import FlagStore
from chalicelib.deploying.records import RecordStore
from chalicelib.fleet.notices import NoticeStore
from chalicelib.fleet.registry import CloudletStore
from chalicelib.fleet.search import PlaceStore
from chalicelib.settings import Settings
from chalicelib.tables.account_table import DynamoAccountTable
from chalicelib.tables.cloudlet_table import DynamoCloudletTable
from chalicelib.tables.command_table import DynamoCommandTable
from chalicelib.tables.deployment_table import DynamoDeploymentTable
from chalicelib.tables.dynamo import Meter
from chalicelib.tables.limit_table import DynamoLimitTable
from chalicelib.tables.measurement_table import DynamoMeasurementTable
from chalicelib.tables.usage_table import DynamoUsageTable


class CloudletTable(CloudletStore, PlaceStore, NoticeStore, FlagStore, Protocol):
    """All that a root needs of the table of cloudlets."""


@dataclass(frozen=True, slots=True)
class Stores:
    """All of them."""

    cloudlets: CloudletTable
    records: RecordStore
    accounts: Documents
    usage: UsageStore
    allowances: AllowanceStore
    measurements: MeasurementStore
    commands: CommandStore


def dynamo_stores(settings: Settings, pause: Callable[[float], object], meter: Meter | None = None) -> Stores:
    """The tables that the settings name. `pause`: how to wait a moment when DynamoDB asks for one.

    `meter` is told every operation's name and capacity units.
    """
    place: dict[str, Any] = {"region": settings.region, "url": settings.dynamodb_url, "meter": meter}
    return Stores(
        cloudlets=DynamoCloudletTable(settings.table, **place),
        records=DynamoDeploymentTable(settings.deployment_table, **place),
        accounts=DynamoAccountTable(settings.account_table, pause=pause, **place),
        usage=DynamoUsageTable(settings.usage_table, **place),
        allowances=DynamoLimitTable(settings.limit_table, **place),
        measurements=DynamoMeasurementTable(settings.measurement_table, **place),
        commands=DynamoCommandTable(settings.command_table, **place),
    )


def create_tables(stores: Stores, pause: Callable[[float], object]) -> None:
    """Make the tables where there are none; in the cloud `infra/` does it."""
    for each in fields(stores):
        getattr(stores, each.name).create(pause)
