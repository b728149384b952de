"""A fleet of cloudlets and the root they register at: the table in memory, a clock that is an attribute."""

from uuid import uuid4

from chalicelib.deploying.mailbox import Mailbox
from chalicelib.fleet.admission import Admission
from chalicelib.fleet.cloudlets import Cloudlet
from chalicelib.fleet.geo import Location
from chalicelib.fleet.keepalives import Keepalives
from chalicelib.fleet.leases import LeaseSigner
from chalicelib.fleet.notices import Notices
from chalicelib.fleet.plausibility import Plausibility
from chalicelib.fleet.pressure import Pressure
from chalicelib.fleet.registry import Pace, Registry
from chalicelib.fleet.wire import Keepalive, Lease, Registration

from tests.fakes.cloud_admissions import FakeAdmissionBook
from tests.fakes.cloud_commands import FakeCommands
from tests.fakes.cloud_table import FakeTable

SECRET = b"0123456789abcdef"
HERE, THERE = Location(40.44, -79.99), Location(-37.81, 144.96)


class World:
    """A registry and keepalives, their table, and the time. What is not in `options` is an open root's."""

    def __init__(self, **options) -> None:
        self.now = 1_795_000_000.0
        self.table = FakeTable()
        self.book = FakeAdmissionBook()
        self.commands = Mailbox(FakeCommands(), self.table, self.clock, self.clock)
        self.signer = LeaseSigner([SECRET], self.clock)
        self.uuid = uuid4()
        self.another_root(**options)

    def clock(self) -> float:
        return self.now

    def another_root(self, admits_unsigned=True, keepalives_per_s=20_000) -> None:
        """Another container: same table and secret, nothing remembered."""
        self.plausibility = Plausibility(self.clock, self.clock)
        self.pressure = Pressure(
            self.table.count, keepalives_per_s=keepalives_per_s, most_seconds=300, monotonic=self.clock
        )
        shared = self.plausibility, self.pressure, Notices(self.table, self.clock, private=False)
        admission = Admission(self.book, admits_unsigned=admits_unsigned)
        self.registry = Registry(
            self.table, self.signer, Pace(15, 5, 300), admission, *shared, clock=self.clock
        )
        self.keepalives = Keepalives(self.table, self.signer, *shared, self.commands, self.clock)

    def register(self, incarnation=1, location: Location | None = HERE, signed=False, **fields) -> str:
        return self.lease(incarnation, location, signed, **fields).lease_token

    def lease(self, incarnation=1, location: Location | None = HERE, signed=False, **fields) -> Lease:
        registration = Registration("http://192.0.2.7/d/", incarnation, location=location, **fields)
        return self.registry.register(self.uuid, registration, signed=signed)

    def keepalive(self, token: str | None, sequence: int, *arguments, **fields) -> Lease:
        return self.keepalives.keepalive(self.uuid, token, Keepalive(sequence, *arguments, **fields))

    def row(self) -> Cloudlet:
        """The row, as readers see it: after a move, of two the newer."""
        rows = self.table.find(self.uuid)
        assert 1 <= len(rows) <= 2
        return max(rows, key=lambda row: row.age)
