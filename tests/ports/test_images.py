"""The port for a runtime's images, `bundles.Images`: one suite for the fake and for Podman."""

from __future__ import annotations

import json
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
from edge_agent.on_podman.image_store import PodmanImages
from edge_agent.on_podman.podman_program import Podman
from edge_agent.provisioning.bundles import Images
from tests.fakes import oci
from tests.fakes.edge_agent_images import FakeImages
from tests.lab import podman
from tests.lab.machine import Machine
from tests.lab.needs import param

PODMAN = ("root", "podman", "runc")
BASE, MORE = oci.layer({"base": b"b" * 5000}), oci.layer({"more": b"m" * 300})


@pytest.fixture(scope="module")
def podman_images() -> Iterator[PodmanImages]:
    folder = Path(tempfile.mkdtemp(prefix="images-"))
    with Machine("images") as machine:
        environment = podman.environment(folder)

        def run(arguments: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
            options["env"] = {**options["env"], **environment}
            return subprocess.run(machine.command(*arguments), **options)

        options = ["--root", str(folder / "root"), "--runroot", "/run/containers"]
        program = Podman(uuid.uuid4(), options, clock=time.monotonic, sleep=threading.Event().wait, run=run)
        yield PodmanImages(program)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["fake", param("podman", *PODMAN, id="podman")])
def images(request: pytest.FixtureRequest) -> Images:
    made: Images = FakeImages() if request.param == "fake" else request.getfixturevalue("podman_images")
    return made


def layout(folder: Path, layers: list[bytes], left_out: tuple[bytes, ...] = ()) -> Path:
    manifest, parts = oci.image(layers)
    (folder / "blobs" / "sha256").mkdir(parents=True)
    for digest, content in parts.items():
        if content not in left_out:
            (folder / "blobs" / "sha256" / digest[7:]).write_bytes(content)
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    kind = "application/vnd.oci.image.manifest.v1+json"
    described = {"mediaType": kind, "digest": oci.digest(manifest), "size": len(manifest)}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [described]}))
    return folder


def test_layers_that_are_there_may_be_left_out(images: Images, tmp_path: Path) -> None:
    images.load(layout(tmp_path / "a", [BASE]), "localhost/sinfonia-bundle/a:0")
    assert oci.digest(BASE) in images.layers()
    assert oci.digest(MORE) not in images.layers()
    images.load(layout(tmp_path / "b", [BASE, MORE], left_out=(BASE,)), "localhost/sinfonia-bundle/b:0")
    assert oci.digest(MORE) in images.layers()
    images.remove(["localhost/sinfonia-bundle/a:0", "localhost/sinfonia-bundle/never:0"])
    names = [f"localhost/sinfonia-bundle/{letter}:0" for letter in "abc"]
    assert images.present(names) == {names[1]}
    images.remove([names[1]])
    assert images.present(names) == frozenset()


@pytest.mark.parametrize("folder", ["ends_in_", "Bob's state", "two__marks"])
def test_the_layout_may_lie_anywhere(images: Images, tmp_path: Path, folder: str) -> None:
    name = "localhost/sinfonia-bundle/anywhere:0"
    images.load(layout(tmp_path / folder, [BASE]), name)
    images.remove([name])
    if isinstance(images, PodmanImages):
        assert images._podman.listing("image", "ls") == [], "no name of the folder's is left"


def test_an_image_with_a_missing_layer_is_refused(images: Images, tmp_path: Path) -> None:
    unknown = oci.layer({"unknown": b"u" * 100})
    with pytest.raises(DeployFailed):
        images.load(layout(tmp_path / "c", [unknown], left_out=(unknown,)), "localhost/sinfonia-bundle/c:0")


def test_nonsense_is_refused(images: Images, tmp_path: Path) -> None:
    folder = layout(tmp_path / "d", [BASE])
    listed = json.loads((folder / "index.json").read_text())
    (folder / "blobs" / "sha256" / listed["manifests"][0]["digest"][7:]).write_bytes(b"{nonsense")
    with pytest.raises(DeployFailed):
        images.load(folder, "localhost/sinfonia-bundle/d:0")
