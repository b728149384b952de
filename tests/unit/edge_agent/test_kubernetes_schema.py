"""All that the agent sends to Kubernetes, and its example chart, held against the schema of a current one."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from edge_agent.on_kubernetes import events, guards, namespaces
from edge_agent.on_kubernetes.api import Refused
from edge_agent.on_kubernetes.lock import Lock
from edge_agent.on_kubernetes.placement import Placement
from edge_agent.recipes.limits import STANDARD
from edge_agent.recipes.manifests import check
from tests.fakes.edge_agent_backends import backend
from tests.fakes.edge_agent_parts import AGENT, CREATED
from tests.lab.needs import needs
from tests.unit.edge_agent.test_records import RECORD

VERSION = kubernetes_validate.latest_version()
CHARTS = Path(__file__).resolve().parents[3] / "infra" / "charts"
PLACEMENT = Placement({"example.org/guests": "yes"}, "gvisor", "guests")
PEERS = guards.gateway_peers(["192.0.2.7", "2001:db8::7"], "sinfonia-system")


def made() -> list[dict[str, Any]]:
    leased: list[dict[str, Any]] = []

    class Server:
        def call(self, method: str, path: str, body: Any = None) -> Any:
            if method == "GET":
                raise Refused(404, path)
            leased.append(body)
            return body

    lock = Lock(Server(), "default", AGENT, "here", clock=lambda: 0.0, now=lambda: CREATED)  # type: ignore[arg-type]
    lock.claim()
    labels = RECORD.labels(AGENT)
    app = guards.limited(backend().placed(RECORD.home), STANDARD)
    return [
        namespaces.namespace(RECORD, AGENT),
        *guards.guards(guards.behind_gateway(PEERS), STANDARD),
        namespaces.lease(RECORD, AGENT, 300, CREATED),
        events.event(RECORD, "Failed", "why", CREATED),
        *(PLACEMENT.place(namespaces.labelled(manifest, labels)) for manifest in app),
        *leased,
    ]


@pytest.mark.parametrize("manifest", made(), ids=lambda manifest: manifest["kind"])
def test_what_the_agent_makes(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, VERSION, strict=True)


def test_the_schema_refuses_what_it_does_not_know() -> None:
    wrong = {**namespaces.namespace(RECORD, AGENT), "spec": {"finalisers": []}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSION, strict=True)


@needs("helm")
def test_what_the_example_chart_makes() -> None:
    done = subprocess.run(
        ["helm", "template", "x", str(CHARTS / "helloworld")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    rendered = [document for document in yaml.safe_load_all(done.stdout) if document]
    assert rendered
    for manifest in rendered:
        kubernetes_validate.validate(manifest, VERSION, strict=True)
    for manifest in guards.limited(check(done.stdout, "helloworld", "1").placed("x"), STANDARD):
        kubernetes_validate.validate(manifest, VERSION, strict=True)
