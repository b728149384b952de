import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from device_sdk.calls.caller import Caller
from device_sdk.calls.deploy import HELLOWORLD, Parts, deploy_backend, find_cloudlets, find_deployments
from device_sdk.context import Requirements
from device_sdk.errors import (
    DeploymentError,
    DeviceError,
    NoCloudletError,
    NotFoundError,
    RequestError,
    RootError,
    SinfoniaError,
    TooManyError,
)
from device_sdk.nearby.discovery import Nearby
from device_sdk.progress import Event, Timings
from device_sdk.wire import Candidate, DeviceContext, Health, Location, Measurement
from tests.fakes.device_sdk_servers import FakeServer, always, at

ROOT = "http://root.example"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACE = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


class World:
    """A root, and cloudlets nearby by URL; `found` raises if it is an error."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = FakeServer(at("far", 1))
        self.nearby: dict[str, FakeServer] = {}
        self.found: Exception | None = None
        self.events: list[Event] = []
        self.pauses: list[float] = []
        self.neighbours: list[Caller] = []

    def at_home(self, url: str, caller: Caller) -> FakeServer:
        self.neighbours.append(caller)
        return self.nearby[url]

    def discover(self) -> list[Nearby]:
        if self.found is not None:
            raise self.found
        return [Nearby(url, Health(UUID(int=7), url[7:])) for url in self.nearby]

    @property
    def parts(self) -> Parts:
        root = always(self.root)
        return Parts(
            self.folder,
            root,
            self.at_home,
            self.discover,
            pause=self.pauses.append,
            trace=lambda: TRACE,
        )

    def deploy(self, **options: Any) -> list[str]:
        options = {"parts": self.parts, "on_progress": self.events.append, **options}
        targets = deploy_backend(ROOT, HELLOWORLD, **options)
        return [("jit " if target.jit else "") + target.place for target in targets]

    @property
    def notes(self) -> str:
        return " | ".join(event.detail for event in self.events if event.state == "noted")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """Holds servers back until the test is over."""
    event = threading.Event()
    yield event
    event.set()


def test_the_root_chooses_where_nothing_is_near(world: World) -> None:
    assert world.deploy() == ["far"]


def test_a_cloudlet_nearby_comes_first_and_the_root_is_asked_too(world: World) -> None:
    world.nearby["http://near"] = FakeServer(at("near", 2))
    assert world.deploy(results=2) == ["jit near", "far"]


def test_off_does_not_look_around(world: World) -> None:
    world.found = AssertionError("looked")
    assert world.deploy(jit="off") == ["far"]


def test_where_one_cloudlet_is_named_no_other_nearby_is_asked_and_the_root_hears_which(world: World) -> None:
    world.nearby["http://near"] = FakeServer(at("near", 7))
    assert world.deploy(jit="only", context=DeviceContext(cloudlet=UUID(int=7))) == ["jit near"]
    named = DeviceContext(cloudlet=UUID(int=1))
    assert world.deploy(context=named) == ["far"]
    assert len(world.nearby["http://near"].calls) == 1
    assert world.root.calls[-1][2].to_json() == {"cloudlet": str(UUID(int=1))}


def test_only_does_not_ask_the_root_if_one_is_near(world: World) -> None:
    world.nearby["http://near"] = FakeServer(at("near", 2))
    assert world.deploy(jit="only") == ["jit near"]
    assert world.root.calls == []


def test_only_asks_the_root_if_none_is_near(world: World) -> None:
    assert world.deploy(jit="only") == ["far"]


def test_only_stays_near_even_if_that_fails(world: World) -> None:
    world.nearby["http://near"] = FakeServer(error=DeploymentError("full"))
    with pytest.raises(DeploymentError, match="full"):
        world.deploy(jit="only")
    assert world.root.calls == []


@pytest.mark.parametrize("error", [RootError("down"), NoCloudletError("none"), NotFoundError("what?")])
def test_a_root_that_fails_does_not_matter_with_a_cloudlet_nearby(world: World, error: SinfoniaError) -> None:
    world.root = FakeServer(error=error)
    world.nearby["http://near"] = FakeServer(at("near", 2))
    assert world.deploy(results=2) == ["jit near"]
    assert str(error) in world.notes


def test_nobody_waits_long_for_a_root_that_would_come_second(world: World, never: threading.Event) -> None:
    world.root = FakeServer(at("far", 1), hang=never)
    world.nearby["http://near"] = FakeServer(at("near", 2))
    started = time.monotonic()
    assert world.deploy() == ["jit near"]
    assert time.monotonic() - started < 3
    assert world.deploy(results=2) == ["jit near"]
    assert time.monotonic() - started < 6


@pytest.mark.parametrize(
    "error", [DeviceError("no zeroconf here"), DeviceError("no network")], ids=["package", "network"]
)
def test_not_being_able_to_look_around_does_not_matter_with_a_root(world: World, error: Exception) -> None:
    world.found = error
    assert world.deploy() == ["far"]
    assert str(error) in world.notes
    assert "discovery" in {event.phase for event in world.events if event.state == "skipped"}
    with pytest.raises(DeviceError):
        world.deploy(jit="only")


def test_if_both_fail_the_roots_reason_is_told(world: World) -> None:
    world.root = FakeServer(error=RootError("root down"))
    world.nearby["http://near"] = FakeServer(error=DeploymentError("full"))
    with pytest.raises(RootError, match="root down"):
        world.deploy()
    assert "full" in world.notes


def test_a_cloudlet_nearby_that_fails_is_replaced_by_the_next(world: World) -> None:
    world.nearby = {
        "http://a": FakeServer(error=DeploymentError("full")),
        "http://b": FakeServer(at("b", 2, Status="Failed", Reason="no image")),
        "http://c": FakeServer(at("c", 3)),
        "http://d": FakeServer(at("d", 4)),
    }
    assert world.deploy(jit="only") == ["jit c"]
    assert world.nearby["http://d"].calls == []
    assert world.deploy(jit="only", results=2) == ["jit c", "jit d"]


def test_one_backend_that_both_offer_is_one_target(world: World) -> None:
    world.root = FakeServer(at("same", 2), at("far", 1))
    world.nearby["http://near"] = FakeServer(at("same", 2))
    assert world.deploy(results=3) == ["jit same", "far"]


OTHER_KEY = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="


@pytest.mark.parametrize(
    ("hostile", "why"),
    [
        ({"ApplicationKey": OTHER_KEY}, "ApplicationKey"),
        ({"UUID": str(UUID(int=5))}, "UUID"),
        ({"StatusURL": "http://192.0.2.1/"}, "StatusURL"),
        ({"Services": [{"name": "web", "address": "192.0.2.1", "ports": []}]}, "Services"),
        ({"TunnelConfig": {**at("", 1)["TunnelConfig"], "allowedIPs": ["0.0.0.0/0"]}}, "allowedIPs"),
        ({"TunnelConfig": {**at("", 1)["TunnelConfig"], "dns": ["a b"]}}, "dns"),
    ],
)
def test_a_hostile_target_is_dropped_and_the_others_stay(
    world: World, hostile: dict[str, Any], why: str
) -> None:
    made = {**at("bad", 9), **hostile}
    world.root = FakeServer(made, at("good", 1))
    assert world.deploy(results=2) == ["good"]
    world.root = FakeServer(made)
    with pytest.raises(RootError, match=f"can't be used: {why}"):
        world.deploy()


def test_the_devices_own_key_is_no_gateways(world: World) -> None:
    own = deploy_backend(ROOT, HELLOWORLD, jit="off", parts=world.parts)[0].deployment.to_json()
    config = {**at("x", 3)["TunnelConfig"], "publicKey": own["ApplicationKey"]}
    world.root = FakeServer({**at("x", 3), "TunnelConfig": config})
    with pytest.raises(RootError, match="own key"):
        world.deploy()


def test_a_backend_that_failed_is_no_target(world: World) -> None:
    world.root = FakeServer(at("a", 1, Status="Failed", Reason="no image"), at("b", 2))
    assert world.deploy(results=2) == ["b"]
    world.root = FakeServer(at("a", 1, Status="Failed", Reason="no image"))
    with pytest.raises(DeploymentError, match="no image"):
        world.deploy()


def test_no_more_targets_than_wanted(world: World) -> None:
    world.root = FakeServer(*(at(str(number), number) for number in (1, 2, 3)))
    assert len(world.deploy(results=2)) == 2


def test_what_the_app_tells_of_its_device_is_passed_on(world: World) -> None:
    context = DeviceContext(location=Location(1, 2))
    world.deploy(context=context, location=(40.0, -79.0))
    assert world.root.calls[0][2].location == Location(40.0, -79.0)


def test_what_the_app_sets_of_its_recipes_values_is_passed_on(world: World) -> None:
    world.deploy(values={"game": {"level": 3}}, location=(40.0, -79.0))
    assert world.root.calls[0][2].to_json()["values"] == {"game": {"level": 3}}


@pytest.mark.parametrize(
    "options",
    [
        {"values": []},
        {"values": {"x": "y" * 5000}},
        {"values": {"x": float("nan")}},
        {"values": {"x": {1, 2}}},
        {"results": 0},
        {"results": 4},
        {"results": True},
        {"results": "1"},
        {"jit": "maybe"},
        {"location": (91, 0)},
        {"location": (float("nan"), 0)},
        {"location": (1,)},
        {"location": ("1", "2")},
        {"timeout": 0},
        {"timeout": float("inf")},
        {"context": DeviceContext(location=Location(1, 2, None)), "location": (1, 181)},
    ],
)
def test_wrong_arguments_are_refused_before_anything_happens(world: World, options: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        world.deploy(**options)
    assert world.root.calls == []
    assert list(world.folder.iterdir()) == []


@pytest.mark.parametrize("app", ["", "hello", "0" * 32, "{00000000-0000-0000-0000-000000000000}"])
def test_an_app_is_a_uuid_or_helloworld(world: World, app: str) -> None:
    with pytest.raises(RequestError, match="app: must be a UUID"):
        deploy_backend(ROOT, app, parts=world.parts)
    assert deploy_backend(ROOT, "helloworld", jit="off", parts=world.parts)


def test_the_whole_call_ends_in_time(world: World, never: threading.Event) -> None:
    world.root = FakeServer(hang=never)
    started = time.monotonic()
    with pytest.raises(RootError):
        world.deploy(timeout=0.3)
    assert time.monotonic() - started < 4


def test_each_phase_is_told_with_its_time(world: World) -> None:
    world.nearby["http://near"] = FakeServer(at("near", 2))
    timings = Timings(world.events.append)
    world.deploy(on_progress=timings, results=2)
    assert set(timings.to_json()) == {"key_s", "discovery_s", "nearby_s", "root_s"}
    ended = [event.phase for event in world.events if event.seconds is not None]
    assert sorted(ended) == ["discovery", "key", "nearby", "root"]


def test_a_phase_that_fails_is_told_so(world: World) -> None:
    world.root = FakeServer(error=RootError("down"))
    with pytest.raises(RootError):
        world.deploy(jit="off")
    assert world.events[-1].state == "failed"


def test_finding_cloudlets_deploys_nothing(world: World) -> None:
    far = Candidate(UUID(int=1), "http://192.0.2.1:7070/api/v1/deploy", "far")
    twice = Candidate(UUID(int=7), "http://192.0.2.7:7070/api/v1/deploy", "near")
    world.root = FakeServer(candidates=(twice, far))
    world.nearby["http://near:1"] = FakeServer()
    found = find_cloudlets(ROOT, HELLOWORLD, parts=world.parts)
    assert [(candidate.name, candidate.local_network) for candidate in found] == [
        ("near:1", True),
        ("far", None),
    ]
    assert found[0].endpoint == "http://near:1/api/v1/deploy"
    assert world.nearby["http://near:1"].calls == []
    assert [call[0] for call in world.root.calls] == ["candidates"]
    assert list(world.folder.iterdir()) == []


def test_existing_backends_are_found_without_deploying(world: World) -> None:
    world.nearby["http://near"] = FakeServer(at("near", 2))
    targets = find_deployments(ROOT, HELLOWORLD, parts=world.parts)
    assert {target.place for target in targets} >= {"near"}
    assert {call[0] for call in world.root.calls + world.nearby["http://near"].calls} == {"deployments"}


def test_what_is_printed_holds_no_secret(world: World) -> None:
    target = deploy_backend(ROOT, HELLOWORLD, jit="off", parts=world.parts)[0]
    secret = target.key.private
    assert repr(secret)[2:-1] not in repr(target)
    assert "private" not in repr(target)
    assert target.to_json()["JIT"] is False


def test_what_a_cloudlet_must_have_goes_to_the_root_and_to_neighbours(world: World) -> None:
    world.nearby["http://near"] = FakeServer(at("near", 2))
    demanded = Requirements(gpu=True, jurisdictions=("DE",))
    world.deploy(requirements=demanded, results=2, context=DeviceContext(Location(1, 2)))
    for server in (world.root, world.nearby["http://near"]):
        assert server.calls[0][2] == DeviceContext(Location(1, 2), requirements=demanded)


@pytest.mark.parametrize(
    "demanded", [Requirements(cores=0), Requirements(trust="great"), Requirements(jurisdictions=("de",))]
)
def test_demands_that_nobody_understands_are_refused(world: World, demanded: Requirements) -> None:
    with pytest.raises(RequestError, match=r"^requirements\."):
        world.deploy(requirements=demanded)
    assert world.root.calls == []


def test_the_token_goes_to_the_root_alone_and_the_trace_to_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.nearby["http://near"] = FakeServer(at("near", 2))
    world.deploy(token="sf_1_secret", results=2)
    assert (world.root.caller.token, world.root.caller.trace) == ("sf_1_secret", TRACE)
    assert [(caller.token, caller.trace) for caller in world.neighbours] == [(None, TRACE)]
    assert "secret" not in repr(world.root.caller)
    monkeypatch.setenv("SINFONIA_TOKEN", "sf_2_other")
    world.deploy()
    assert world.root.caller.token == "sf_2_other"
    monkeypatch.setenv("SINFONIA_TOKEN", "sf_2_other\n")
    with pytest.raises(RequestError, match="token: must be visible ASCII") as refused:
        world.deploy()
    assert "other" not in str(refused.value)


def test_the_trace_is_told_with_targets_errors_and_progress(world: World) -> None:
    target = deploy_backend(ROOT, HELLOWORLD, jit="off", parts=world.parts)[0]
    assert target.to_json()["TraceID"] == TRACE_ID
    world.root = FakeServer(error=NotFoundError("no"))
    with pytest.raises(NotFoundError) as refused:
        world.deploy()
    assert refused.value.trace_id == TRACE_ID
    assert TRACE_ID in world.notes


def test_a_new_trace_each_time_in_the_form_of_the_standard(world: World) -> None:
    made = {Parts(world.folder).trace() for _ in range(10)}
    assert len(made) == 10
    assert all(re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", trace) for trace in made)


def test_a_root_that_is_too_busy_is_asked_once_more_when_it_says(world: World) -> None:
    world.root = FakeServer(at("far", 1), errors=[TooManyError("busy", 3.0)])
    assert world.deploy(jit="off") == ["far"]
    assert world.pauses == [3.0]
    assert "once more in 3 s" in world.notes


@pytest.mark.parametrize("advice", [None, 60.0])
def test_it_is_not_asked_again_where_there_is_no_time_for_it(world: World, advice: float | None) -> None:
    world.root = FakeServer(at("far", 1), errors=[TooManyError("busy", advice)])
    with pytest.raises(TooManyError):
        world.deploy(jit="off", timeout=5)
    assert world.pauses == []


def test_it_is_not_asked_a_third_time(world: World) -> None:
    world.root = FakeServer(at("far", 1), errors=[TooManyError("busy", 1.0)] * 2)
    with pytest.raises(TooManyError):
        world.deploy(jit="off")
    assert world.pauses == [1.0]


def test_round_trips_are_for_the_root_that_chose(world: World) -> None:
    world.nearby["http://near"] = FakeServer(at("near", 2))
    near, far = deploy_backend(ROOT, HELLOWORLD, results=2, parts=world.parts)
    assert (near.measured, near.keep) == (None, None)
    assert far.measured is not None
    assert far.keep is not None
    far.keep(UUID(int=1))
    assert world.root.kept == [(far.key.path_segment, UUID(int=1))]
    far.measured(0.0114)
    far.measured(0.02, 87.5)
    assert world.root.measurements == [
        Measurement(UUID(int=1), pytest.approx(11.4)),
        Measurement(UUID(int=1), pytest.approx(20), 87.5),
    ]
    (silent,) = deploy_backend(ROOT, HELLOWORLD, jit="off", measurements=False, parts=world.parts)
    assert silent.measured is None


def test_a_cloudlet_that_was_not_heard_of_lately_is_marked(world: World) -> None:
    stale = at("far", 1)
    stale["Cloudlet"]["Stale"] = True
    world.root = FakeServer(stale)
    (target,) = deploy_backend(ROOT, HELLOWORLD, jit="off", parts=world.parts)
    assert target.stale
    assert target.to_json()["Cloudlet"]["Stale"] is True
