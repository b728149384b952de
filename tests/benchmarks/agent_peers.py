"""An agent with 1,000 deployments on record, all of them resting (a record, addresses and a peer, no pods),
on a real Kubernetes: how long a start takes to take them over, what one more costs, and what idling takes.
"""

from __future__ import annotations

import os
import re
import statistics
import tempfile
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from ipaddress import IPv4Network
from pathlib import Path
from uuid import UUID

from edge_agent.deployments.addresses import default_network
from edge_agent.deployments.records import Record, deployment_name
from edge_agent.on_kubernetes import namespaces
from tests.benchmarks.figures import Figures
from tests.fakes.edge_agent_backends import HELLOWORLD, backend
from tests.lab.cloudlet import Cloudlet
from tests.lab.machine import poll

RECORDS = 1000
_WATCHED_SECONDS = 20.0
_ADDED = 9
_GONE_SECONDS = 300.0
_LIMITS: dict[str, float | str] = {
    "reconcile_s": 10.0,
    "reconcile_cpu_s": "the agent's own work within it, from its first import",
    "add_peer_ms": 50.0,
    "idle_cpu_percent": 2.0,
    "rss_mb": 200.0,
}
_UNITS = {
    "reconcile_s": "s",
    "reconcile_cpu_s": "s",
    "add_peer_ms": "ms",
    "idle_cpu_percent": "% of a core",
    "rss_mb": "MB",
}


def run(max_size: int | None = None) -> Figures:
    """Return the figures for `max_size` records (at most 1,000)."""
    count = min(RECORDS, max_size or RECORDS)
    with (
        tempfile.TemporaryDirectory() as folder,
        Cloudlet(Path(folder), "--max-deployments", "2000") as cloudlet,
    ):
        cloudlet.start()
        cloudlet.kill()
        _make(cloudlet, count)
        try:
            figures = {"reconcile_s": cloudlet.start()}
            assert poll(lambda: cloudlet.peers() >= count, 60, 0.2), cloudlet.peers()
            before, began = cloudlet.use(), time.monotonic()
            figures["reconcile_cpu_s"] = before.cpu_s
            threading.Event().wait(_WATCHED_SECONDS)
            after = cloudlet.use()
            share = (after.cpu_s - before.cpu_s) / (time.monotonic() - began)
            figures |= {
                "idle_cpu_percent": 100 * share,
                "rss_mb": after.rss_mb,
                "add_peer_ms": _added_ms(cloudlet),
            }
        finally:
            cloudlet.kill()
            _remove(cloudlet)
    ordered = {key: round(figures[key], 2) for key in _UNITS}
    return Figures("agent_peers", ordered, _UNITS, _LIMITS)


def _make(cloudlet: Cloudlet, count: int) -> None:
    agent = UUID(cloudlet.uuid)
    chosen, network = backend(), default_network(agent)

    def one(number: int) -> None:
        key = os.urandom(32)
        block = IPv4Network((int(network.network_address) + 8 * (number + 1), 29))
        name = deployment_name(chosen.chart, HELLOWORLD, key)
        created = datetime.fromtimestamp(time.time(), UTC)
        facts = (chosen.chart, chosen.version, created, chosen.ports, chosen.workloads)
        made = namespaces.namespace(Record(name, HELLOWORLD, key, block, *facts), agent)
        made["metadata"]["annotations"][namespaces.RESTING] = "true"
        cloudlet.api.call("POST", "/api/v1/namespaces", made)

    with ThreadPoolExecutor(8) as makers:
        list(makers.map(one, range(count)))


def _remove(cloudlet: Cloudlet) -> None:
    with ThreadPoolExecutor(8) as removers:
        paths = [f"/api/v1/namespaces/{record.home}" for record in cloudlet.records()]
        list(removers.map(lambda path: cloudlet.api.call("DELETE", path), paths))
    poll(lambda: not cloudlet.homes(), _GONE_SECONDS, 2.0)  # the cluster's own work, in nobody's way


def _added_ms(cloudlet: Cloudlet) -> float:
    """What the gateway takes to be set for one more peer, as the agent's own metrics tell it: the median."""
    took = []
    for _ in range(_ADDED):
        peers, (seconds, times) = cloudlet.peers(), _syncs(cloudlet)
        status, _ = cloudlet.deploy(os.urandom(32))
        assert status == 200
        assert cloudlet.peers() == peers + 1
        after = _syncs(cloudlet)
        took.append((after[0] - seconds) / (after[1] - times))
    return 1000 * statistics.median(took)


def _syncs(cloudlet: Cloudlet) -> tuple[float, float]:
    """The seconds that setting the gateway took until now, and how many times it was set."""
    with urllib.request.urlopen(f"http://{cloudlet.metrics}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    names = ("sum", "count")
    line = r'^sinfonia_agent_call_seconds_{}\{{operation="sync",part="gateway"\}} (\S+)'
    found = [re.search(line.format(name), text, re.MULTILINE) for name in names]
    assert all(found), "the agent tells nothing of its gateway"
    seconds, times = (float(one[1]) for one in found if one)
    return seconds, times
