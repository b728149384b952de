"""The port `prefetch.Stock`: one suite for the fake, Podman and Kubernetes."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.errors import DeployFailed
from edge_agent.on_kubernetes.image_stock import IMAGES_LABEL, KubernetesStock
from edge_agent.on_podman.image_stock import PodmanStock
from edge_agent.on_podman.podman_program import Podman
from edge_agent.provisioning.prefetch import Stock
from tests.fakes.edge_agent_runtime import GOOD_IMAGE
from tests.fakes.edge_agent_stock import FakeStock
from tests.lab import cluster, images, podman
from tests.lab.machine import Machine, poll
from tests.lab.needs import param

PODMAN = ("root", "podman", "runc", "busybox-static")
NOWHERE = "127.0.0.1:9/no/such-image:1"


@pytest.fixture(scope="module")
def fake() -> FakeStock:
    stock = FakeStock([GOOD_IMAGE])
    stock.names.add(GOOD_IMAGE)
    return stock


@pytest.fixture(scope="module")
def podman_stock() -> Iterator[PodmanStock]:
    folder = Path(tempfile.mkdtemp(prefix="stock-"))
    with Machine("stock") as machine:
        environment = podman.environment(folder)
        stores = {"root": str(folder / "root"), "runroot": "/run/containers"}
        images.load_helloworld(machine, stores, environment)
        options = [word for name, value in stores.items() for word in (f"--{name}", value)]

        def run(arguments: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
            options["env"] = {**options["env"], **environment}
            return subprocess.run(machine.command(*arguments), **options)

        program = Podman(uuid.uuid4(), options, clock=time.monotonic, sleep=threading.Event().wait, run=run)
        yield PodmanStock(program)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def kubernetes_stock() -> KubernetesStock:
    from edge_agent.on_kubernetes.api import open_api

    load = os.environ.get("SINFONIA_TEST_LOAD_IMAGE")
    if load:
        subprocess.run([*shlex.split(load), str(images.helloworld_archive())], check=True, timeout=120)
    sleep = threading.Event().wait
    api = open_api(cluster.agent_kubeconfig(), clock=time.monotonic, sleep=sleep)
    return KubernetesStock(uuid.uuid4(), api, clock=time.monotonic, sleep=sleep)


@pytest.fixture(
    params=[
        "fake",
        param("podman_stock", *PODMAN, id="podman"),
        param("kubernetes_stock", "kubernetes", "podman", "busybox-static", id="kubernetes"),
    ]
)
def stock(request: pytest.FixtureRequest) -> Stock:
    made: Stock = request.getfixturevalue(request.param)
    return made


def test_what_is_there_is_listed(stock: Stock) -> None:
    """A node tells of its images now and then."""
    assert poll(lambda: stock.present([GOOD_IMAGE, NOWHERE]) == {GOOD_IMAGE}, 90.0, 1.0)
    assert stock.present([]) == frozenset()


def test_what_cannot_be_pulled_says_so(stock: Stock) -> None:
    with pytest.raises(DeployFailed, match="no/such-image"):
        stock.pull(NOWHERE)
    assert stock.present([NOWHERE]) == frozenset()
    if isinstance(stock, KubernetesStock):
        label = f"{IMAGES_LABEL}={stock._agent}"
        assert poll(lambda: stock._api.items("/api/v1/namespaces", labelSelector=label) == [], 120.0, 1.0)
