"""Provisioning by value on a real cloudlet at home that has no way out, no recipe and no image."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from tests.fakes import oci
from tests.lab import podman
from tests.lab.needs import CLOUDLET, needs
from tests.lab.world import World

CHART = Path(__file__).parents[2] / "infra" / "charts" / "helloworld"
NOWHERE = "http://192.168.77.99:8080"
COMMAND = '\n          command: [/bin/busybox, httpd, -f, -p, "8080", -h, /www]'


class App:
    """One app, its files in `folder`: a web server, and a page of its own in the last layer."""

    def __init__(self, folder: Path, number: int, web_server: bytes) -> None:
        folder.mkdir()
        self.uuid = UUID(int=0xA99 + number)
        self.page = f"page number {number}"
        shutil.copytree(CHART, folder / "helloworld")
        template = folder / "helloworld" / "templates" / "deployment.yaml"
        text = template.read_text()
        assert "imagePullPolicy: {{ .Values.pullPolicy }}" in text
        where = "imagePullPolicy: {{ .Values.pullPolicy }}"
        template.write_text(text.replace(where, where + COMMAND))
        image = f"localhost/brought:{number}"
        self.recipe, self.chart = folder / "recipe.yaml", folder / "chart.tgz"
        values = json.dumps({"image": image})
        self.recipe.write_text(f"chart: helloworld\nversion: 0.1.0\nvalues: {values}\n")
        with tarfile.open(self.chart, "w:gz") as packed:
            packed.add(folder / "helloworld", "helloworld")
        own = oci.layer({"www/index.html": self.page.encode()})
        self.images = oci.archive(folder / "images.tar", {image: [web_server, own]})


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path / "world") as made:
        yield made


def provision(world: World, app: App, *options: str) -> subprocess.CompletedProcess[str]:
    files = (f"--recipe={app.recipe}", f"--chart={app.chart}", f"--images={app.images}")
    return world.sinfonia("provision", NOWHERE, str(app.uuid), *files, *options, check=False, timeout=120)


def sent(done: subprocess.CompletedProcess[str]) -> float:
    """How many megabytes went over."""
    assert done.returncode == 0, done.stderr
    return max((float(found) for found in re.findall(r"has ([0-9.]+) of", done.stderr)), default=0.0)


@needs(*CLOUDLET, "module:zeroconf")
def test_what_a_device_brings_runs_and_a_layer_that_is_there_stays_where_it_is(
    world: World, tmp_path: Path
) -> None:
    options = ["--announce", "--take-bundles", "1Gi"]
    world.start_cloudlet("shed", "192.168.77.30", options=options, bare=True)
    web_server = oci.layer({"bin/busybox": Path("/bin/busybox").read_bytes()})
    first, second = (App(tmp_path / f"app{number}", number, web_server) for number in (1, 2))
    refused = world.sinfonia("deploy", NOWHERE, str(first.uuid), "--jit=only", check=False)
    assert refused.returncode == 2, "the cloudlet has no recipe of its own"

    megabytes = len(web_server) / 1e6
    assert sent(provision(world, first, "--verbose")) >= round(megabytes, 1) > 0.5
    for app in (first, second):
        if app is second:
            assert sent(provision(world, app, "--verbose")) < megabytes / 2, "the shared layer stays"
        page = ("--", "curl", "-sS", "--fail", "-m", "10", "http://helloworld/")
        done = world.sinfonia("run", NOWHERE, str(app.uuid), "--jit=only", *page, check=False, timeout=90)
        assert done.stdout == app.page, done.stderr
    assert sent(provision(world, first, "--verbose")) == 0.0, "it runs already"
    health = world.cloudlets["shed"].get("/api/v1/health")
    assert health["deployments"] == 2

    pruned = App(tmp_path / "app3", 3, web_server)
    first_time = sent(provision(world, pruned, "--verbose"))
    assert sent(provision(world, pruned, "--verbose")) == 0.0, "it is there"
    folder = world.folder / "shed"
    stores = ("--root", str(folder / "containers"), "--runroot", "/run/containers")
    tidy = ("podman", *stores, "image", "prune", "--all", "--force")
    world.cloudlets["shed"].machine.run(*tidy, env=podman.environment(folder), timeout=60)
    assert sent(provision(world, pruned, "--verbose")) >= first_time, "somebody tidied images up"


@needs(*CLOUDLET, "module:zeroconf")
def test_a_cloudlet_that_takes_none_says_so(world: World, tmp_path: Path) -> None:
    world.start_cloudlet("strict", "192.168.77.31", options=["--announce"])
    done = provision(world, App(tmp_path / "app", 1, oci.layer({"x": b"x"})))
    assert done.returncode == 2, done.stderr
    assert "strict has no recipe for the app, and its operator lets it take none" in done.stderr
