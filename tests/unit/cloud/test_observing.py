"""Traces that go on from tier to tier, and sums that become metrics of one request alone."""

import json
import logging
import threading
from contextvars import copy_context

import pytest
from chalicelib.logs import JsonFormatter
from chalicelib.observing import Observation, count, embedded_metrics, observing, trace_headers, trace_id

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-00"


def test_a_callers_trace_goes_on_with_a_span_of_its_own():
    with observing(PARENT) as observation:
        assert trace_id() == TRACE
        sent = trace_headers()["traceparent"].split("-")
    assert sent[:2] == ["00", TRACE]
    assert sent[2] not in {"00f067aa0ba902b7", "0" * 16}
    assert sent[3] == "00"  # the caller's word on sampling stands
    assert observation.traceparent == "-".join(sent)


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        "",
        "x",
        PARENT.upper(),
        PARENT + "-x",
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        "ff" + PARENT[2:],
    ],
)
def test_without_a_right_trace_a_new_one_begins(wrong):
    first, second = Observation.of(wrong), Observation.of(wrong)
    assert first.trace_id != second.trace_id
    assert first.trace_id != TRACE


def test_outside_of_a_request_nothing_is_known_or_counted():
    count("X")
    assert trace_id() is None
    assert trace_headers() == {}


def test_requests_do_not_mix():
    seen = {}

    def request(name: str) -> None:
        with observing(None) as observation:
            barrier.wait(5)
            count(name)
            count(name, 2)
            barrier.wait(5)
            seen[name] = dict(observation.sums)

    barrier = threading.Barrier(2)
    threads = [threading.Thread(target=request, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert seen == {"a": {"a": 3.0}, "b": {"b": 3.0}}


def test_a_thread_in_a_copy_of_the_context_counts_for_its_request():
    with observing(None) as observation:
        thread = threading.Thread(target=copy_context().run, args=(count, "X"))
        thread.start()
        thread.join(5)
    assert observation.sums == {"X": 1.0}


def test_metrics_are_bounded():
    with observing(None) as observation:
        for number in range(1000):
            count(f"m{number}")
    assert len(observation.sums) == 64


def test_a_line_carries_metrics():
    line = embedded_metrics("Sinfonia", "GET /x", 1.5, 503, {"ReadUnits": 2.5}, 1_795_000_000_000)
    carrier = line["_aws"]
    assert carrier["Timestamp"] == 1_795_000_000_000
    names = {
        metric["Name"]: tuple(map(tuple, directive["Dimensions"]))
        for directive in carrier["CloudWatchMetrics"]
        for metric in directive["Metrics"]
    }
    assert names["Latency"] == (("Route",),)
    assert names["ReadUnits"] == ((),)
    assert all(name in line for name in names)  # the format wants every metric's value at the top
    assert (line["ServerErrors"], line["ClientErrors"]) == (1, 0)
    assert json.loads(json.dumps(line)) == line


def test_log_lines_have_the_trace():
    record = logging.makeLogRecord({"msg": "hello", "levelname": "INFO", "name": "x"})
    with observing(PARENT):
        assert json.loads(JsonFormatter().format(record))["trace_id"] == TRACE
    assert "trace_id" not in json.loads(JsonFormatter().format(record))
