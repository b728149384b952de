"""The example app with its real backend: from its recipe, on a cloudlet with Podman, through the tunnel."""

from __future__ import annotations

import csv
import json
import sys
import xml.etree.ElementTree as ET

import pytest

from device_sdk.examples.mirror.breakdown import PARTS
from tests.lab.needs import needs
from tests.lab.world import PROJECT, World

NEEDED = (
    *("root", "tun", "ip", "nsenter", "setpriv", "catatonit", "wg", "wireguard-go", "nft", "podman", "runc"),
    *("netavark", "iptables", "curl", "helm", "gcc", "busybox-static", "module:zeroconf", "module:chalice"),
)
MIRROR = "6d697272-6f72-4000-8000-000000000000"
EXAMPLE = (sys.executable, "-m", "device_sdk.examples.mirror")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with World(tmp_path_factory.mktemp("world")) as world:
        root = world.start_root()
        world.start_cloudlet("near", "198.51.100.21", "40.4,-79.9", roots=[root.url], more_images=["mirror"])
        world.wait_for_cloudlets(1)
        yield world


@needs(*NEEDED)
def test_the_app_gets_its_backend_and_says_where_each_frames_time_went(world, tmp_path):
    files = {name: tmp_path / f"times.{name}" for name in ("csv", "json", "plot", "picture")}
    options = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    world.device.run(
        *(*EXAMPLE, world.root.url, "--jit=off", "--frames=40", "--fps=20", *options),
        timeout=110,
        env={"XDG_STATE_HOME": str(tmp_path), "PYTHONPATH": str(PROJECT)},
    )
    told = json.loads(files["json"].read_text())
    frames = told["frames"]
    assert told["summary"]["frames"] == len(frames) >= 20
    assert told["summary"]["cloudlets"] == ["near"]
    for frame in frames:
        assert sum(frame[part] for part in PARTS) == pytest.approx(frame["total"], abs=0.01)
        assert all(frame[part] >= 0 for part in PARTS), frame
        assert frame["processing"] > 0
    with files["csv"].open() as lines:
        assert [float(row["total"]) for row in csv.DictReader(lines)] == [f["total"] for f in frames]
    head, grey = files["picture"].read_bytes().split(b"\n255\n", 1)
    assert head == b"P5\n320 240"
    assert grey.count(255) > 300, "the disc has an outline"
    assert grey.count(0) + grey.count(255) < len(grey) or grey.count(0) > len(grey) / 2
    ET.fromstring(files["plot"].read_text())


@needs(*NEEDED)
def test_the_same_app_behind_sinfonia_run_knows_its_backend_by_name_alone(world):
    app = (*EXAMPLE, "--at", "mirror", "--frames=5")
    done = world.sinfonia("run", world.root.url, MIRROR, "--jit=off", "--", *app, timeout=110)
    assert "5 frames, 0 lost" in done.stdout
