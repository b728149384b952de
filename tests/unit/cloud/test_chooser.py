"""The chain, the app's own matcher, and what happens when that one fails, lies or hangs (law 9)."""

import json
import random
import threading
import time
from itertools import count
from uuid import UUID

import pytest
from chalicelib.choosing.budget import Budget
from chalicelib.choosing.chooser import Chooser
from chalicelib.choosing.matchers import built_in_matchers
from chalicelib.choosing.reach import Measured
from chalicelib.choosing.requirements import Requirements
from chalicelib.choosing.upcall import Upcalls
from chalicelib.errors import Unavailable
from chalicelib.fleet.geo import Location
from chalicelib.settings import SettingsError
from chalicelib.webcall import WebCaller
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lab.machine import poll
from tests.unit.cloud.candidates import app, client, cloudlet, numbers

FUNCTION = "lambda:arn:aws:lambda:us-east-1:123456789012:function:sinfonia-matcher-mine"


class Surveyed(dict):
    """`Surveys` of one network."""

    def near(self, _address):
        return self


class FakeFunctions:
    """Lambda: every function answers what `answer` makes of the question."""

    def __init__(self, answer):
        self.answer = answer
        self.questions = []

    def prepare(self, region):
        assert region == "us-east-1"

    def invoke(self, function, payload, *, most_bytes):
        assert FUNCTION.endswith(function.arn)
        question = json.loads(payload)
        self.questions.append(question)
        answer = self.answer([each["uuid"] for each in question["candidates"]])
        if isinstance(answer, Exception):
            raise answer
        raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        assert len(raw) <= most_bytes
        return raw


def chooser(*names, installed=(), answer=None, seconds=5.0, surveys=None) -> Chooser:
    return Chooser(
        names or ("network", "load"),
        random.Random(1),
        upcalls=Upcalls(FakeFunctions(answer), WebCaller(allow_private=False, monotonic=time.monotonic)),
        budget=Budget(seconds, time.monotonic),
        surveys=Surveyed(surveys or {}),
        installed=dict(installed).get,
    )


IDLE, BUSY = cloudlet(1, use={"cpu_ratio": 0.1}), cloudlet(2, use={"cpu_ratio": 0.9})


def test_the_roots_chain_takes_local_ones_first_then_load():
    cloudlets = [
        cloudlet(1, use={"cpu_ratio": 0.5}),
        cloudlet(2, Location(0, 0), local=["198.51.100.0/24"], use={"cpu_ratio": 0.9}),
        cloudlet(3, use={"cpu_ratio": 0.1}),
        cloudlet(4, accepted=["203.0.113.0/24"]),
    ]
    choice = chooser().order(client(), app(), cloudlets)
    assert numbers(choice.cloudlets) == [2, 3, 1]
    assert choice.fallback is None
    assert len(cloudlets) == 4


@pytest.mark.parametrize("names", [("random",), ("location",), ("mine",)])
def test_no_chain_offers_what_is_not_eligible(names):
    def takes_all(_client, _recipe, cloudlets):
        yield from cloudlets

    cloudlets = [cloudlet(1, draining=True), cloudlet(2, rejected=["198.51.100.0/24"]), cloudlet(3)]
    made = chooser(*names, installed={"mine": takes_all})
    assert numbers(made.order(client(), app(), cloudlets).cloudlets) == [3]
    demanding = client(requirements=Requirements(gpu=True))
    assert made.order(demanding, app(), cloudlets).cloudlets == []


def test_an_apps_own_chain_goes_before_the_roots():
    cheap, dear = cloudlet(1, price=0.1, use={"cpu_ratio": 0.9}), cloudlet(2, price=2.0)
    assert numbers(chooser().order(client(), app("price"), [dear, cheap]).cloudlets) == [1, 2]


def test_what_was_measured_is_used():
    near, far = cloudlet(1), cloudlet(2, Location(41, -78))
    measured = {near.uuid: Measured(90.0), far.uuid: Measured(15.0)}
    assert numbers(chooser().order(client(), app(), [near, far]).cloudlets) == [1, 2]
    assert numbers(chooser(surveys=measured).order(client(), app(), [near, far]).cloudlets) == [2, 1]


def test_a_published_matcher_works_unchanged():
    """By the attributes that the published package's own matchers use."""

    def published_matcher(client_info, deployment_recipe, cloudlets):
        assert deployment_recipe.chart == "helloworld"
        for each in cloudlets[:]:
            assert each.last_update.tzinfo is not None
            distance = each.distance_from(client_info.location)
            if any(client_info.ipaddress in network for network in each.local_networks):
                cloudlets.remove(each)
                yield each
            elif distance is None:
                cloudlets.remove(each)
            elif each.locations[0] - client_info.location < 100:
                assert each.locations[0].coordinate == (
                    each.locations[0].latitude,
                    each.locations[0].longitude,
                )
                cloudlets.remove(each)
                yield each

    cloudlets = [
        cloudlet(1, Location(50, 8)),
        cloudlet(2, None),
        cloudlet(3),
        cloudlet(4, None, local=["198.51.100.0/24"]),
    ]
    made = chooser("published", "location", installed={"published": published_matcher})
    choice = made.order(client(), app(), cloudlets)
    assert (numbers(choice.cloudlets), choice.fallback) == ([3, 4, 1], None)


def throws(_client, _recipe, cloudlets):
    yield cloudlets.pop()
    raise RuntimeError("no idea")


def invents(_client, _recipe, _cloudlets):
    yield cloudlet(99)


def repeats(_client, _recipe, cloudlets):
    yield cloudlets[0]
    yield cloudlets[0]


def never_ends(_client, _recipe, cloudlets):
    while True:
        yield cloudlets[0]


def makes_a_million(_client, _recipe, _cloudlets):
    return (cloudlet(number) for number in range(1_000_000))


def yields_nonsense(_client, _recipe, _cloudlets):
    yield "a cloudlet"


def vetoes_all(_client, _recipe, cloudlets):
    cloudlets.clear()
    yield from ()


def is_no_iterator(_client, _recipe, _cloudlets):
    return 7


def takes_nothing():
    pass


@pytest.mark.parametrize(
    ("matcher", "fallback"),
    [
        (throws, "failed"),
        (invents, "unknown"),
        (never_ends, "endless"),
        (makes_a_million, "endless"),
        (yields_nonsense, "unknown"),
        (vetoes_all, "none"),
        (is_no_iterator, "failed"),
        (takes_nothing, "failed"),
    ],
)
def test_an_installed_matcher_that_misbehaves_costs_nothing_but_its_say(matcher, fallback):
    choice = chooser("bad", installed={"bad": matcher}).order(client(), app(), [BUSY, IDLE])
    assert (numbers(choice.cloudlets), choice.fallback) == ([1, 2], fallback)


def test_an_installed_matcher_that_sleeps_is_not_waited_for():
    go = threading.Event()

    def sleeps(_client, _recipe, cloudlets):
        go.wait(30)
        yield from cloudlets

    choice = chooser("slow", installed={"slow": sleeps}, seconds=0.01).order(client(), app(), [BUSY, IDLE])
    go.set()
    assert (numbers(choice.cloudlets), choice.fallback) == ([1, 2], "slow")


def test_a_few_repetitions_are_forgiven():
    choice = chooser("odd", installed={"odd": repeats}).order(client(), app(), [BUSY, IDLE])
    assert (numbers(choice.cloudlets), choice.fallback) == ([2], None)


def test_a_matcher_that_takes_long_to_load_is_there_the_next_time():
    go, loaded = threading.Event(), threading.Event()

    def load(_name):
        go.wait(30)
        loaded.set()
        return repeats

    made = Chooser(
        ("network", "load"),
        random.Random(1),
        upcalls=Upcalls(FakeFunctions(None), WebCaller(allow_private=False, monotonic=time.monotonic)),
        budget=Budget(0.05, time.monotonic),
        surveys=Surveyed(),
        installed=load,
    )
    assert made.order(client(), app("mine"), [IDLE, BUSY]).fallback == "slow"
    go.set()
    assert loaded.wait(10)
    assert poll(lambda: made.order(client(), app("mine"), [IDLE, BUSY]).fallback is None, 5)


def test_an_app_with_a_matcher_that_is_no_longer_installed_falls_back():
    choice = chooser().order(client(), app("gone"), [BUSY, IDLE])
    assert (numbers(choice.cloudlets), choice.fallback) == ([1, 2], "missing")


def test_nothing_eligible_is_no_fault_of_the_matcher():
    assert chooser("bad", installed={"bad": throws}).order(client(), app(), []).fallback is None


def test_a_fallback_is_logged_with_the_app(caplog):
    chooser("bad", installed={"bad": throws}).order(client(), app(), [IDLE])
    [record] = caplog.records
    assert (record.app_uuid, record.detail) == (str(UUID(int=0)), "failed: no idea")
    assert "no idea" in caplog.text


@pytest.mark.parametrize("name", ["nobody", FUNCTION, "https://matcher.example.org/"])
def test_a_root_takes_no_unknown_matcher(name):
    with pytest.raises(SettingsError, match="SINFONIA_MATCHERS"):
        chooser("network", name)


def test_a_root_takes_no_matcher_that_can_not_be_loaded():
    def broken(_name):
        raise ImportError("no module")

    with pytest.raises(SettingsError, match="can't be loaded"):
        Chooser(
            ("mine",),
            random.Random(0),
            upcalls=Upcalls(FakeFunctions(None), WebCaller(allow_private=False, monotonic=time.monotonic)),
            budget=Budget(1, time.monotonic),
            surveys=Surveyed(),
            installed=broken,
        )


def test_an_installed_matcher_is_found_by_its_entry_point(tmp_path, monkeypatch):
    (tmp_path / "my_matchers.py").write_text(
        "def last_first(client_info, recipe, cloudlets):\n"
        "    while cloudlets:\n"
        "        yield cloudlets.pop()\n"
    )
    metadata = tmp_path / "my_matchers-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-matchers\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[sinfonia.tier1_matchers]\nmine = my_matchers:last_first\n")
    monkeypatch.syspath_prepend(tmp_path)
    made = Chooser(
        ("network", "mine"),
        random.Random(0),
        upcalls=Upcalls(FakeFunctions(None), WebCaller(allow_private=False, monotonic=time.monotonic)),
        budget=Budget(5, time.monotonic),
        surveys=Surveyed(),
    )
    choice = made.order(client(), app(), [cloudlet(1), cloudlet(2), cloudlet(3)])
    assert (numbers(choice.cloudlets), choice.fallback) == ([3, 2, 1], None)


def ask(answer, cloudlets=(BUSY, IDLE)):
    choice = chooser(answer=answer).order(client(), app(FUNCTION), list(cloudlets))
    return numbers(choice.cloudlets), choice.fallback


def test_an_apps_own_function_chooses_and_vetoes():
    assert ask(lambda uuids: {"candidates": uuids[::-1]}) == ([2, 1], None)
    assert ask(lambda uuids: {"candidates": uuids[1:]}) == ([2], None)
    assert ask(lambda uuids: {"candidates": [uuids[1], uuids[1], uuids[0]]}) == ([2, 1], None)


@pytest.mark.parametrize(
    ("answer", "fallback"),
    [
        (lambda _: {"candidates": []}, "none"),
        (lambda _: {"candidates": [str(UUID(int=99))]}, "unknown"),
        (lambda uuids: {"candidates": uuids * 40}, "nonsense"),
        (lambda _: {"candidates": ["x"]}, "nonsense"),
        (lambda _: {}, "nonsense"),
        (lambda uuids: uuids, "nonsense"),
        (lambda _: b"<html>", "nonsense"),
        (lambda _: b"[" * 10000, "nonsense"),
        (lambda _: Unavailable("throttled"), "failed"),
    ],
)
def test_an_answer_that_is_none_is_replaced_by_the_default_chains(answer, fallback):
    assert ask(answer) == ([1, 2], fallback)


def test_at_most_64_are_put_to_an_upcall_the_best_ones():
    asked = []
    cloudlets = [cloudlet(n, use={"cpu_ratio": n / 100}) for n in range(100)]
    numbers_chosen, fallback = ask(lambda uuids: asked.extend(uuids) or {"candidates": uuids}, cloudlets)
    assert len(asked) == len(numbers_chosen) == 64
    assert fallback is None
    assert max(numbers_chosen) < 90


rows = st.lists(
    st.builds(
        cloudlet,
        st.integers(0, 30),
        st.sampled_from([None, Location(40.4, -80), Location(-33, 151)]),
        st.sampled_from([(), ("198.51.100.0/24",)]),
        rejected=st.sampled_from([(), ("198.51.100.0/24",)]),
        draining=st.booleans(),
        use=st.fixed_dictionaries({}, optional={"cpu_ratio": st.floats(0, 1)}),
    ),
    unique_by=lambda row: row.uuid,
    max_size=12,
)


@settings(max_examples=60)
@given(
    rows,
    st.lists(st.sampled_from([*built_in_matchers(random.Random(0)), "throws", "invents", "odd"]), max_size=4),
)
def test_a_chain_never_invents_and_never_offers_twice_and_never_breaks_the_filter(given_rows, names):
    installed = {"throws": throws, "invents": invents, "odd": repeats}
    choice = chooser(installed=installed).order(client(), app(*names), given_rows)
    found = numbers(choice.cloudlets)
    may = {row.uuid.int for row in given_rows if not row.draining and not row.rejected_clients}
    assert len(found) == len(set(found))
    assert set(found) <= may
    if choice.fallback is not None:  # the default chain's answer is whole
        assert set(found) == may


def test_threads_share_a_chooser():
    made, turns = chooser("network", "spread"), count()
    failed = []

    def choose():
        for _ in range(20):
            next(turns)
            if sorted(numbers(made.order(client(), app(), [BUSY, IDLE]).cloudlets)) != [1, 2]:
                failed.append(1)

    threads = [threading.Thread(target=choose) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not failed
