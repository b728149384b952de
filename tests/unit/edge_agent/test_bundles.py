"""Bundles: parts that come in pieces, images that go into the runtime, and everything that may go wrong."""

from __future__ import annotations

import gzip
import json
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from edge_agent.errors import InvalidRequest, NotFound, Unavailable
from edge_agent.provisioning.blobs import Blobs, WrongOffset
from edge_agent.provisioning.bundles import UNUSED_SECONDS, Bundles
from tests.fakes import oci
from tests.fakes.edge_agent_images import FakeImages
from tests.lab.machine import poll

APP = UUID(int=7)
CHART = b"a chart's archive"
BASE, MORE = oci.layer({"base": b"b" * 5000}), oci.layer({"app": random.Random(1).randbytes(3000)})
LIMIT = 1 << 20


class Site:
    """A cloudlet that takes bundles; `again` is the same after a restart."""

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self.folder, self.limit = folder, limit
        self.images, self.now, self.jobs = FakeImages(), folder.stat().st_mtime, list[Callable[[], None]]()
        self.again()

    def again(self) -> None:
        self.jobs.clear()
        self.blobs = Blobs(self.folder / "parts", self.limit, lambda: self.now)
        self.bundles = Bundles(
            self.folder / "bundles",
            self.blobs,
            self.images,
            self.limit,
            self.jobs.append,
            lambda: self.now,
        )

    def work(self) -> None:
        while self.jobs:
            self.jobs.pop()()

    def send(self, name: str, parts: dict[str, bytes], chunk: int = 1000) -> int:
        """Send what is missing, in pieces; return how many bytes that were."""
        sent = 0
        for part, offset in self.bundles.progress(name).missing.items():
            there = offset
            while there < len(parts[part]):
                there = self.bundles.put(name, part, there, parts[part][there : there + chunk])
            sent += there - offset
        return sent


def described(*images: tuple[str, list[bytes]], **more: Any) -> tuple[str, bytes, dict[str, bytes]]:
    """A bundle's name, its description, and its parts by digest."""
    parts = {oci.digest(CHART): CHART}
    listed = []
    for name, layers in images:
        manifest, own = oci.image(layers)
        parts.update(own)
        config = json.loads(manifest)["config"]
        listed.append(
            {
                "name": name,
                "manifest": {"digest": oci.digest(manifest), "size": len(manifest)},
                "config": {"digest": config["digest"], "size": config["size"]},
                "layers": [{"digest": oci.digest(one), "size": len(one)} for one in layers],
            }
        )
    body = {
        "app": str(APP),
        "recipe": "chart: app\nversion: '1'\n",
        "chart": {"digest": oci.digest(CHART), "size": len(CHART)},
        "images": listed,
        **more,
    }
    text = json.dumps(body).encode()
    return oci.digest(text), text, parts


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def taken(site: Site, *images: tuple[str, list[bytes]]) -> tuple[str, int]:
    """A bundle that is ready, and how many bytes travelled for it."""
    name, text, parts = described(*images)
    site.bundles.open(name, text)
    sent = site.send(name, parts)
    site.bundles.finish(name)
    site.work()
    return name, sent


def test_a_bundle_in_pieces_becomes_ready(site: Site) -> None:
    name, text, parts = described(("app:1", [BASE, MORE]))
    assert site.bundles.open(name, text).missing == dict.fromkeys(parts, 0)
    assert site.bundles.finish(name).state == "receiving"
    site.send(name, parts, chunk=700)
    assert site.bundles.finish(name).state == "loading"
    site.work()
    assert site.bundles.progress(name).state == "ready"
    made = site.bundles.get(name, APP)
    assert (made.recipe, made.chart.read_bytes()) == (b"chart: app\nversion: '1'\n", CHART)
    assert set(made.images) == {"app:1"}
    assert set(made.images.values()) == site.images.names
    assert list((site.folder / "parts").iterdir()) == []  # the runtime has them now


def test_shared_layers_do_not_travel_twice(site: Site) -> None:
    taken(site, ("base:1", [BASE]))
    _, sent = taken(site, ("app:1", [BASE, MORE]))
    manifest, _ = oci.image([BASE, MORE])
    config = json.loads(manifest)["config"]["size"]
    assert sent == len(CHART) + len(manifest) + config + len(MORE)


def test_it_goes_on_where_it_was_after_a_restart(site: Site) -> None:
    name, text, parts = described(("app:1", [BASE, MORE]))
    site.bundles.open(name, text)
    part = oci.digest(MORE)
    site.bundles.put(name, part, 0, MORE[:1000])
    site.again()
    assert site.bundles.progress(name).missing[part] == 1000
    with pytest.raises(WrongOffset) as caught:
        site.bundles.put(name, part, 0, MORE[:1000])
    assert caught.value.offset == 1000
    site.send(name, parts)
    site.bundles.finish(name)
    site.again()  # before it was loaded
    assert site.bundles.progress(name).state == "receiving"
    site.bundles.finish(name)
    site.work()
    site.again()
    assert site.bundles.progress(name).state == "ready"


def test_a_part_with_another_digest_begins_anew(site: Site) -> None:
    name, text, _ = described(("app:1", [BASE]))
    site.bundles.open(name, text)
    part = oci.digest(BASE)
    with pytest.raises(InvalidRequest, match="another one"):
        site.bundles.put(name, part, 0, b"x" * len(BASE))
    assert site.bundles.progress(name).missing[part] == 0
    with pytest.raises(InvalidRequest, match="goes beyond"):
        site.bundles.put(name, part, 0, BASE + b"x")


def test_a_description_of_another_name_is_refused(site: Site) -> None:
    name, text, _ = described()
    with pytest.raises(InvalidRequest, match="another one"):
        site.bundles.open(name, text + b" ")
    with pytest.raises(InvalidRequest, match="sha256:"):
        site.bundles.open("../../etc/passwd", text)
    with pytest.raises(NotFound):
        site.bundles.progress(name)


def test_what_is_too_large_is_refused_before_it_travels(tmp_path: Path) -> None:
    site = Site(tmp_path, limit=len(BASE))
    name, text, _ = described(("app:1", [BASE, MORE]))
    with pytest.raises(InvalidRequest, match="larger than"):
        site.bundles.open(name, text)


def test_parts_of_all_bundles_share_the_room(tmp_path: Path) -> None:
    site = Site(tmp_path, limit=5000)
    for letter in "ab":
        own = oci.layer({"x": random.Random(letter).randbytes(3000)})
        name, text, parts = described(("app:1", [own]))
        site.bundles.open(name, text)
        if letter == "b":
            with pytest.raises(Unavailable, match="no room"):
                site.send(name, parts)
        else:
            site.send(name, parts)


def test_a_bomb_is_not_unpacked(site: Site) -> None:
    bomb = gzip.compress(b"\0" * (LIMIT + 1))
    assert len(bomb) < 5000
    name, _ = taken(site, ("app:1", [bomb]))
    progress = site.bundles.progress(name)
    assert progress.state == "failed"
    assert "unpack to more" in progress.reason
    assert site.images.names == set()


def test_zstandard_is_named(site: Site) -> None:
    packed = b"\x28\xb5\x2f\xfd" + b"x" * 50
    name, text, parts = _described_raw(packed)
    site.bundles.open(name, text)
    site.send(name, parts)
    site.bundles.finish(name)
    site.work()
    assert "zstd" in site.bundles.progress(name).reason


def _described_raw(layer: bytes) -> tuple[str, bytes, dict[str, bytes]]:
    _name, text, parts = described(("app:1", [BASE]))
    body = json.loads(text)
    body["images"][0]["layers"] = [{"digest": oci.digest(layer), "size": len(layer)}]
    text = json.dumps(body).encode()
    return oci.digest(text), text, {**parts, oci.digest(layer): layer}


def test_nobody_takes_another_images_name(site: Site) -> None:
    first, _ = taken(site, ("docker.io/library/nginx:latest", [BASE]))
    second, _ = taken(site, ("docker.io/library/nginx:latest", [MORE]))
    names = [site.bundles.get(name, APP).images["docker.io/library/nginx:latest"] for name in (first, second)]
    assert names[0] != names[1]
    assert all(name.startswith("localhost/sinfonia-bundle/") for name in names)


def test_unused_bundles_go_with_their_images(site: Site) -> None:
    name, _ = taken(site, ("app:1", [BASE]))
    site.bundles.get(name, APP)
    site.now += UNUSED_SECONDS - 1
    site.bundles.sweep(used=[])
    assert site.bundles.get(name, APP).chart.exists()  # and it was used now
    site.now += UNUSED_SECONDS + 1
    site.bundles.sweep(used=[name])
    assert site.bundles.progress(name).state == "ready"
    site.bundles.sweep(used=[])
    with pytest.raises(NotFound):
        site.bundles.get(name, APP)
    assert site.images.names == set()


@pytest.mark.parametrize("noticed", ["by a device that has it", "by a deployment", "by the sweep"])
def test_a_bundle_whose_images_were_pruned_is_sent_again(site: Site, noticed: str) -> None:
    name, text, parts = described(("app:1", [BASE, MORE]))
    assert taken(site, ("app:1", [BASE, MORE])) == (name, sum(map(len, parts.values())))
    site.images.prune()
    if noticed == "by a deployment":
        with pytest.raises(NotFound, match="not complete"):
            site.bundles.get(name, APP)
    elif noticed == "by the sweep":
        site.now += 5000
        site.bundles.sweep(used=[])
    assert site.bundles.open(name, text).missing.keys() == parts.keys()
    assert site.send(name, parts) == sum(map(len, parts.values()))
    site.bundles.finish(name)
    site.work()
    assert site.bundles.get(name, APP).chart.exists()
    assert len(site.images.names) == 1


def test_a_bundle_that_lacks_one_image_of_two_is_not_ready(site: Site) -> None:
    name, _ = taken(site, ("app:1", [BASE]), ("other:1", [MORE]))
    site.images.remove([site.bundles.get(name, APP).images["other:1"]])
    site.bundles.sweep(used=[name])
    progress = site.bundles.progress(name)
    assert progress.state == "receiving"
    assert not {oci.digest(BASE), oci.digest(MORE)} & progress.missing.keys(), "no layer is gone"


def test_half_sent_bundles_go_too(site: Site) -> None:
    name, text, _ = described(("app:1", [BASE]))
    site.bundles.open(name, text)
    site.bundles.put(name, oci.digest(BASE), 0, BASE[:10])
    site.now += 10 * 365 * 86400
    site.bundles.sweep(used=[])
    with pytest.raises(NotFound):
        site.bundles.progress(name)
    assert list((site.folder / "parts").iterdir()) == []


def test_only_so_many_are_begun(site: Site) -> None:
    for number in range(64):
        name, text, _ = described(recipe=f"chart: app\nversion: '{number}'\n")
        site.bundles.open(name, text)
    name, text, _ = described(recipe="chart: one too many\nversion: '1'\n")
    with pytest.raises(Unavailable):
        site.bundles.open(name, text)


def test_all_that_are_ready_share_the_room_unpacked(site: Site) -> None:
    large = [oci.layer({"x": bytes([number]) * (LIMIT // 3)}) for number in range(4)]
    names = [taken(site, ("app:1", [layer]))[0] for layer in large]
    states = [site.bundles.progress(name).state for name in names]
    assert states == ["ready", "ready", "failed", "failed"]
    site.now += UNUSED_SECONDS + 1
    site.bundles.sweep(used=[])
    assert site.images.names == set()
    name, _ = taken(site, ("app:1", [large[2]]))
    assert site.bundles.progress(name).state == "ready"


def test_an_image_that_fails_takes_the_others_of_its_bundle_along(site: Site) -> None:
    _, text, parts = described(("good:1", [BASE]), ("broken:1", [MORE]))
    body, nonsense = json.loads(text), b"{nonsense"
    body["images"][1]["manifest"] = {"digest": oci.digest(nonsense), "size": len(nonsense)}
    text = json.dumps(body).encode()
    name = oci.digest(text)
    site.bundles.open(name, text)
    site.send(name, {**parts, oci.digest(nonsense): nonsense})
    site.bundles.finish(name)
    site.work()
    assert site.bundles.progress(name).state == "failed"
    assert site.images.names == set()


def test_what_a_crash_left_goes(site: Site) -> None:
    taken(site, ("app:1", [BASE]))
    for rest in ("layout-abc", "0" * 64):
        (site.folder / "bundles" / rest).mkdir()
        (site.folder / "bundles" / rest / "x").write_bytes(b"x")
    site.bundles.sweep(used=[])
    assert len(list((site.folder / "bundles").iterdir())) == 3, "it may be in use"
    site.now += 3601
    site.bundles.sweep(used=[])
    assert len(list((site.folder / "bundles").iterdir())) == 1


def test_a_damaged_description_is_mended_by_describing_it_again(site: Site) -> None:
    name, text, parts = described(("app:1", [BASE]))
    site.bundles.open(name, text)
    (file,) = (site.folder / "bundles").glob("*/description.json")
    file.write_bytes(text[:100])
    site.bundles.sweep(used=[])
    with pytest.raises(NotFound):
        site.bundles.progress(name)
    assert site.bundles.open(name, text).missing == dict.fromkeys(parts, 0)


def test_a_slow_sender_is_not_given_up(site: Site) -> None:
    name, text, _ = described(("app:1", [BASE, MORE]))
    site.bundles.open(name, text)
    for offset in range(0, 3000, 1000):
        site.bundles.put(name, oci.digest(MORE), offset, MORE[offset : offset + 1000])
        site.now += 3000
        site.bundles.sweep(used=[])
    assert site.bundles.progress(name).missing[oci.digest(MORE)] == 3000


def test_those_who_wait_do_not_use_up_the_server(site: Site) -> None:
    name, text, parts = described(("app:1", [BASE]))
    site.bundles.open(name, text)
    site.send(name, parts)
    site.bundles.finish(name)  # and nobody works
    waiting = [threading.Thread(target=site.bundles.progress, args=(name, 10.0)) for _ in range(8)]
    for thread in waiting:
        thread.start()
    assert poll(lambda: site.bundles._waiters._value == 0)
    assert site.bundles.progress(name, 10.0).state == "loading", "at once"
    site.work()
    for thread in waiting:
        thread.join(5)
    assert not any(thread.is_alive() for thread in waiting)
