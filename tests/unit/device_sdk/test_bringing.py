"""A call with a bundle, where cloudlets nearby have no recipe for the app."""

from __future__ import annotations

import hashlib
import io
from contextlib import ExitStack, nullcontext
from pathlib import Path
from uuid import UUID

import pytest

from device_sdk.associating.associate import associate
from device_sdk.bundles.bundle import Bundle
from device_sdk.bundles.bundle_wire import BundleProgress
from device_sdk.calls.caller import Caller
from device_sdk.calls.deploy import Parts, deploy_backend, find_deployments
from device_sdk.errors import DeploymentError, NotFoundError, RequestError, RootError, SinfoniaError
from device_sdk.nearby.discovery import Nearby
from device_sdk.progress import Event
from device_sdk.wire import Health
from tests.fakes.device_sdk_servers import FakeServer, always, at
from tests.fakes.device_sdk_ways import FakeGateway, FakeWays

APP = UUID(int=0)
CHART = b"a chart"
DIGEST = f"sha256:{hashlib.sha256(CHART).hexdigest()}"
BUNDLE = Bundle(
    APP,
    f"sha256:{'b' * 64}",
    b"{}",
    {DIGEST: len(CHART)},
    {DIGEST: lambda: nullcontext(io.BytesIO(CHART))},
)


class Cloudlet(FakeServer):
    """Has no recipe until it was handed the bundle; `refusal` is what it says to that."""

    def __init__(self, number: int, refusal: SinfoniaError | None = None, recipe: bool = False) -> None:
        super().__init__(at(f"near{number}", number))
        self.refusal, self.recipe = refusal, recipe
        self.got = b""
        self.loaded = False

    def _heard(self, call, app_uuid, results, context, timeout) -> None:
        super()._heard(call, app_uuid, results, context, timeout)
        if not self.recipe and not (self.loaded and context.bundle == BUNDLE.name):
            raise NotFoundError("there is no recipe for this app")

    def open_bundle(self, name: str, description: bytes, timeout: float) -> BundleProgress:
        if self.refusal is not None:
            raise self.refusal
        assert (name, description) == (BUNDLE.name, BUNDLE.description)
        return self.bundle_progress(name, 0, timeout)

    def put_part(self, _name: str, digest: str, offset: int, chunk: bytes, _timeout: float) -> int:
        assert (digest, offset) == (DIGEST, len(self.got))
        self.got += chunk
        return len(self.got)

    def load_bundle(self, name: str, timeout: float) -> BundleProgress:
        self.loaded = self.got == CHART
        return self.bundle_progress(name, 0, timeout)

    def bundle_progress(self, _name: str, _wait: float, _timeout: float) -> BundleProgress:
        missing = {} if self.got == CHART else {DIGEST: len(self.got)}
        return BundleProgress("ready" if self.loaded else "receiving", missing)


class House:
    """Cloudlets nearby by URL; the root knows nothing of the app."""

    def __init__(self, folder: Path, *cloudlets: Cloudlet) -> None:
        self.cloudlets = {f"http://near{number}": one for number, one in enumerate(cloudlets, 1)}
        self.root = FakeServer(error=NotFoundError("the root knows no such app"))
        self.events: list[Event] = []
        found = [
            Nearby(url, Health(UUID(int=number), url[7:])) for number, url in enumerate(self.cloudlets, 1)
        ]
        self.parts = Parts(folder, always(self.root), self.at, lambda: found)

    def at(self, url: str, caller: Caller) -> Cloudlet:
        assert caller.token is None
        return self.cloudlets[url]

    def deploy(self, bundle: Bundle | None = BUNDLE, **options) -> list[str]:
        options = {"jit": "only", "parts": self.parts, "on_progress": self.events.append, **options}
        return [one.place for one in deploy_backend("http://root.example", APP, bundle=bundle, **options)]


@pytest.mark.parametrize("jit", ["only", "prefer"])
def test_a_cloudlet_without_a_recipe_gets_the_bundle_and_runs_it(tmp_path: Path, jit: str) -> None:
    house = House(tmp_path, Cloudlet(1))
    assert house.deploy(jit=jit) == ["near1"]
    (cloudlet,) = house.cloudlets.values()
    assert [context.bundle for _, _, context in cloudlet.calls] == [None, BUNDLE.name]
    assert "near1 has 0.0 of 0.0 MB" in {event.detail for event in house.events}
    assert ("bundle", "ended") in {(event.phase, event.state) for event in house.events}


def test_one_that_has_the_recipe_is_asked_before_anything_is_sent(tmp_path: Path) -> None:
    house = House(tmp_path, Cloudlet(1), Cloudlet(2, recipe=True))
    assert house.deploy() == ["near2"]
    assert house.cloudlets["http://near1"].got == b""


def test_without_a_bundle_the_cloudlets_word_stands(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no recipe"):
        House(tmp_path, Cloudlet(1)).deploy(None)


def test_the_next_gets_it_where_one_takes_none(tmp_path: Path) -> None:
    house = House(tmp_path, Cloudlet(1, refusal=NotFoundError("no such page")), Cloudlet(2))
    assert house.deploy() == ["near2"]
    assert "near1 has no recipe for the app, and its operator lets it take none (--take-bundles)." in {
        event.detail for event in house.events
    }


@pytest.mark.parametrize(
    "error", [RequestError("no"), RootError("away"), DeploymentError("not enough room for the bundle")]
)
def test_where_none_takes_it_the_last_one_says_why(tmp_path: Path, error: SinfoniaError) -> None:
    with pytest.raises(type(error), match=str(error)):
        House(tmp_path, Cloudlet(1, refusal=error)).deploy()


def test_the_root_answers_where_nobody_takes_it(tmp_path: Path) -> None:
    house = House(tmp_path, Cloudlet(1, refusal=NotFoundError("it takes no bundles")))
    house.root = FakeServer(at("far", 3))
    house.parts = Parts(tmp_path, always(house.root), house.at, house.parts.discover)
    assert house.deploy(jit="prefer") == ["far"]
    assert house.root.calls[0][2].bundle is None, "the root is not told what it can't use"


def test_looking_for_backends_brings_nothing(tmp_path: Path) -> None:
    house = House(tmp_path, Cloudlet(1))
    with pytest.raises(NotFoundError):
        find_deployments("http://root.example", APP, jit="only", parts=house.parts)
    assert house.cloudlets["http://near1"].got == b""


def test_an_association_brings_it_to_each_cloudlet_that_it_goes_to(tmp_path: Path) -> None:
    house = House(tmp_path, Cloudlet(1), Cloudlet(2))
    with ExitStack() as closing:
        gateways = {number: FakeGateway(number=number) for number in (1, 2)}
        for gateway in gateways.values():
            closing.callback(gateway.close)
        association = closing.enter_context(
            associate(
                "http://root.example",
                APP,
                bundle=BUNDLE,
                jit="only",
                parts=house.parts,
                open_ways=FakeWays(gateways).opener(),
            )
        )
        assert association.target.place == "near1"
        assert house.cloudlets["http://near2"].got == b""
        association.prepare()
        assert association.switch().place == "near2"
        assert house.cloudlets["http://near2"].got == CHART


def test_a_bundle_of_another_app_is_refused_at_once(tmp_path: Path) -> None:
    house = House(tmp_path, Cloudlet(1))
    other = Bundle(UUID(int=5), BUNDLE.name, b"{}", {}, {})
    with pytest.raises(RequestError, match="bundle: is for the app 00000000-0000-0000-0000-000000000005"):
        house.deploy(other)
