"""A root's stores in memory."""

from chalicelib.stores import CloudletTable, Stores

from tests.fakes.cloud_commands import FakeCommands
from tests.fakes.cloud_documents import FakeDocuments
from tests.fakes.cloud_limits import FakeLimitTable, FakeUsageTable
from tests.fakes.cloud_measurements import FakeMeasurementTable
from tests.fakes.cloud_records import FakeRecordStore
from tests.fakes.cloud_table import FakeTable


def fake_stores(cloudlets: CloudletTable | None = None) -> Stores:
    """All of them, empty but for the table of cloudlets if one is given."""
    return Stores(
        cloudlets=cloudlets or FakeTable(),
        records=FakeRecordStore(),
        accounts=FakeDocuments(),
        usage=FakeUsageTable(),
        allowances=FakeLimitTable(),
        measurements=FakeMeasurementTable(),
        commands=FakeCommands(),
    )
