"""A device and a cloudlet at home, by their real API: paired by a code, then known to each other."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from werkzeug.test import Client

from device_sdk import HELLOWORLD, NoCloudletError, RequestError, SinfoniaError, deploy_backend
from device_sdk.calls.call import Parts
from device_sdk.calls.caller import Caller
from device_sdk.calls.deploy import find_deployments
from device_sdk.calls.st1 import Server
from device_sdk.errors import TrustError
from device_sdk.nearby.discovery import Nearby
from device_sdk.nearby.identity import device_identity
from device_sdk.nearby.paired import forget, paired_cloudlets, seal_for
from device_sdk.nearby.pairing import PairingParts, pair, pin
from device_sdk.nearby.pairing_wire import PairingDone
from device_sdk.wire import Health
from edge_agent.serving.signatures import PublicKey
from tests.fakes.edge_agent_nearby import Home
from tests.lab.web import serving

ROOT = "http://127.0.0.1:9"


class House:
    """What is found in the house, by URL, and a device there."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "device"
        self.found: list[Nearby] = []

    def discover(self) -> list[Nearby]:
        return self.found

    def meet(self, url: str, uuid: UUID | None = None) -> Nearby:
        """Find what is served at a URL, perhaps claiming to be another."""
        health = Server(url).health(5)
        one = Nearby(url, health if uuid is None else Health(uuid, health.name, health.nearby))
        self.found.append(one)
        return one

    def pair(self, where: str, code: str, **options: Any) -> Any:
        return pair(where, code, parts=PairingParts(self.state, discover=self.discover), **options)

    def deploy(self, **options: Any) -> list[str]:
        parts = Parts(self.state, discover=self.discover)
        options = {"jit": "only", "parts": parts, "timeout": 10, **options}
        return [target.place for target in deploy_backend(ROOT, HELLOWORLD, **options)]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@contextlib.contextmanager
def at_home(folder: Path, *arguments: Any, **options: Any) -> Iterator[tuple[Home, str]]:
    home = Home(folder, *arguments, **{"now": time.time, **options})
    with serving(home.api) as url:
        yield home, url


def test_paired_by_a_code_the_device_is_served_and_strangers_are_not(house: House, tmp_path: Path) -> None:
    with at_home(tmp_path / "home") as (home, url):
        house.meet(url)
        with pytest.raises(SinfoniaError):
            house.deploy()
        digits = home.code().digits
        paired = house.pair("pittsburgh-1", f"{digits[:3]} {digits[3:]}", name="laptop")
        assert (paired.uuid, paired.name, paired.key) == (home.uuid, "pittsburgh-1", home.key.raw)
        assert [device.name for device in home.devices.all()] == ["laptop"]
        assert house.deploy() == ["pittsburgh-1"]
        parts = Parts(house.state, discover=house.discover)
        assert len(find_deployments(ROOT, HELLOWORLD, jit="only", parts=parts, timeout=10)) == 1
        stranger = House(tmp_path / "stranger")
        stranger.found = house.found
        with pytest.raises(SinfoniaError):
            stranger.deploy()


def test_a_wrong_code_pairs_nobody(house: House, tmp_path: Path) -> None:
    with at_home(tmp_path / "home") as (home, url):
        wrong = f"{(int(home.code().digits) + 1) % 10**6:06}"
        with pytest.raises(RequestError, match="2 more attempts"):
            house.pair(url, wrong)
        with pytest.raises(RequestError, match="six digits"):
            house.pair(url, "12345")
        with pytest.raises(NoCloudletError, match="nearby"):
            house.pair("nobody", wrong)
        assert (paired_cloudlets(house.state), home.devices.all()) == ({}, [])


def test_who_answers_without_knowing_the_code_is_not_believed(house: House, tmp_path: Path) -> None:
    """An impostor that takes any code: its last word can't be right."""
    with at_home(tmp_path / "home") as (home, url):
        server, code = Server(url), home.code().digits

        class Impostor:
            def health(self, timeout: float) -> Health:
                return server.health(timeout)

            def begin_pairing(self, message: bytes, timeout: float) -> Any:
                return server.begin_pairing(message, timeout)

            def finish_pairing(self, *_: Any) -> Any:
                return PairingDone(bytes(32))

        parts = PairingParts(house.state, lambda _url: Impostor())
        with pytest.raises(TrustError, match="does not know the code"):
            pair(url, code, parts=parts)
        assert paired_cloudlets(house.state) == {}


def test_an_impostor_is_refused_and_the_real_one_is_asked(house: House, tmp_path: Path) -> None:
    false = Home(tmp_path / "false", "open")

    def deaf_to_signatures(environ: Any, start: Any) -> Any:
        """It takes any call, and can't sign for the one whose UUID it announces."""
        return false.api({name: value for name, value in environ.items() if "SIGNATURE" not in name}, start)

    with at_home(tmp_path / "home") as (home, url), serving(deaf_to_signatures) as other:
        house.pair(url, home.code().digits)
        house.meet(other, home.uuid)
        with pytest.raises(TrustError, match="not the cloudlet"):
            house.deploy()
        house.meet(url)
        assert house.deploy() == ["pittsburgh-1"]
        assert forget(house.state, str(home.uuid))[0].uuid == home.uuid
        assert paired_cloudlets(house.state) == {}


def test_paired_ones_come_first_and_may_be_the_only_ones(house: House, tmp_path: Path) -> None:
    with (
        at_home(tmp_path / "home", "open") as (home, url),
        at_home(tmp_path / "cafe", "open") as (cafe, other),
    ):
        house.meet(other)
        assert house.deploy(jit_trust="open") == ["pittsburgh-1"]
        assert cafe.parts.deployments.count() == 1
        with pytest.raises(SinfoniaError):
            house.deploy(jit_trust="paired")
        house.pair(url, home.code().digits)
        house.meet(url)
        house.deploy()
        assert (home.parts.deployments.count(), cafe.parts.deployments.count()) == (1, 1)


@pytest.mark.parametrize("hours", [-30, 30])
def test_hours_between_the_clocks_change_nothing(house: House, tmp_path: Path, hours: float) -> None:
    """A box without a battery and without Internet does not know what time it is."""
    now = lambda: time.time() + hours * 3600  # noqa: E731

    def api(environ: Any, start: Any) -> Any:
        def dated(status: str, headers: Any, *more: Any) -> Any:
            return start(status, [*headers, ("Date", formatdate(now(), usegmt=True))], *more)

        return home.api(environ, dated)

    home = Home(tmp_path / "home", now=now)
    with serving(api) as url:
        house.meet(url)
        house.pair(url, home.code().digits)
        assert house.deploy() == ["pittsburgh-1"]


def test_a_device_that_was_forgotten_is_told_to_pair_again(house: House, tmp_path: Path) -> None:
    with at_home(tmp_path / "home") as (home, url):
        house.meet(url)
        house.pair(url, home.code().digits, name="laptop")
        home.devices.forget("laptop")
        with pytest.raises(TrustError, match="pair again"):
            house.deploy()


def test_listed_keys_on_one_side_and_a_pinned_key_on_the_other(house: House, tmp_path: Path) -> None:
    own = PublicKey(device_identity(house.state).public)
    with at_home(tmp_path / "home", "keys", [own]) as (home, url):
        parts = PairingParts(house.state, discover=house.discover)
        with pytest.raises(TrustError, match="another key"):
            pin(url, own.text, parts=parts)
        assert pin(url, home.key.text, parts=parts).uuid == home.uuid
        house.meet(url)
        assert house.deploy() == ["pittsburgh-1"]
        with pytest.raises(RequestError):
            house.pair(url, home.code().digits)


def test_a_signed_call_is_good_once_and_its_answer_for_no_other(house: House, tmp_path: Path) -> None:
    with at_home(tmp_path / "home") as (home, url):
        paired = house.pair(url, home.code().digits)
        seal = seal_for(house.state, paired)
        path = f"/api/v1/deploy/{HELLOWORLD}/HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw"
        calls = [seal.call("POST", path, "wait=0", b"{}") for _ in range(2)]
        assert all(calls)
        answers = [
            Client(home.api).post(f"{path}?wait=0", data=b"{}", headers=call.headers)
            for call in calls
            if call
        ]
        again = Client(home.api).post(
            f"{path}?wait=0", data=b"{}", headers=calls[0].headers if calls[0] else {}
        )
        assert [one.status_code for one in [*answers, again]] == [200, 200, 401]
        assert calls[0] is not None
        calls[0].check(200, answers[0].headers, answers[0].data)
        for status, answer, body in (
            (200, answers[1], answers[1].data),
            (201, answers[0], answers[0].data),
            (200, answers[0], answers[0].data + b" "),
            (200, again, again.data),
        ):
            with pytest.raises(TrustError):
                calls[0].check(status, answer.headers, body)
        released = seal.call("DELETE", path, "", b"")
        assert released is not None
        assert Client(home.api).delete(path, headers=released.headers).status_code == 401
        assert json.loads(answers[0].data)[0]["Cloudlet"]["UUID"] == str(home.uuid)
        assert Server(url, Caller(None, seal=seal), "cloudlet nearby").health(5).nearby == "pairing"
