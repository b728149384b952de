"""Changing an app's way while it is in use, with real tunnels."""

from __future__ import annotations

import sys
from pathlib import Path

from device_sdk import Tunnel
from device_sdk.tunnels.wireguard import WireGuardLink
from tests.fakes.device_sdk_cloudlet import PAGE
from tests.lab.needs import TUNNEL, needs
from tests.ports.test_tunnel import fetch, real

READ = """
import time
until = time.monotonic() + 1.5
while time.monotonic() < until:
    with open("/etc/resolv.conf") as file:
        text = file.read()
    assert text.startswith("nameserver ") and "options ndots" in text, repr(text)
"""


@needs(*TUNNEL)
def test_a_way_to_the_same_gateway_takes_the_old_ones_place(tmp_path: Path) -> None:
    with real(tmp_path) as make:
        target, link = make()
        assert isinstance(link, WireGuardLink)
        with Tunnel(target, link) as tunnel:
            tunnel.wait_ready(20)
            before = link.leading
            way = link.renew(target.plan, target.key)
            assert link.leading is way
            assert way is not before
            assert fetch(tunnel, "helloworld") == PAGE
            assert way.received_bytes() > 0


@needs(*TUNNEL)
def test_names_are_never_half_written(tmp_path: Path) -> None:
    with real(tmp_path) as make:
        target, link = make()
        assert isinstance(link, WireGuardLink)
        with Tunnel(target, link) as tunnel:
            reader = tunnel.spawn([sys.executable, "-c", READ])
            while reader.poll() is None:
                link.lead(link.leading)
            assert reader.wait() == 0
