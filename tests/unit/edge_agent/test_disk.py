"""What guests write onto the disk: looked at in the background, held against their deployment's limit."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from edge_agent.errors import Unavailable
from edge_agent.on_podman.disk import LOOK_SECONDS, STORAGE_LABEL, Disk
from edge_agent.on_podman.podman_program import Podman
from tests.fakes.edge_agent_parts import AGENT, Clock

MEBIBYTE = 1 << 20


class Place:
    """A disk whose Podman tells of `containers`; `jobs` are to be done in the background."""

    def __init__(self) -> None:
        self.containers: list[dict[str, Any]] = []
        self.jobs: list[Callable[[], None]] = []
        self.calls: list[list[str]] = []
        self.status = 0
        self.clock = Clock()
        program = Podman(AGENT, [], clock=self.clock, sleep=print, run=self.run)
        self.disk = Disk(program, self.jobs.append, self.clock)

    def run(self, arguments: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        self.calls.append(arguments)
        out = json.dumps(self.containers).encode()
        return subprocess.CompletedProcess(arguments, self.status, out, b"Error: busy\n")

    def measured(self, *pods: dict[str, Any]) -> None:
        self.disk.look(pods)
        self.jobs.pop()()


def pod(name: str, limit_mib: int = 10) -> dict[str, Any]:
    return {"Id": name, "Labels": {STORAGE_LABEL: str(limit_mib * MEBIBYTE)}}


def container(pod: str, mib: int) -> dict[str, Any]:
    return {"Pod": pod, "Size": {"rwSize": mib * MEBIBYTE, "rootFsSize": 99 * MEBIBYTE}}


def test_all_containers_of_a_deployment_count_together() -> None:
    place = Place()
    place.containers = [container("a", 6), container("a", 3), container("b", 1), container("c", 90)]
    assert place.disk.excess([pod("a"), pod("b")]) == ""
    place.measured(pod("a"), pod("b"), pod("c"))
    assert place.disk.excess([pod("a"), pod("b")]) == "", "just as much as it may"
    place.containers[2] = container("b", 2)
    place.clock.seconds += LOOK_SECONDS
    place.measured(pod("a"), pod("b"), pod("c"))
    assert "wrote 11 MiB" in place.disk.excess([pod("a"), pod("b")])
    assert place.disk.excess([]) == ""


def test_one_measures_at_a_time_and_not_too_often() -> None:
    place = Place()
    place.disk.look([pod("a")])
    place.clock.seconds += 10 * LOOK_SECONDS
    place.disk.look([pod("a")])
    assert len(place.jobs) == 1, "the first one is not through"
    place.jobs.pop()()
    place.disk.look([pod("a")])
    assert place.jobs == []
    place.clock.seconds += LOOK_SECONDS
    place.disk.look([])
    assert place.jobs == [], "there is nothing to measure"
    place.disk.look([pod("a")])
    assert len(place.jobs) == 1


def test_what_was_measured_stays_while_podman_is_busy() -> None:
    place = Place()
    place.containers = [container("a", 11)]
    place.measured(pod("a"))
    place.status = 125
    place.clock.seconds += LOOK_SECONDS
    with pytest.raises(Unavailable):
        place.measured(pod("a"))
    assert "its limit is 10 MiB" in place.disk.excess([pod("a")])
    place.clock.seconds += LOOK_SECONDS
    place.disk.look([pod("a")])
    assert len(place.jobs) == 1, "it is tried again"


def test_a_pod_of_an_agent_that_noted_no_limit_is_left_alone() -> None:
    place = Place()
    place.containers = [container("a", 11)]
    place.measured(pod("a"))
    assert place.disk.excess([{"Id": "a", "Labels": {}}]) == ""
