"""The ledger: what is believed, what is refused, and how it is read again."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from chalicelib.accounts.ledger import Ledger
from chalicelib.accounts.usage import (
    BEGAN,
    MOST_REPORTS,
    SHARDS,
    USED,
    Cursor,
    Report,
    Usage,
    parse_day,
    parse_reports,
)
from chalicelib.errors import InvalidRequest, NotFound, Unavailable
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.cloud_limits import FakeUsageTable

APP, OTHERS = UUID(int=7), UUID(int=8)
CLOUDLET = UUID("5f1c9a1e-7f35-4a39-9d52-3f1f8f0e6a11")
NOW = 1_795_521_600
DAY = date(2026, 11, 24)
KEY = bytes(range(32))


class Apps:
    def find(self, uuid: UUID) -> SimpleNamespace:
        if uuid not in (APP, OTHERS):
            raise NotFound("There is no recipe for this app.")
        return SimpleNamespace(tenant="acme" if uuid == APP else "other")


class Site:
    def __init__(self) -> None:
        self.store = FakeUsageTable()
        self.ledger = Ledger(self.store, Apps(), lambda: NOW + 0.5)

    def pages(self, first: date, last: date, limit: int, tenant: str = "acme") -> list[list[Usage]]:
        pages, after = [], None
        while True:
            entries, after = self.ledger.page(tenant, first, last, after, limit)
            assert len(entries) <= limit
            pages.append(entries)
            if after is None:
                return pages
            after = Cursor.from_text(after.to_text())


def report(**changed) -> Report:
    return replace(Report("hello-0123456789", APP, NOW - 600, NOW, 10, 20), **changed)


def entry(since: int, **changed) -> Usage:
    return replace(Usage(USED, "acme", APP, CLOUDLET, "d", since, since + 1, 1, 2), **changed)


def test_a_beginning_is_recorded_without_the_devices_key():
    site = Site()
    site.ledger.began("acme", APP, CLOUDLET, KEY, "hello-0123456789")
    site.ledger.began("acme", APP, CLOUDLET, KEY[::-1], None)
    one, other = site.store.entries
    assert (one.event, one.tenant, one.deployment, one.since) == (BEGAN, "acme", "hello-0123456789", NOW)
    assert one.device != other.device
    assert other.deployment == other.device
    assert KEY.hex()[:12] not in json.dumps(one.to_json())


@pytest.mark.parametrize("name", ["", "x" * 129, "a~b", "a b", "a\n", "é"])
def test_a_name_that_could_not_be_reported_is_not_taken(name):
    site = Site()
    site.ledger.began("acme", APP, CLOUDLET, KEY, name)
    assert site.store.entries[0].deployment == site.store.entries[0].device


def test_a_device_does_not_wait_for_bookkeeping_that_is_away(caplog):
    site = Site()
    site.store.away = True
    site.ledger.began("acme", APP, CLOUDLET, KEY, "hello-0123456789")
    (line,) = caplog.records
    assert line.levelname == "ERROR"
    assert line.usage["deployment"] == "hello-0123456789"


def test_reports_are_kept_for_the_tenant_of_the_app():
    site = Site()
    assert site.ledger.report(CLOUDLET, "", (report(), report(app=OTHERS))) == []
    assert [each.tenant for each in site.store.entries] == ["acme", "other"]
    assert site.store.entries[0] == Usage(
        USED, "acme", APP, CLOUDLET, "hello-0123456789", NOW - 600, NOW, 10, 20
    )


def test_told_again_they_count_once():
    site = Site()
    for _ in range(3):
        assert site.ledger.report(CLOUDLET, "", (report(), report(bytes_in=10**9))) == []
    assert [each.bytes_in for each in site.store.entries] == [10]


def test_two_cloudlets_with_the_same_name_for_it_are_two():
    site = Site()
    for cloudlet in (CLOUDLET, uuid4()):
        site.ledger.report(cloudlet, "", (report(),))
    assert len(site.store.entries) == 2


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"until": NOW + 700}, "future"),
        ({"since": NOW - 8 * 86400, "until": NOW - 8 * 86400 + 1}, "seven days"),
        ({"since": NOW, "until": NOW - 1}, "at most a day"),
        ({"since": NOW - 86500}, "at most a day"),
        ({"bytes_in": 2**53 - 1}, "gateway"),
        ({"bytes_out": 2**53 - 1}, "gateway"),
        ({"app": uuid4()}, "not an app"),
    ],
)
def test_what_cant_be_true_is_refused_and_the_rest_kept(changed, why):
    site = Site()
    wrong = report(deployment="wrong", **changed)
    (refused,) = site.ledger.report(CLOUDLET, "", (report(deployment="a"), wrong, report(deployment="b")))
    assert refused.report == wrong
    assert why in refused.to_json()["detail"]
    assert [each.deployment for each in site.store.entries] == ["a", "b"]


@pytest.mark.parametrize(
    "changed",
    [
        {"until": NOW + 600},
        {"since": NOW - 7 * 86400 + 1, "until": NOW - 7 * 86400 + 2},
        {"since": NOW, "until": NOW, "bytes_in": 0},
        {"since": NOW - 86400},
    ],
)
def test_what_may_be_true_is_kept(changed):
    site = Site()
    assert site.ledger.report(CLOUDLET, "", (report(**changed),)) == []


def test_a_tenants_own_cloudlet_speaks_of_its_tenants_apps_only():
    site = Site()
    (refused,) = site.ledger.report(CLOUDLET, "acme", (report(), report(app=OTHERS)))
    assert refused.report.app == OTHERS


def test_away_means_that_it_is_told_again():
    site = Site()
    site.store.away = True
    with pytest.raises(Unavailable):
        site.ledger.report(CLOUDLET, "", (report(),))


def test_an_export_is_one_tenants_days():
    site = Site()
    wanted = [entry(NOW - 86400), entry(NOW), entry(NOW + 86400)]
    for each in (*wanted, entry(NOW, tenant="other"), entry(NOW - 2 * 86400), entry(NOW + 2 * 86400)):
        site.store.add(each)
    day = timedelta(days=1)
    (page,) = site.pages(DAY - day, DAY + day, 100)
    assert page == wanted


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9), st.integers(0, 40)), max_size=60, unique=True),
    st.integers(1, 20),
)
def test_pages_have_every_entry_once(entries, limit):
    site = Site()
    for day, second, number in entries:
        site.store.add(entry(NOW + day * 86400 + second, deployment=f"d-{number}"))
    pages = site.pages(DAY, DAY + timedelta(days=6), limit)
    read = [each for page in pages for each in page]
    assert len(read) == len(entries)
    assert set(read) == set(site.store.entries)
    assert [each.day for each in read] == sorted(each.day for each in read)


def test_a_page_over_an_empty_year_reads_a_bounded_number_of_partitions():
    site = Site()
    entries, after = site.ledger.page("acme", DAY, DAY + timedelta(days=365), None, 100)
    assert entries == []
    assert after is not None
    assert site.store.reads == 32
    assert sum(map(len, site.pages(DAY, DAY + timedelta(days=365), 100))) == 0


def test_a_crowd_is_spread_over_all_shards():
    shards = {entry(NOW, deployment=f"d-{number}").shard for number in range(200)}
    assert shards == set(range(SHARDS))


@pytest.mark.parametrize(
    ("first", "last"), [(DAY, DAY - timedelta(days=1)), (DAY, DAY + timedelta(days=366)), (DAY, date.max)]
)
def test_wrong_ranges_are_refused(first, last):
    with pytest.raises(InvalidRequest, match="366 days"):
        Site().ledger.page("acme", first, last, None, 10)


def test_the_last_day_that_there_is():
    assert Site().ledger.page("acme", date.max, date.max, None, 10) == ([], None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "2026-11-24",
        "2026-11-24.8.",
        "2026-11-24.1.a b",
        "2026-13-01.0.",
        "2026-11-24.0." + "x" * 300,
    ],
)
def test_a_cursor_of_ones_own_is_refused(text):
    with pytest.raises(InvalidRequest):
        Cursor.from_text(text)


def test_a_cursor_from_before_the_range_begins_at_its_start():
    site = Site()
    site.store.add(entry(NOW - 86400))
    early = Cursor(DAY - timedelta(days=1), 0)
    assert site.ledger.page("acme", DAY, DAY, early, 10) == ([], None)


@pytest.mark.parametrize(
    "text", ["", "20261124", "2026-W48-2", "2026-11-31", "2026-11-24T00:00", "\uff12026-11-24"]
)
def test_days_have_one_form(text):
    with pytest.raises(InvalidRequest, match="from: must be a day"):
        parse_day(text, "from")


def test_the_day_is_utc():
    assert entry(int(datetime(2026, 11, 24, tzinfo=UTC).timestamp())).day == DAY
    assert entry(int(datetime(2026, 11, 23, 23, 59, 59, tzinfo=UTC).timestamp())).day != DAY


def test_at_most_64_reports_come_at_once():
    one = {"deployment": "d", "app": str(APP), "from": 1, "to": 2, "bytes_in": 3, "bytes_out": 4}
    assert len(parse_reports([one] * MOST_REPORTS)) == MOST_REPORTS
    for wrong in ([one] * (MOST_REPORTS + 1), {}, None, [1], [one | {"from": True}]):
        with pytest.raises(InvalidRequest):
            parse_reports(wrong)
