"""A device hands a bundle to an agent over HTTP and deploys from it; the runtime is in memory."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
import requests

from device_sdk.bundles.bundle import Bundle
from device_sdk.bundles.provision import hand_over
from device_sdk.calls.cloudlet_calls import CloudletServer
from device_sdk.errors import RequestError, RootError
from edge_agent.recipes.charts import Helm, find_helm
from edge_agent.recipes.recipes import Recipes
from edge_agent.recipes.repositories import Nothing
from edge_agent.serving.api import make_api
from tests.fakes import oci
from tests.fakes.edge_agent_images import FakeImages, bundles
from tests.fakes.edge_agent_parts import Parts
from tests.fakes.edge_agent_roots import anybody
from tests.lab.web import serving

APP = UUID(int=77)
KEY = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw"
CHARTS = Path(__file__).parents[2] / "infra" / "charts"


class Site:
    """An agent's API at `url`, its insides, and what its runtime has."""

    def __init__(self, folder: Path) -> None:
        self.images = FakeImages()
        self.bundles = bundles(folder, self.images)
        helm = Helm(find_helm(), {"uuid": "x", "name": "x"})
        recipes = Recipes(Nothing(), helm, lambda: 0.0, bundles=self.bundles)
        self.parts = Parts(catalogue=recipes)
        self.api = make_api(self.parts.deployments, anybody(), bundles=self.bundles)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Site, str]]:
    made = Site(tmp_path / "cloudlet")
    with serving(made.api) as url:
        yield made, url


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    chart, recipe = tmp_path / "helloworld.tgz", tmp_path / "recipe.yaml"
    with tarfile.open(chart, "w:gz") as packed:
        packed.add(CHARTS / "helloworld", "helloworld")
    recipe.write_text("chart: helloworld\nversion: 0.1.0\n")
    name = "localhost/sinfonia-helloworld:1"
    images = oci.archive(tmp_path / "images.tar", {name: [oci.layer({"page": b"x" * (5 << 20)})]})
    return Bundle.of(APP, recipe, chart, images)


def deploy(url: str, bundle: str | None) -> requests.Response:
    body = {} if bundle is None else {"bundle": bundle}
    return requests.post(f"{url}/api/v1/deploy/{APP}/{KEY}?wait=0", json=body, timeout=10)


def test_what_a_device_brings_runs(site: tuple[Site, str], bundle: Bundle) -> None:
    made, url = site
    assert deploy(url, None).status_code == 404
    assert deploy(url, bundle.name).status_code == 404
    told: list[tuple[int, int]] = []
    hand_over(CloudletServer(url), bundle, lambda: 30.0, lambda sent, total: told.append((sent, total)))
    assert told[-1][0] == told[-1][1] == sum(bundle.sizes.values())
    assert deploy(url, None).status_code == 404, "others don't get it"
    answer = deploy(url, bundle.name)
    assert answer.status_code == 200, answer.text
    (record,) = made.parts.runtime.records()
    assert record.order.bundle == bundle.name
    made.parts.work()
    text = json.dumps(made.parts.runtime.store.applied[record.home])
    assert made.images.names
    assert all(name in text for name in made.images.names)
    assert "localhost/sinfonia-helloworld:1" not in text


def test_handing_it_over_again_sends_nothing(site: tuple[Site, str], bundle: Bundle) -> None:
    _, url = site
    hand_over(CloudletServer(url), bundle, lambda: 30.0)
    told: list[tuple[int, int]] = []
    hand_over(CloudletServer(url), bundle, lambda: 30.0, lambda sent, total: told.append((sent, total)))
    assert told == []


def test_a_break_costs_a_piece_at_most(site: tuple[Site, str], bundle: Bundle) -> None:
    _, url = site
    server = CloudletServer(url)
    server.open_bundle(bundle.name, bundle.description, 5)
    digest, _ = max(bundle.sizes.items(), key=lambda one: one[1])
    with bundle.parts[digest]() as file:
        there = server.put_part(bundle.name, digest, 0, file.read(1000), 5)
    assert there == 1000
    with pytest.raises(RootError, match="1000 bytes"):
        server.put_part(bundle.name, digest, 0, b"again", 5)
    told: list[tuple[int, int]] = []
    hand_over(server, bundle, lambda: 30.0, lambda sent, total: told.append((sent, total)))
    assert told[-1][0] == sum(bundle.sizes.values()) - 1000


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("PUT", "bundles/nonsense", {}, b"{}", 400),
        ("PUT", f"bundles/sha256:{'0' * 64}", {}, b"{}", 400),
        ("PUT", f"bundles/sha256:{'0' * 64}", {}, b"x" * (1 << 20), 413),
        ("GET", f"bundles/sha256:{'0' * 64}", {}, b"", 404),
        ("POST", f"bundles/sha256:{'0' * 64}", {}, b"", 404),
        ("PUT", f"bundles/sha256:{'0' * 64}/parts/sha256:{'0' * 64}", {}, b"x", 400),
        ("PUT", f"bundles/sha256:{'0' * 64}/parts/sha256:{'0' * 64}", {"Upload-Offset": "0"}, b"x", 404),
        ("PUT", f"bundles/sha256:{'0' * 64}/parts/x", {"Upload-Offset": "-1"}, b"x", 400),
        ("PUT", f"bundles/sha256:{'0' * 64}/parts/x", {"Upload-Offset": "0"}, b"x" * (5 << 20), 413),
    ],
)
def test_nonsense_is_a_problem(
    site: tuple[Site, str], method: str, path: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    answer = requests.request(method, f"{site[1]}/api/v1/{path}", headers=headers, data=body, timeout=10)
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_files_that_are_no_bundle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("chart: x\nversion: '1'\n")
    (tmp_path / "chart.tgz").write_bytes(b"x")
    (tmp_path / "images.tar").write_bytes(b"no tar archive")
    with pytest.raises(RequestError):
        Bundle.of(APP, tmp_path / "recipe.yaml", tmp_path / "chart.tgz", tmp_path / "images.tar")
    with pytest.raises(RequestError):
        Bundle.of(APP, tmp_path / "nothing.yaml", tmp_path / "chart.tgz")
