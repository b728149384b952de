"""How the ends of guests on Podman are told: what it says of the last one, also where none was seen."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pytest

from edge_agent.on_podman.podman_program import Podman
from edge_agent.on_podman.pods import CONTAINERS_LABEL, INDEX_LABEL
from edge_agent.on_podman.watch import Watch
from tests.fakes.edge_agent_parts import AGENT, Clock
from tests.unit.edge_agent.test_records import RECORD

POD = {
    "Id": "p",
    "Name": "guest",
    "Labels": {CONTAINERS_LABEL: "guest-web", INDEX_LABEL: "0"},
    "Containers": [{"Names": "guest-web", "Status": "stopped"}],
}
DIED = "\n".join(json.dumps({"Status": "died", "ContainerExitCode": status}) for status in (1, 137))


def seen(state: dict[str, Any], restarts: int, events: str) -> str:
    """Why the pod failed; empty while it did not."""

    def run(arguments: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        inspected = {"State": state, "RestartCount": restarts}
        out = {"container": json.dumps([inspected]), "events": events}.get(arguments[1], "")
        return subprocess.CompletedProcess(arguments, 0, out.encode(), b"")

    watch = Watch(Podman(AGENT, [], clock=Clock(), sleep=print, run=run))
    found = watch.look(replace(RECORD, name="guest"), IPv4Network("10.89.3.0/24"), [POD])
    return found.reason if found.state == "Failed" else ""


@pytest.mark.parametrize(
    ("state", "restarts", "events", "reason"),
    [
        ({"Status": "exited", "ExitCode": 1}, 2, "", ""),
        ({"Status": "exited", "ExitCode": 1}, 3, "", "ends again and again, last with status 1."),
        ({"Status": "exited", "ExitCode": 137}, 3, "", "137 (killed, most likely since it used more memory"),
        ({"Status": "exited", "ExitCode": 137, "OOMKilled": True}, 3, "", "137 (killed, since it used more"),
        ({"Status": "running", "ExitCode": 0}, 11, DIED, ""),
        ({"Status": "running", "ExitCode": 0}, 12, DIED, "last with status 137 (killed, most likely"),
        ({"Status": "running", "ExitCode": 0}, 12, "", "ends again and again."),
        ({"Status": "running", "ExitCode": 0}, 12, "no JSON", "ends again and again."),
    ],
)
def test_how_it_ended_is_told(state: dict[str, Any], restarts: int, events: str, reason: str) -> None:
    found = seen(state, restarts, events)
    assert reason in found
    assert bool(found) == bool(reason)
