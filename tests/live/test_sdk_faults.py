"""`sinfonia run` where the device lacks something, changes its network, or stands still for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab.machine import poll
from tests.lab.needs import TUNNEL, needs
from tests.rounds_sdk import Device

live = needs(*TUNNEL, "curl")
FETCH = "while :; do curl -sS -m 2 http://helloworld/; sleep 0.1; done"


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    with ExitStack() as stack:
        yield Device(stack, tmp_path)


def pages(device: Device) -> int:
    return device.log.read_text(errors="replace").count("Hello")


def more_come(device: Device, timeout: float = 40.0) -> bool:
    """Whether the app gets further pages."""
    before = pages(device)
    return poll(lambda: pages(device) >= before + 3, timeout)


@live
@pytest.mark.parametrize("root", [True, False], ids=["root", "user"])
def test_without_the_tun_device_it_says_what_to_do(device: Device, root: bool) -> None:
    device.machine.run("sh", "-c", "umount /dev/net/tun; mount -t tmpfs -o mode=755 none /dev/net")
    program = device.start(root=root, app="true")
    assert program.wait() == 114
    said = device.log.read_text()
    assert "There is no /dev/net/tun" in said
    assert "modprobe tun" in said
    assert "Traceback" not in said


@live
def test_the_network_may_change_under_a_tunnel(device: Device) -> None:
    device.start(root=False, app=FETCH)
    assert more_come(device), device.log.read_text()
    device.machine.run("ip", "address", "del", "198.51.100.50/24", "dev", "eth0")
    device.machine.run("ip", "address", "add", "198.51.100.51/24", "dev", "eth0")
    assert more_come(device), "another address"
    device.lan.detach(device.machine)
    poll(lambda: False, 1.0)
    device.lan.attach(device.machine, "198.51.100.52")
    assert more_come(device), "another interface, after a while without any"


@live
def test_a_device_that_stood_still_goes_on(device: Device) -> None:
    program = device.start(root=False, app=FETCH)
    assert more_come(device), device.log.read_text()
    device.do("STOP", "")
    poll(lambda: False, 3.0)
    stopped = pages(device)
    poll(lambda: False, 0.5)
    assert pages(device) == stopped
    device.do("CONT", "")
    program.go_on()
    assert more_come(device)
    assert program.poll() is None
