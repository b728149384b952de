"""Which of several targets: with gateways on loopback that are slow, deaf, silent or gone."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from device_sdk.choosing.choose import Chosen, choose, custom
from device_sdk.choosing.means import Means
from device_sdk.choosing.trial import Trial
from device_sdk.errors import (
    DeploymentError,
    DeviceError,
    InUseError,
    NotFoundError,
    RequestError,
    RootError,
    SinfoniaError,
    TunnelError,
)
from tests.fakes.device_sdk_ways import FakeGateway, FakeWays, target
from tests.lab.machine import poll


class Place:
    """Cloudlets "one", "two" and "three", and a device that knows `ways` to them."""

    def __init__(self, folder: Path) -> None:
        self.state = folder
        self.gateways: dict[int, FakeGateway] = {}
        self.ways = FakeWays(self.gateways)
        self.network = "home"
        self.now = 1e9
        self.told: list[tuple[int, float, float | None]] = []

    def start(self, *gateways: FakeGateway, **changes: Any) -> None:
        self.gateways.update(enumerate(gateways, 1))
        names = ["one", "two", "three"][: len(gateways)]
        self.targets = [target(name, number, **changes) for number, name in enumerate(names, 1)]

    def means(self) -> Means:
        return Means(
            self.state,
            self.ways.opener(),
            wall_clock=lambda: self.now,
            chance=random.Random(1),
            network=lambda: self.network,
        )

    def choose(self, how: Any = "fastest", **more: Any) -> Chosen:
        return choose(self.targets, how, means=self.means(), **more)

    def teller(self, number: int) -> Callable[..., None]:
        def tell(seconds: float, throughput_mbps: float | None = None) -> None:
            self.told.append((number, seconds, throughput_mbps))

        return tell


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path / "state")
    yield made
    for gateway in made.gateways.values():
        gateway.close()


def test_the_fastest_leads_and_the_others_are_given_back(place: Place) -> None:
    place.start(FakeGateway(0.12), FakeGateway(0.01), FakeGateway(0.06))
    chosen = place.choose()
    assert chosen.target is place.targets[1]
    assert [one.target.place for one in chosen.measured] == ["two", "three", "one"]
    best = chosen.measured[0]
    assert best.method == "probe"
    assert 9 < (best.rtt_ms or 0) < 60
    assert place.ways.leading.gateway is place.gateways[2]
    assert chosen.wait_released(10)
    assert [place.gateways[number].released.is_set() for number in (1, 2, 3)] == [True, False, True]
    assert [way.dropped for way in place.ways.ways] == [True, False, True]
    with chosen:
        assert not place.ways.closed
    assert place.ways.closed


def test_what_was_found_is_told_to_people_and_programs(place: Place) -> None:
    place.start(FakeGateway(0.01), FakeGateway(silent=True))
    chosen = place.choose()
    told = json.loads(json.dumps(chosen.to_json()))
    assert told["Chosen"] == "one"
    assert told["Measured"][0]["Method"] == "probe"
    assert told["Measured"][0]["rtt_ms"] > 9
    assert told["Measured"][1]["Cloudlet"] == "two"
    assert "rtt_ms" not in told["Measured"][1]
    assert str(chosen.measured[0]).startswith("one: 1")
    assert "too slow" in str(chosen.measured[1]) or "never answered" in str(chosen.measured[1])


@pytest.mark.parametrize("bad", [{"silent": True}, {"deaf": True}, {"delays": (30.0,)}])
def test_who_is_late_loses_and_costs_little(place: Place, bad: dict[str, Any]) -> None:
    late = FakeGateway(*bad.pop("delays", ()), **bad)
    place.start(late, FakeGateway(0.01))
    began = time.monotonic()
    chosen = place.choose(timeout=20)
    assert chosen.target is place.targets[1]
    assert time.monotonic() - began < 10
    assert chosen.measured[1].error is not None


def test_a_device_that_is_slow_to_open_tunnels_measures_those_that_it_has(place: Place) -> None:
    place.start(FakeGateway(0.2), FakeGateway(0.01), FakeGateway())
    place.ways.opening_seconds = 0.8
    began = time.monotonic()
    chosen = place.choose(timeout=3.0)
    assert time.monotonic() - began < 8
    assert chosen.target is place.targets[1]
    assert [one.method for one in chosen.measured][-1] == "none"


def test_where_opening_takes_all_the_time_the_order_given_stands(place: Place) -> None:
    place.start(FakeGateway(0.05), FakeGateway(), FakeGateway())
    place.ways.opening_seconds = 0.5
    chosen = place.choose(timeout=0.4)
    assert chosen.target is place.targets[0]
    assert [(one.method, one.error) for one in chosen.measured] == [("none", None)] * 3


def test_a_greeting_that_was_lost_is_said_again(place: Place) -> None:
    place.start(FakeGateway(0.1), FakeGateway(0.01, greetings=2))
    assert place.choose(timeout=20).target is place.targets[1]
    assert place.ways.leading.greetings == 2


def test_all_failing_is_an_error_with_every_reason(place: Place) -> None:
    place.start(FakeGateway(silent=True), FakeGateway(deaf=True), FakeGateway())
    place.ways.broken = {3: TunnelError("Another program has this tunnel.")}
    began = time.monotonic()
    with pytest.raises(TunnelError, match="None of 3 cloudlets") as caught:
        place.choose(timeout=0.4)
    assert time.monotonic() - began < 5
    for reason in ("one: ", "two: ", "three: Another program has this tunnel"):
        assert reason in str(caught.value)
    assert place.ways.closed


def test_a_device_that_makes_no_tunnels_says_so(place: Place) -> None:
    place.start(FakeGateway(), FakeGateway())
    place.ways.broken = {1: DeviceError("There is no wireguard-go.")}
    with pytest.raises(DeviceError, match="no wireguard-go"):
        place.choose()


def test_the_next_is_taken_where_the_best_does_not_get_ready(place: Place) -> None:
    place.start(FakeGateway(0.01, status="Failed"), FakeGateway(0.06))
    chosen = place.choose()
    assert chosen.target is place.targets[1]
    assert chosen.wait_released(10)
    assert place.gateways[1].released.is_set()


def test_backends_that_all_fail_are_no_tunnels_fault(place: Place) -> None:
    place.start(FakeGateway(status="Failed"), FakeGateway(status="Failed"))
    for how in ("first", "random", "fastest"):
        with pytest.raises(
            DeploymentError, match=r"one: The backend failed: no such image; two|two: .*; one"
        ):
            place.choose(how)


def test_nothing_is_waited_for_if_not_wanted(place: Place) -> None:
    place.start(FakeGateway(status="Deploying"), FakeGateway(0.1, status="Deploying"))
    assert place.choose("first", ready_timeout=0).target is place.targets[0]
    assert place.choose("fastest", ready_timeout=0).target is place.targets[0]
    with pytest.raises(DeploymentError, match=r"not ready within 0\.2 s"):
        place.choose("first", ready_timeout=0.2)


def test_the_first_is_the_first_that_answers(place: Place) -> None:
    place.start(FakeGateway(silent=True), FakeGateway(0.05), FakeGateway())
    chosen = place.choose("first", timeout=0.3)
    assert chosen.target is place.targets[1]
    assert chosen.wait_released(20)
    assert place.gateways[3].released.is_set()
    assert [one.method for one in chosen.measured] == ["none"] * 3


def test_random_is_by_chance_alone(place: Place) -> None:
    place.start(FakeGateway(), FakeGateway(), FakeGateway())
    means = replace(place.means(), chance=random.Random(7))
    drawn = {choose(place.targets, "random", means=means).target.place for _ in range(20)}
    assert drawn == {"one", "two", "three"}


def test_one_target_needs_no_measuring(place: Place) -> None:
    place.start(FakeGateway())
    assert place.choose().measured[0].method == "none"
    assert "/api/v1/probe" not in place.gateways[1].asked


def test_throughput_decides_between_equals(place: Place) -> None:
    place.start(FakeGateway(0.02, mbps=20), FakeGateway(0.02, mbps=200))
    chosen = place.choose()
    assert chosen.target is place.targets[1]
    fast, slow = chosen.measured
    assert 60 < (fast.throughput_mbps or 0) < 250
    assert 5 < (slow.throughput_mbps or 0) < 25


def test_throughput_is_not_measured_where_it_decides_nothing(place: Place) -> None:
    place.start(FakeGateway(0.01, mbps=20), FakeGateway(0.1, mbps=200))
    assert place.choose().target is place.targets[0]
    assert not any("load" in path for path in place.gateways[1].asked + place.gateways[2].asked)
    chosen = place.choose(weigh=1.0)  # 400 ms of transfer against 40
    assert chosen.target is place.targets[1]


def test_a_steady_way_is_better_than_a_jittery_one(place: Place) -> None:
    place.start(FakeGateway(0.0, 0.02, 0.25, 0.25, 0.25, 0.25), FakeGateway(0.05))
    assert place.choose().target is place.targets[1]


def test_published_cloudlets_are_measured_by_what_they_have(place: Place) -> None:
    place.start(FakeGateway(0.1), FakeGateway(0.01, refuses=True), StatusURL=None)
    chosen = place.choose()
    assert chosen.target is place.targets[1]
    assert [one.method for one in chosen.measured] == ["connect", "connect"]


def test_a_gateway_without_probes_is_measured_by_connecting(place: Place) -> None:
    place.start(FakeGateway(0.1, probes=False), FakeGateway(0.01, probes=False))
    chosen = place.choose()
    assert (chosen.target, chosen.measured[0].method) == (place.targets[1], "connect")


def test_what_can_only_be_greeted_comes_after_what_was_measured(place: Place) -> None:
    place.start(FakeGateway(), FakeGateway(0.1))
    bare = replace(place.targets[0], status_address=None)
    bare = replace(bare, plan=replace(bare.plan, name_servers=()))
    place.targets[0] = bare
    chosen = place.choose()
    assert chosen.target is place.targets[1]
    assert chosen.measured[1].method == "handshake"
    assert chosen.measured[1].error is None


def test_the_apps_own_test_decides(place: Place) -> None:
    place.start(FakeGateway(), FakeGateway(), FakeGateway())

    def test(trial: Trial) -> float:
        assert trial.fetch("http://helloworld/") == b"Hello"
        with trial.connect(("helloworld", 80)) as stream:
            assert stream.getpeername()[0] == "127.0.0.1"
        assert 0 < trial.seconds_left <= 10
        if trial.target.place == "one":
            raise LookupError("no such model")
        return 5.0 if trial.target.place == "two" else 3.0

    chosen = place.choose(custom(test), timeout=10)
    assert chosen.target is place.targets[2]
    assert [one.cost for one in chosen.measured] == [3.0, 5.0, None]
    assert chosen.measured[2].error == "no such model"
    assert str(chosen.measured[0]) == "three: cost 3"


def test_a_test_that_hangs_or_returns_no_number_loses(place: Place) -> None:
    place.start(FakeGateway(), FakeGateway(), FakeGateway())

    def test(trial: Trial) -> float:
        if trial.target.place == "one":
            place.gateways[1].closing.wait(30)
        return float("nan") if trial.target.place == "two" else 1.0

    chosen = place.choose(custom(test), timeout=1)
    assert chosen.target is place.targets[2]
    assert {one.error for one in chosen.measured} == {
        None,
        "too slow to be measured in time",
        "the test returned no finite number",
    }


def test_a_test_hears_why_it_can_not_fetch(place: Place) -> None:
    place.start(FakeGateway(), FakeGateway())
    heard: list[str] = []

    def test(trial: Trial) -> float:
        if trial.target.place == "two":
            return 2.0
        urls = (
            "https://helloworld/",
            "http://helloworld/missing",
            "http://elsewhere/",
            "http://helloworld:x/",
        )
        for url in (*urls, "http://helloworld/a b"):
            with pytest.raises((RequestError, TunnelError)) as caught:
                trial.fetch(url)
            heard.append(str(caught.value))
        return 1.0

    place.choose(custom(test), timeout=10)
    assert "url: must be http://NAME" in heard[0]
    assert "status 500" in heard[1]
    assert "offers no 'elsewhere'" in heard[2]
    assert all("url: " in text for text in heard[3:])


def test_the_root_hears_of_all_of_them_once(place: Place) -> None:
    place.start(FakeGateway(0.02, mbps=50), FakeGateway(0.02, mbps=50), FakeGateway(0.1))
    place.targets[:2] = [replace(it, measured=place.teller(n)) for n, it in enumerate(place.targets[:2], 1)]
    chosen = place.choose()
    assert poll(lambda: len(place.told) == 2)
    assert {number for number, _, _ in place.told} == {1, 2}
    assert all(0.01 < seconds < 1 and (speed or 0) > 5 for _, seconds, speed in place.told)
    chosen.tunnel.wait_ready(5)
    assert chosen.wait_released(5)
    assert len(place.told) == 2


def test_a_root_that_is_away_does_not_matter(place: Place) -> None:
    place.start(FakeGateway(), FakeGateway(0.1))

    def away(*_: object) -> None:
        raise RootError("away")

    place.targets = [replace(it, measured=away) for it in place.targets]
    assert place.choose().target is place.targets[0]


def test_the_root_forgets_what_was_not_chosen(place: Place) -> None:
    place.start(FakeGateway(0.1), FakeGateway(0.01), FakeGateway(silent=True))
    kept: list[UUID | None] = []
    place.targets = [replace(it, keep=kept.append) for it in place.targets]
    assert place.choose(timeout=1.5).wait_released(20)
    assert kept == [UUID(int=2)]
    place.targets = place.targets[1:2]
    assert place.choose().wait_released(20)
    assert len(kept) == 1  # there was nothing to choose among


def test_the_root_forgets_all_where_a_cloudlet_nearby_was_chosen(place: Place) -> None:
    place.start(FakeGateway(), FakeGateway(0.1))
    kept: list[UUID | None] = []

    def keep(cloudlet: UUID | None) -> None:
        kept.append(cloudlet)
        if cloudlet is not None:
            raise NotFoundError("nothing is deployed there")

    place.targets = [replace(place.targets[0], jit=True), replace(place.targets[1], keep=keep)]
    assert place.choose().wait_released(20)
    assert kept == [UUID(int=1), None]


@pytest.mark.parametrize("error", [RootError("away"), NotFoundError("what?")])
def test_a_root_that_can_not_be_told_costs_nothing(place: Place, error: SinfoniaError) -> None:
    place.start(FakeGateway(), FakeGateway(0.1))

    def keep(_cloudlet: UUID | None) -> None:
        raise error

    place.targets = [replace(it, keep=keep) for it in place.targets]
    assert place.choose().wait_released(20)


def test_what_another_program_uses_is_not_taken_from_it_by_way_of_the_root(place: Place) -> None:
    place.start(FakeGateway(), FakeGateway(0.1))
    place.ways.broken = {2: InUseError("Another program has this tunnel.")}
    kept: list[UUID | None] = []
    place.targets = [replace(it, keep=kept.append) for it in place.targets]
    assert place.choose().wait_released(20)
    assert (kept, place.gateways[2].released.is_set()) == ([], False)


def test_last_time_decides_between_equals(place: Place) -> None:
    place.start(FakeGateway(0.02), FakeGateway(0.02))
    folder = place.state / "measured"
    folder.mkdir(parents=True)
    file = folder / f"{UUID(int=0)}.json"
    entries = [
        {"cloudlet": str(UUID(int=number)), "network": "home", "rtt_ms": rtt, "at": place.now - 60}
        for number, rtt in ((1, 40.0), (2, 25.0))
    ]
    file.write_text(json.dumps(entries))
    chosen = place.choose()
    assert chosen.target is place.targets[1]
    assert [one.remembered_ms for one in chosen.measured] == [25.0, 40.0]
    assert file.stat().st_mode & 0o777 == 0o600
    place.network = "elsewhere"
    chosen = place.choose()
    assert chosen.target is place.targets[0]
    assert {one.remembered_ms for one in chosen.measured} == {None}


@pytest.mark.parametrize("hours", [-7, 7])
def test_a_wall_clock_that_is_set_meanwhile_costs_nothing(place: Place, hours: int) -> None:
    place.start(FakeGateway(0.06), FakeGateway(0.01))
    for _ in range(2):
        chosen = place.choose()
        assert chosen.target is place.targets[1]
        assert chosen.wait_released(10)
        place.now += hours * 3600


def test_beside_an_open_tunnel_the_chosen_one_stands_by(place: Place) -> None:
    place.start(FakeGateway(0.1), FakeGateway(0.01), FakeGateway())
    mine = place.targets.pop()
    place.ways.opener()(mine.plan, mine.key)
    kept: list[UUID | None] = []
    place.targets = [replace(it, keep=kept.append) for it in place.targets]
    chosen = place.choose(beside=place.ways)
    assert chosen.target is place.targets[1]
    assert chosen.way.gateway is place.gateways[2]
    assert place.ways.leading.gateway is place.gateways[3]
    assert chosen.wait_released(5)
    assert kept == []  # the root may know of what is used beside
    with chosen.tunnel.connect(("helloworld", 80)):
        pass
    with pytest.raises(TunnelError, match="behind the chosen tunnel"):
        chosen.tunnel.spawn(["true"])
    chosen.tunnel.close()
    assert [way.dropped for way in place.ways.ways] == [False, True, True]
    assert not place.ways.closed


def test_beside_an_open_tunnel_nothing_is_left_when_all_fail(place: Place) -> None:
    place.start(FakeGateway(silent=True), FakeGateway(deaf=True), FakeGateway())
    mine = place.targets.pop()
    place.ways.opener()(mine.plan, mine.key)
    with pytest.raises(TunnelError, match="None of 2"):
        place.choose(beside=place.ways, timeout=0.3)
    assert [way.dropped for way in place.ways.ways] == [False, True, True]
    assert not place.ways.closed


@pytest.mark.parametrize(
    ("how", "more", "says"),
    [
        ("best", {}, "first, random, fastest or custom"),
        ("fastest", {"timeout": 0}, "timeout"),
        ("fastest", {"timeout": float("nan")}, "timeout"),
        ("fastest", {"ready_timeout": -1}, "ready_timeout"),
        ("fastest", {"weigh": -1}, "weigh"),
    ],
)
def test_wrong_arguments_are_named(place: Place, how: str, more: dict[str, Any], says: str) -> None:
    place.start(FakeGateway())
    with pytest.raises(RequestError, match=says):
        place.choose(how, **more)
    with pytest.raises(RequestError, match="at least one"):
        choose([], "first", means=place.means())
