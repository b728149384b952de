"""AccountTable: one suite for the fake in memory and for real engines over HTTP."""

import threading
from dataclasses import replace
from functools import partial
from uuid import uuid4

import pytest
from chalicelib.accounts.documents import Document, DocumentKey
from chalicelib.errors import Unavailable
from chalicelib.tables.account_table import DynamoAccountTable

from tests.fakes.cloud_documents import FakeDocuments
from tests.lab import engines


@pytest.fixture(scope="module")
def make_table(engine):
    if engine is None:
        return FakeDocuments

    def make() -> DynamoAccountTable:
        table = DynamoAccountTable(
            f"accounts-{uuid4()}", region="us-east-1", url=engine, pause=threading.Event().wait
        )
        table.create(threading.Event().wait)
        return table

    return make


@pytest.fixture
def table(make_table):
    return make_table()


def document(name="a", partition="p", **changed) -> Document:
    return replace(Document(DocumentKey(partition, name), {"x": 1}), **changed)


def test_a_document_comes_back_as_it_was_written(table):
    body = {"text": "é\u2028\U0001f600", "none": None, "list": [1, 2.5, True, {"deep": []}], "empty": ""}
    for each in (document(body=body, expires_at=1_795_000_000), document("b", body={})):
        assert table.write(each)
        assert table.read(each.key) == replace(each, version=1)


def test_what_is_not_there(table):
    key = document().key
    assert table.read(key) is None
    assert table.read_many([key]) == []
    assert table.page("p", "", 10).documents == []
    assert table.count("p", "a") == 0
    assert table.erase(key)
    assert not table.erase(key, 3)
    assert not table.write(document(version=1))


def test_the_first_one_has_it(table):
    assert table.write(document())
    assert not table.write(document(body={"x": 2}))
    assert table.read(document().key).body == {"x": 1}


def test_a_version_is_written_over_once(table):
    table.write(document())
    second = document(body={"x": 2}, version=1)
    assert table.write(second)
    assert not table.write(second)
    assert not table.write(document(version=3))
    assert table.read(second.key) == replace(second, version=2)


def test_writing_over_takes_the_end_away_too(table):
    table.write(document(expires_at=1_795_000_000))
    table.write(document(version=1))
    assert table.read(document().key).expires_at is None


def test_erasing_is_fenced_by_the_version(table):
    table.write(document())
    assert not table.erase(document().key, 2)
    assert table.read(document().key) is not None
    assert table.erase(document().key, 1)
    assert table.read(document().key) is None
    table.write(document())
    assert table.erase(document().key)


def test_pages_are_in_order_and_of_one_partition_and_prefix(table):
    for name in ("a#3", "a#1", "b#1", "a#2", "a"):
        table.write(document(name))
    table.write(document("a#1", partition="other"))

    def names(page):
        return [each.key.name for each in page.documents]

    assert names(table.page("p", "a#", 10)) == ["a#1", "a#2", "a#3"]
    assert not table.page("p", "a#", 10).more
    assert names(table.page("p", "", 10)) == ["a", "a#1", "a#2", "a#3", "b#1"]
    first = table.page("p", "a#", 2)
    assert (names(first), first.more) == (["a#1", "a#2"], True)
    assert names(table.page("p", "a#", 2, "a#2")) == ["a#3"]
    assert names(table.page("p", "a#", 2, "a#3")) == []
    assert names(table.page("p", "a#", 2, "a#11")) == ["a#2", "a#3"], "what the page ended with may be gone"


def test_many_are_read_at_once(table):
    keys = [document(f"n{index}").key for index in range(100)]
    for index in range(0, 100, 2):
        table.write(document(f"n{index}"))
    assert sorted(each.key.name for each in table.read_many(keys)) == sorted(
        f"n{index}" for index in range(0, 100, 2)
    )
    assert table.read_many([]) == []


def test_counting(table):
    for index in range(30):
        table.write(document(f"a#{index}", body={"text": "x" * 50_000}))
    table.write(document("b#1"))
    assert table.count("p", "a#") == 30  # more than fits a page of one megabyte
    assert table.count("p", "b#") == 1


def test_of_concurrent_writers_one_wins(table):
    for version in range(5):
        won: list[bool] = []
        run_all([lambda v=version, w=won: w.append(table.write(document(version=v)))] * 8)
        assert sum(won) == 1


def run_all(calls) -> None:
    """Run the calls in threads of their own; what one of them raises fails the test."""
    failed: list[BaseException] = []

    def run(call) -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - reported by the test's own thread
            failed.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed, failed


@pytest.mark.live
def test_an_engine_that_is_away_is_unavailable(monkeypatch):
    for name, value in engines.CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    url = f"http://127.0.0.1:{engines.free_port()}"
    table = DynamoAccountTable("nothing", region="us-east-1", url=url, pause=lambda _seconds: None)
    for call in (
        partial(table.read, document().key),
        partial(table.read_many, [document().key]),
        partial(table.write, document()),
        partial(table.erase, document().key),
        partial(table.page, "p", "", 1),
        partial(table.count, "p", "a"),
    ):
        with pytest.raises(Unavailable):
            call()
