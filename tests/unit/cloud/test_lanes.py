"""Calls that wait for cloudlets don't hold up the others."""

from types import SimpleNamespace

import pytest
from lanes import Lanes


class Dispatcher:
    def __init__(self, ends: bool = True) -> None:
        self.tasks = []
        self.ended = []
        self._ends = ends

    def add_task(self, task) -> None:
        self.tasks.append(task)

    def shutdown(self, cancel_pending=True, timeout=5) -> bool:
        self.ended.append((cancel_pending, timeout))
        return self._ends


@pytest.mark.parametrize(
    ("path", "slow"),
    [
        ("/api/v1/deploy/x/y", True),
        ("//api/v1/deploy/x/y", True),
        ("/api/v1/candidates/x", False),
        ("/api/v1/cloudlets/x/keepalive", False),
        ("/api/v1/cloudlets/x/commands", False),
        ("/", False),
        ("", False),
    ],
)
def test_the_lane_of_a_path(path, slow):
    quick, deploys = Dispatcher(), Dispatcher()
    channel = SimpleNamespace(requests=[SimpleNamespace(path=path), SimpleNamespace(path="/other")])
    Lanes(quick, deploys).add_task(channel)
    assert (quick.tasks, deploys.tasks) == (([], [channel]) if slow else ([channel], []))


@pytest.mark.parametrize("ends", [True, False])
def test_both_lanes_end(ends):
    quick, deploys = Dispatcher(ends), Dispatcher()
    assert Lanes(quick, deploys).shutdown(timeout=1) == ends
    assert quick.ended == deploys.ended == [(True, 1)]
