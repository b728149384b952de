"""Options that say where guests' pods run."""

from __future__ import annotations

import argparse

import pytest

from edge_agent.errors import SettingsError
from edge_agent.on_kubernetes.placement import Placement, add_options


def placement(*words: str, runtime: str = "kubernetes") -> Placement:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runtime")
    add_options(parser)
    return Placement.from_arguments(parser.parse_args(["--runtime", runtime, *words]))


def test_the_options_are_what_pods_get() -> None:
    nodes = ["--guest-nodes", "example.org/guests=yes", "--guest-nodes", "disk="]
    found = placement(*nodes, "--guest-runtime-class", "gvisor", "--guest-priority-class", "guests")
    assert found == Placement({"example.org/guests": "yes", "disk": ""}, "gvisor", "guests")
    assert placement() == placement(runtime="podman") == Placement()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--guest-nodes", "guests"], "must be a label"),
        (["--guest-nodes", "-a=b"], "must be a label"),
        (["--guest-nodes", "a=b c"], "must be a label"),
        (["--guest-runtime-class", "Bad Name"], "--guest-runtime-class"),
        (["--guest-priority-class", "x/y"], "--guest-priority-class"),
    ],
)
def test_what_is_wrong_is_named(words: list[str], said: str) -> None:
    option, value = words
    with pytest.raises(SettingsError, match=said):
        placement(f"{option}={value}")


def test_they_are_for_kubernetes() -> None:
    with pytest.raises(SettingsError, match="kubernetes"):
        placement("--guest-runtime-class", "gvisor", runtime="podman")
