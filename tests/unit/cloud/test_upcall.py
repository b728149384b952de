"""Apps' own matchers behind HTTP: what they are told, and what is taken from them."""

import json
import random
import threading
import time

import pytest
from chalicelib.choosing.budget import Budget
from chalicelib.choosing.chooser import Chooser
from chalicelib.choosing.reach import Measured, Reach
from chalicelib.choosing.upcall import Upcalls, network_of, question_of
from chalicelib.fleet.cloudlets import Hardware, Trust
from chalicelib.fleet.geo import Location
from chalicelib.observing import observing
from chalicelib.tables.lambda_caller import LambdaCaller
from chalicelib.webcall import WebCaller

from tests.fakes.cloud_matcher import Answer, chosen, matcher_server
from tests.unit.cloud.candidates import APP, app, client, cloudlet, numbers

ROWS = [cloudlet(2, use={"cpu_ratio": 0.9}), cloudlet(1, use={"cpu_ratio": 0.1})]


class NothingMeasured:
    def near(self, _address):
        return {}


def ask(matcher: str, *, seconds=5.0, allow_private=True, lambda_url=None):
    made = Chooser(
        ("network", "load"),
        random.Random(1),
        upcalls=Upcalls(
            LambdaCaller(seconds, lambda_url),
            WebCaller(allow_private=allow_private, monotonic=time.monotonic),
        ),
        budget=Budget(seconds, time.monotonic),
        surveys=NothingMeasured(),
    )
    choice = made.order(client(), app(matcher), ROWS)
    return numbers(choice.cloudlets), choice.fallback


def test_the_question_tells_what_is_needed_to_choose_and_not_who_asks():
    row = cloudlet(
        7,
        Location(41.5, -80.25),
        local=["198.51.100.0/24"],
        use={"cpu_ratio": 0.5},
        trust=Trust.SIGNED,
        price=0.25,
        jurisdiction="US-PA",
        hardware=Hardware(cores=8, memory_bytes=2**34, gpu="A2"),
    )
    who = client(location=Location(40.44321, -79.94362), reach=Reach({row.uuid: Measured(12.345, 90.0)}))
    question = json.loads(question_of(who, APP, [row, cloudlet(8, None)]))
    assert question == {
        "version": 1,
        "app": "00000000-0000-0000-0000-000000000000",
        "client": {"network": "198.51.100.0/24", "location": {"latitude": 40.4, "longitude": -79.9}},
        "candidates": [
            {
                "uuid": "00000000-0000-0000-0000-000000000007",
                "local_network": True,
                "trust": "signed",
                "resources": {"cpu_ratio": 0.5},
                "distance_km": 126,
                "rtt_ms": 12.3,
                "throughput_mbps": 90.0,
                "price": 0.25,
                "jurisdiction": "US-PA",
                "cores": 8,
                "memory_bytes": 2**34,
                "gpu": "A2",
            },
            {
                "uuid": "00000000-0000-0000-0000-000000000008",
                "local_network": False,
                "trust": "unsigned",
                "resources": {},
            },
        ],
    }


def test_two_devices_ten_meters_apart_ask_the_same():
    rows = [cloudlet(n, Location(40 + n / 10, -79)) for n in range(5)]
    one, other = (
        question_of(client(address, Location(40.41, -79.91 + step)), APP, rows)
        for address, step in (("198.51.100.7", 0), ("198.51.100.200", 0.0001))
    )
    assert one == other


@pytest.mark.parametrize(
    ("address", "network"),
    [("198.51.100.7", "198.51.100.0/24"), ("2001:db8:1:2::3", "2001:db8:1::/48")],
)
def test_a_network_stands_for_the_client(address, network):
    assert str(network_of(client(address).ipaddress)) == network


def test_an_endpoint_chooses():
    trace = "0af7651916cd43dd8448eb211c80319c"
    with matcher_server(chosen) as server, observing(f"00-{trace}-b7ad6b7169203331-01"):
        assert ask(f"{server.url}/choose?for=games") == ([2, 1], None)
    [(path, question)] = server.asked
    assert path == "/choose?for=games"
    assert server.traces[0].split("-")[1] == trace
    assert [each["uuid"][-1] for each in question["candidates"]] == ["1", "2"]


@pytest.mark.parametrize(
    ("answer", "fallback"),
    [
        (Answer(b"{}", 500), "failed"),
        (Answer(b"", 302, {"Location": "http://127.0.0.1:1/"}), "failed"),
        (Answer(b'{"candidates": []}' + b" " * 16384), "failed"),
        (Answer(b"no json"), "nonsense"),
    ],
)
def test_an_endpoint_that_misbehaves_is_replaced_by_the_default_chain(answer, fallback):
    with matcher_server(lambda _: answer) as server:
        assert ask(server.url) == ([1, 2], fallback)
    assert len(server.asked) == 1


def test_an_endpoint_that_hangs_is_not_waited_for():
    go = threading.Event()
    with matcher_server(lambda question: go.wait(10) and chosen(question)) as server:
        assert ask(server.url, seconds=0.05) == ([1, 2], "slow")
        go.set()


def test_a_root_of_strangers_calls_no_matcher_in_its_own_network():
    with matcher_server(chosen) as server:
        assert ask(server.url, allow_private=False) == ([1, 2], "failed")
    assert server.asked == []


FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:sinfonia-matcher-mine"


@pytest.fixture
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")


@pytest.mark.usefixtures("credentials")
def test_a_function_is_invoked_as_lambda_is():
    with matcher_server(chosen) as server:
        assert ask(f"lambda:{FUNCTION}", lambda_url=server.url) == ([2, 1], None)
    [(path, _)] = server.asked
    assert path.startswith("/2015-03-31/functions/")
    assert path.endswith("sinfonia-matcher-mine/invocations")


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize(
    "answer",
    [
        Answer(b'{"candidates": []}', 200, {"X-Amz-Function-Error": "Unhandled"}),
        Answer(b'{"Type": "User"}', 429, {"x-amzn-ErrorType": "TooManyRequestsException"}),
        Answer(b'{"Type": "User"}', 404, {"x-amzn-ErrorType": "ResourceNotFoundException"}),
        Answer(b" " * 20000),
    ],
)
def test_a_function_that_fails_is_asked_once_and_replaced(answer):
    with matcher_server(lambda _: answer) as server:
        assert ask(f"lambda:{FUNCTION}", lambda_url=server.url) == ([1, 2], "failed")
    assert len(server.asked) == 1


@pytest.mark.usefixtures("credentials")
def test_a_function_that_can_not_be_reached_fails():
    with matcher_server(chosen) as server:
        url = server.url
    assert ask(f"lambda:{FUNCTION}", lambda_url=url) == ([1, 2], "failed")
