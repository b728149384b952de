"""What the agent counts, and the probes beside it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families
from werkzeug.test import Client

from edge_agent.deployments.addresses import Plan
from edge_agent.deployments.live import Phase
from edge_agent.deployments.lives import Lives
from edge_agent.errors import Unavailable
from edge_agent.serving.metrics import STALLED_SECONDS, Metrics, make_metrics_api, reason_class
from tests.fakes.edge_agent_backends import HELLOWORLD
from tests.fakes.edge_agent_parts import NETWORK, Clock, Parts
from tests.unit.edge_agent.test_records import RECORD


def make(lives=(), clock=None) -> Metrics:
    return Metrics("0.1.0", "podman", lambda: lives, clock or Clock())


def figures(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Each sample by its name and its labels' values, in the order of the labels' names."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def test_deployments_and_peers_are_as_the_table_is():
    parts = Parts()
    metrics = Metrics("0.1.0", "podman", parts.lives.all, parts.clock)
    assert figures(metrics)["sinfonia_agent_deployments", "ready"] == 0
    parts.deployments.deploy(HELLOWORLD, b"k" * 32, 0)
    parts.settle()
    found = figures(metrics)
    assert found["sinfonia_agent_deployments", "ready"] == 1
    assert found["sinfonia_agent_deployments", "failed"] == 0
    assert found["sinfonia_agent_peers",] == 1
    assert found["sinfonia_agent_build_info", "podman", "0.1.0"] == 1


def test_whether_the_cloudlet_is_offered_is_told():
    offered = [True]
    metrics = Metrics("0.1.0", "podman", list, Clock(), lambda: offered[0])
    assert figures(metrics)["sinfonia_agent_offered",] == 1
    offered[0] = False
    assert figures(metrics)["sinfonia_agent_offered",] == 0


def test_phases_and_failures_are_counted():
    metrics = make()
    metrics.turned(Phase.STARTING, Phase.WATCHED, 0.3, "")
    metrics.turned(Phase.WATCHED, Phase.FAILED, 20.0, "exceeded quota: sinfonia")
    metrics.turned(Phase.READY, Phase.REMOVING, 999.0, "")
    found = figures(metrics)
    assert found["sinfonia_agent_deploy_seconds_count", "starting"] == 1
    assert found["sinfonia_agent_deploy_seconds_sum", "watched"] == 20.0
    assert ("sinfonia_agent_deploy_seconds_count", "ready") not in found
    assert found["sinfonia_agent_deploy_failures_total", "quota"] == 1
    assert found["sinfonia_agent_deploy_failures_total", "other"] == 0


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("The container web: ErrImagePull: not found", "image"),
        ("exceeded quota: sinfonia", "quota"),
        ("0/1 nodes are available: insufficient cpu", "unschedulable"),
        ("The container web ends again and again, last with status 1", "crash"),
        ("It did not become ready in time.", "timeout"),
        ("something that nobody thought of", "other"),
        ("", "other"),
    ],
)
def test_reasons_have_few_classes(reason, word):
    assert reason_class(reason) == word


def test_calls_of_a_part_are_timed_and_their_errors_pass():
    class Part:
        name = "part"

        def good(self, number: int, *, more: int) -> int:
            return number + more

        def bad(self) -> None:
            raise Unavailable("away")

    metrics = make()
    part = metrics.timed("runtime", Part())
    assert part.good(1, more=2) == 3
    assert part.name == "part"
    with pytest.raises(Unavailable):
        part.bad()
    found = figures(metrics)
    assert found["sinfonia_agent_call_seconds_count", "good", "runtime"] == 1
    assert found["sinfonia_agent_call_seconds_count", "bad", "runtime"] == 1
    assert found["sinfonia_agent_call_failures_total", "bad", "runtime"] == 1
    assert ("sinfonia_agent_call_failures_total", "good", "runtime") not in found


def test_words_to_roots_and_names_are_counted():
    metrics = make()
    metrics.said("root.example", "heard")
    metrics.asked(3)
    metrics.asked(14)
    found = figures(metrics)
    assert found["sinfonia_agent_root_words_total", "heard", "root.example"] == 1
    assert found["sinfonia_agent_dns_queries_total", "NXDOMAIN"] == 1
    assert found["sinfonia_agent_dns_queries_total", "OTHER"] == 1


def test_it_is_alive_while_the_upkeep_ends_its_rounds():
    clock = Clock()
    metrics = make(clock=clock)
    assert metrics.alive(), "it has yet to begin"
    metrics.round(lambda: None)
    clock.seconds += STALLED_SECONDS - 1
    assert metrics.alive()
    clock.seconds += 1
    assert not metrics.alive()
    with pytest.raises(Unavailable):
        metrics.round(lambda: (_ for _ in ()).throw(Unavailable("away")))
    assert metrics.alive(), "a round that failed has ended"


def test_a_first_round_that_never_ends_is_noticed():
    clock = Clock()
    metrics = make(clock=clock)

    def hang() -> None:
        clock.seconds += STALLED_SECONDS
        assert not metrics.alive()

    metrics.round(hang)


def test_the_probes_say_what_is():
    ready = [False]
    clock = Clock()
    metrics = make(clock=clock)
    client = Client(make_metrics_api(metrics, lambda: ready[0]))
    assert client.get("/readyz").status_code == 503
    ready[0] = True
    assert client.get("/readyz").status_code == 200
    assert client.get("/healthz").status_code == 200
    metrics.round(lambda: None)
    clock.seconds += STALLED_SECONDS
    assert client.get("/healthz").status_code == 503
    shown = client.get("/metrics")
    assert shown.status_code == 200
    assert shown.content_type.startswith("text/plain; version=0.0.4")
    assert client.head("/metrics").data == b""
    assert client.get("/").status_code == 404
    assert client.post("/metrics").status_code == 405


def test_no_guest_makes_labels():
    metrics = make()

    def app(environ, start_response):
        start_response("200 OK", [])
        return [b""]

    client = Client(metrics.counted(app))
    client.get("/api/v1/health")
    for number in range(5):
        client.open("/", method=f"X{number}")
    found = figures(metrics)
    assert found["sinfonia_agent_requests_total", "200", "GET"] == 1
    assert found["sinfonia_agent_requests_total", "200", "other"] == 5


def test_the_table_tells_each_turn_once():
    turns = []
    clock = Clock()
    lives = Lives(clock, turned=lambda *turn: turns.append(turn))
    live = lives.reserve(Plan(NETWORK), 1, lambda block: replace(RECORD, block=block), lambda _: None)
    clock.seconds += 2
    lives.turn(live, Phase.WATCHED)
    lives.turn(live, Phase.WATCHED)
    clock.seconds += 3
    lives.turn(live, Phase.FAILED, "it broke")
    lives.turn(live, Phase.READY)
    assert turns == [
        (Phase.STARTING, Phase.WATCHED, 2.0, ""),
        (Phase.WATCHED, Phase.FAILED, 3.0, "it broke"),
    ]
