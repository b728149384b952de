"""One suite for ways side by side in a sandbox: the fake, and real tunnels to two cloudlets."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from device_sdk import Target, TunnelError
from device_sdk.choosing.side_by_side import Ways
from device_sdk.tunnels.wireguard import WireGuardLink
from tests.fakes.device_sdk_cloudlet import GATEWAY
from tests.fakes.device_sdk_ways import FakeGateway, FakeWays, target
from tests.lab.apart import PARTS, Apart
from tests.lab.machine import inside, poll
from tests.lab.needs import param

Connect = Callable[[tuple[str, int], float], Any]


@contextlib.contextmanager
def fake(_folder: Path) -> Iterator[tuple[Target, Target, Ways]]:
    gateways = {number: FakeGateway(number=number) for number in (1, 2)}
    first, second = target("one", 1), target("two", 2)
    try:
        yield first, second, FakeWays(gateways).opener()(first.plan, first.key)
    finally:
        for gateway in gateways.values():
            gateway.close()


@contextlib.contextmanager
def real(folder: Path) -> Iterator[tuple[Target, Target, Ways]]:
    with contextlib.ExitStack() as stack:
        apart = Apart(stack, folder, 2)
        first, second = apart.targets()
        stack.enter_context(inside(apart.device))
        link = WireGuardLink(first.plan, first.key)
        stack.callback(link.close)
        yield first, second, link


@pytest.fixture(params=[pytest.param(fake, id="fake"), param(real, *PARTS, id="real")])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Target, Target, Ways]]:
    with request.param(tmp_path) as made:
        yield made


def whose(connect: Connect) -> str:
    """The key of the gateway that answers there."""
    connection = http.client.HTTPConnection(GATEWAY, timeout=20)
    connection.sock = connect((GATEWAY, 80), 20)
    try:
        connection.request("GET", "/api/v1/deployment")
        answer = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    key: str = answer["TunnelConfig"]["publicKey"]
    return key


def key_of(one: Target) -> str:
    key: str = one.to_json()["TunnelConfig"]["publicKey"]
    return key


def test_each_way_leads_to_its_own_gateway_and_the_app_takes_the_one_that_leads(place: Any) -> None:
    first, second, ways = place
    before = ways.leading
    beside = ways.stand_by(second.plan, second.key)
    assert whose(beside.connect) == key_of(second)
    assert whose(ways.connect) == whose(before.connect) == key_of(first)
    assert ways.lead(beside) is before
    assert ways.leading is beside
    assert whose(ways.connect) == key_of(second)
    assert whose(before.connect) == key_of(first)


def test_gateways_prove_who_they_are_also_when_greeted_again(place: Any) -> None:
    _, second, ways = place
    beside = ways.stand_by(second.plan, second.key)
    assert poll(lambda: beside.handshake_seconds_ago() is not None, 20)
    beside.greet_again()
    assert poll(lambda: beside.handshake_seconds_ago() is not None, 20)
    assert whose(beside.connect) == key_of(second)


def test_what_is_dropped_is_gone_and_what_leads_can_not_be(place: Any) -> None:
    first, second, ways = place
    beside = ways.stand_by(second.plan, second.key)
    ways.drop(ways.leading)
    ways.drop(beside)
    ways.drop(beside)
    with pytest.raises((OSError, TunnelError)):
        beside.connect((GATEWAY, 80), 5)
    assert whose(ways.connect) == key_of(first)
    assert whose(ways.stand_by(second.plan, second.key).connect) == key_of(second)


def test_a_closed_sandbox_has_no_ways(place: Any) -> None:
    _, second, ways = place
    ways.close()
    ways.close()
    with pytest.raises(TunnelError):
        ways.stand_by(second.plan, second.key)
    with pytest.raises(TunnelError):
        ways.connect((GATEWAY, 80), 5)
