"""Recipes and charts: repositories on disk and over HTTP, the real helm, and all that can be wrong."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edge_agent.deployments.records import Order
from edge_agent.errors import NotFound, RecipeUnusable, SettingsError, Unavailable
from edge_agent.recipes.charts import Helm, find_helm
from edge_agent.recipes.limits import STANDARD
from edge_agent.recipes.recipe import Recipe
from edge_agent.recipes.recipes import Recipes
from edge_agent.recipes.repositories import Downloads, open_repository
from edge_agent.sessions import make_session
from tests.fakes.edge_agent_backends import HELLOWORLD, deployment, service, text_of
from tests.fakes.edge_agent_parts import Clock
from tests.lab.machine import poll
from tests.lab.needs import needs
from tests.unit.edge_agent.test_archives import archive

PROJECT = Path(__file__).resolve().parents[3]
CLOUDLET = {"uuid": "u", "name": "here"}

needs_helm = needs("helm")


class Printer:
    """Renders every chart to the same text, and counts."""

    def __init__(self, text: str = "") -> None:
        self.text = text or text_of([service(), deployment()])
        self.calls: list[tuple[str, str]] = []
        self.values: list[dict[str, Any]] = []

    def render(self, chart: Path, release: str, values: dict[str, Any]) -> str:
        self.values.append(values)
        self.calls.append((chart.name, release))
        return self.text


def folder_of(tmp_path: Path, recipe: str = "chart: web\nversion: '1'\n") -> Path:
    folder = tmp_path / "recipes"
    (folder / "web").mkdir(parents=True)
    (folder / "web" / "Chart.yaml").write_text("name: web\nversion: '1'\napiVersion: v2\n")
    (folder / f"{HELLOWORLD}.yaml").write_text(recipe)
    return folder


def recipes_of(where: Path | str, renderer: Any, tmp_path: Path, clock: Clock | None = None) -> Recipes:
    clock = clock or Clock()
    downloads = Downloads(tmp_path / "charts", make_session(time.monotonic), clock)
    return Recipes(open_repository(str(where), downloads), renderer, clock)


def test_a_recipe_is_rendered_once_until_it_changes(tmp_path: Path) -> None:
    folder, printer = folder_of(tmp_path), Printer()
    recipes = recipes_of(folder, printer, tmp_path)
    first = recipes.prepare(HELLOWORLD)
    assert recipes.prepare(HELLOWORLD) is first
    assert printer.calls == [("web", "web")]
    (folder / f"{HELLOWORLD}.yaml").write_text("chart: web\nversion: '2'\n")
    assert recipes.prepare(HELLOWORLD).version == "2"
    (folder / "web" / "values.yaml").write_text("a: 1\n")
    recipes.prepare(HELLOWORLD)
    assert len(printer.calls) == 3


def test_callers_values_are_merged_and_rendered_for_each_set(tmp_path: Path) -> None:
    recipe = "chart: web\nversion: '1'\nvalues: {a: 1, b: {c: 2}}\nsettable: [{name: b.c, type: integer}]\n"
    printer = Printer()
    recipes = recipes_of(folder_of(tmp_path, recipe), printer, tmp_path)
    first = recipes.prepare(HELLOWORLD)
    second = recipes.prepare(HELLOWORLD, Order(values='{"b":{"c":3}}'))
    assert recipes.prepare(HELLOWORLD, Order(values='{"b":{"c":3}}')) is second is not first
    assert printer.values == [{"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}}]
    for values, words in (('{"a":2}', "values.a: callers can't"), ("[", "damaged"), ("[]", "damaged")):
        with pytest.raises(RecipeUnusable, match=words):
            recipes.prepare(HELLOWORLD, Order(values=values))
    assert len(printer.values) == 2


def test_a_recipes_limits_are_the_backends_up_to_the_operators(tmp_path: Path) -> None:
    recipe = "chart: web\nversion: '1'\nlimits: {cpu: 500m, pods: 99}\n"
    backend = recipes_of(folder_of(tmp_path, recipe), Printer(), tmp_path).prepare(HELLOWORLD)
    assert (backend.limits.cpu_millis, backend.limits.pods) == (500, STANDARD.pods)
    assert backend.images == {"localhost/sinfonia-helloworld:1"}


def test_a_chart_is_what_its_digest_says(tmp_path: Path) -> None:
    packed = archive()
    digest = hashlib.sha256(packed).hexdigest()
    folder = folder_of(tmp_path, f"chart: web\nversion: '1'\ndigest: sha256:{digest}\n")
    with pytest.raises(RecipeUnusable, match="must be an archive"):
        recipes_of(folder, Printer(), tmp_path).prepare(HELLOWORLD)
    (folder / "web-1.tgz").write_bytes(packed + b"x")
    with pytest.raises(RecipeUnusable, match="digest is not the one"):
        recipes_of(folder, Printer(), tmp_path).prepare(HELLOWORLD)
    (folder / "web-1.tgz").write_bytes(packed)
    assert recipes_of(folder, Printer(), tmp_path).prepare(HELLOWORLD).workloads == 1


def test_a_chart_that_failed_is_not_rendered_again_at_once(tmp_path: Path) -> None:
    printer, clock = Printer("nonsense"), Clock()
    recipes = recipes_of(folder_of(tmp_path), printer, tmp_path, clock)
    for _ in range(5):
        with pytest.raises(RecipeUnusable, match="without a kind"):
            recipes.prepare(HELLOWORLD)
    assert len(printer.calls) == 1
    clock.seconds += 31
    printer.text = text_of([service(), deployment()])
    recipes.prepare(HELLOWORLD)


def test_an_archive_comes_before_a_folder(tmp_path: Path) -> None:
    folder, printer = folder_of(tmp_path), Printer()
    (folder / "web-1.tgz").write_bytes(b"x")
    recipes_of(folder, printer, tmp_path).prepare(HELLOWORLD)
    assert printer.calls == [("web-1.tgz", "web")]


def test_unknown_apps(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        recipes_of(folder_of(tmp_path), Printer(), tmp_path).prepare(uuid.UUID(int=1))
    with pytest.raises(NotFound):
        recipes_of(tmp_path / "nowhere", Printer(), tmp_path).prepare(HELLOWORLD)


@pytest.mark.parametrize(
    "recipe",
    [
        "",
        "[]",
        "{",
        "chart: web",
        "version: '1'",
        "chart: web\nversion: 1",
        "chart: [web]\nversion: '1'",
        "chart: ../../etc/passwd\nversion: '1'",
        "chart: /etc/passwd\nversion: '1'",
        "chart: web\nversion: ../1",
        "chart: file:///etc/passwd\nversion: '1'",
        "chart: web\nversion: '1'\nvalues: [1]",
        "chart: oci://r.example/web\nversion: '1'",
        "chart: web\nversion: '1'\ndigest: sha256:12",
        "chart: web\nversion: '1'\nsettable: [[]]",
        "chart: web\nversion: '1'\nlimits: {cpu: many}",
        "chart: web\nversion: '1'\nvalues: &a {b: 1}\nx: *a",
        "chart: web\nversion: '1'\n---\nchart: web\nversion: '1'",
        "chart: none\nversion: '1'",
        "x" * 300_000,
    ],
)
def test_unusable_recipes(tmp_path: Path, recipe: str) -> None:
    printer = Printer()
    with pytest.raises(RecipeUnusable):
        recipes_of(folder_of(tmp_path, recipe), printer, tmp_path).prepare(HELLOWORLD)
    assert printer.calls == []


def test_a_folder_where_a_recipe_should_be(tmp_path: Path) -> None:
    (tmp_path / f"{HELLOWORLD}.yaml").mkdir()
    with pytest.raises(Unavailable):
        recipes_of(tmp_path, Printer(), tmp_path).prepare(HELLOWORLD)


def test_what_a_release_is_called() -> None:
    assert Recipe("https://x.example/My_Chart.tgz", "1").release == "my-chart"
    assert Recipe("web", "1").release == "web"


class Shelf:
    """A repository over HTTP: paths to (status, body), and which were asked for."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[int, bytes]] = {}
        self.asked: list[str] = []
        self.pause = 0.0
        shelf = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                shelf.asked.append(self.path)
                status, body = shelf.files.get(self.path, (404, b""))
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()
                for part in [body[at : at + 1] for at in range(len(body))] if shelf.pause else [body]:
                    threading.Event().wait(shelf.pause)
                    with contextlib.suppress(OSError):
                        self.wfile.write(part)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/repo"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    shelf = Shelf()
    yield shelf
    shelf.server.shutdown()
    shelf.server.server_close()


def test_a_repository_over_http(shelf: Shelf, tmp_path: Path) -> None:
    shelf.files[f"/repo/{HELLOWORLD}.yaml"] = (200, b"chart: charts/web\nversion: '1'\n")
    shelf.files["/repo/charts/web-1.tgz"] = (200, b"archive")
    clock = Clock()
    recipes = recipes_of(shelf.url, Printer(), tmp_path, clock)
    first = recipes.prepare(HELLOWORLD)
    recipes.prepare(HELLOWORLD)
    assert shelf.asked == [f"/repo/{HELLOWORLD}.yaml", "/repo/charts/web-1.tgz"]
    clock.seconds += 60
    shelf.files[f"/repo/{HELLOWORLD}.yaml"] = (503, b"")
    assert recipes.prepare(HELLOWORLD) is first, "the last known recipe serves while the repository is away"
    shelf.files.pop(f"/repo/{HELLOWORLD}.yaml")
    with pytest.raises(NotFound):
        recipes.prepare(HELLOWORLD)


@pytest.mark.parametrize(
    ("recipe", "chart", "error"),
    [
        ((500, b""), (200, b""), Unavailable),
        ((404, b""), (200, b""), NotFound),
        ((200, b"x" * 300_000), (200, b""), RecipeUnusable),
        ((200, b"chart: web\nversion: '1'"), (404, b""), RecipeUnusable),
        ((200, b"chart: web\nversion: '1'"), (500, b""), Unavailable),
        ((200, b"chart: web\nversion: '1'"), (200, b"x" * (9 << 20)), RecipeUnusable),
    ],
)
def test_a_repository_that_fails(shelf: Shelf, tmp_path: Path, recipe: Any, chart: Any, error: Any) -> None:
    shelf.files[f"/repo/{HELLOWORLD}.yaml"] = recipe
    shelf.files["/repo/web-1.tgz"] = chart
    with pytest.raises(error):
        recipes_of(shelf.url, Printer(), tmp_path).prepare(HELLOWORLD)


def test_a_repository_that_is_away(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        recipes_of("http://127.0.0.1:9/", Printer(), tmp_path).prepare(HELLOWORLD)


def test_a_repository_that_redirects(shelf: Shelf, tmp_path: Path) -> None:
    shelf.files[f"/repo/{HELLOWORLD}.yaml"] = (302, b"")
    with pytest.raises(Unavailable, match="redirects"):
        recipes_of(shelf.url, Printer(), tmp_path).prepare(HELLOWORLD)
    assert shelf.asked == [f"/repo/{HELLOWORLD}.yaml"]


def test_a_repository_that_trickles(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.recipes.repositories._HTTP_TIMEOUT", (1.0, 0.3))
    shelf.pause = 0.2
    shelf.files[f"/repo/{HELLOWORLD}.yaml"] = (200, b"chart: web\nversion: '1'\n")
    started = time.monotonic()
    with pytest.raises(Unavailable):
        recipes_of(shelf.url, Printer(), tmp_path).prepare(HELLOWORLD)
    assert time.monotonic() - started < 3


def test_a_helm_that_cannot_be_run(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--helm /nope"):
        find_helm("/nope")
    with pytest.raises(Unavailable, match="can't be run"):
        Helm("/nope", CLOUDLET).render(tmp_path, "web", {})


@needs_helm
def test_helloworld_as_it_is_shipped(tmp_path: Path) -> None:
    recipes = recipes_of(PROJECT / "infra" / "recipes", Helm(find_helm(), CLOUDLET), tmp_path)
    backend = recipes.prepare(HELLOWORLD)
    assert backend.chart == "helloworld"
    assert list(backend.ports) == ["helloworld"]
    pod = backend.placed("sinfonia-x")[-1]["spec"]["template"]["spec"]
    assert {"name": "CLOUDLET", "value": "here"} in pod["containers"][0]["env"]


def chart(tmp_path: Path, template: str) -> Path:
    path = tmp_path / "web"
    (path / "templates").mkdir(parents=True)
    (path / "Chart.yaml").write_text("apiVersion: v2\nname: web\nversion: 0.1.0\n")
    (path / "templates" / "all.yaml").write_text(template)
    return path


@needs_helm
@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ .Values.a.b.c }}", "can't render"),
        ('{{ fail "needs a GPU" }}', "needs a GPU"),
        ("{{ nonsense", "can't render"),
        ("a: b: c", "can't render"),
    ],
)
def test_charts_that_do_not_render(tmp_path: Path, template: str, words: str) -> None:
    with pytest.raises(RecipeUnusable, match=words):
        Helm(find_helm(), CLOUDLET).render(chart(tmp_path, template), "web", {})


@needs_helm
def test_an_archive_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "web.tgz").write_bytes(b"no archive")
    with pytest.raises(RecipeUnusable, match="can't be unpacked"):
        Helm(find_helm(), CLOUDLET).render(tmp_path / "web.tgz", "web", {})


def program(tmp_path: Path, script: str) -> str:
    path = tmp_path / "helm"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_a_helm_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    helm = Helm(program(tmp_path, 'sleep 1000 & echo $! > "$(dirname $0)/pid"; wait'), CLOUDLET, 0.3)
    with pytest.raises(RecipeUnusable, match=r"within 0\.3 s"):
        helm.render(tmp_path, "web", {})
    child = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/stat")
    assert poll(lambda: not child.exists() or child.read_text().rsplit(")", 1)[1].split()[0] == "Z")


def test_helms_that_hang_keep_no_place_from_others(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    recipes = recipes_of(folder, Helm(program(tmp_path, "sleep 1000"), CLOUDLET, 0.1), tmp_path)
    for version in range(5):
        (folder / f"{HELLOWORLD}.yaml").write_text(f"chart: web\nversion: '{version}'\n")
        with pytest.raises(RecipeUnusable, match="not rendered within"):
            recipes.prepare(HELLOWORLD)


def test_a_helm_that_floods_is_cut(tmp_path: Path) -> None:
    helm = Helm(program(tmp_path, "head -c 3000000 /dev/zero | tr '\\0' x"), CLOUDLET)
    assert len(helm.render(tmp_path, "web", {})) == (1 << 20) + 1
    with pytest.raises(RecipeUnusable, match="larger"):
        recipes_of(folder_of(tmp_path), helm, tmp_path).prepare(HELLOWORLD)


def test_helm_has_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(SettingsError, match="helm"):
        find_helm()
