"""A device with slow paths of its own to stand-in cloudlets: for tests and figures of choosing.

The cloudlets are `tests.fakes.device_sdk_cloudlet`: real WireGuard, and gateways that serve probes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from device_sdk.calls.call import Parts
from device_sdk.calls.deploy import deploy_backend
from device_sdk.target import Target
from tests.lab.machine import Machine, Program, inside, poll
from tests.lab.slow_path import Path as SlowPath
from tests.lab.slow_path import Quality

PARTS = ("root", "tun", "wg", "wireguard-go", "ip", "nsenter", "setpriv", "catatonit")
PORT = 7070


class Apart:
    """`count` cloudlets, each at the end of one of `paths` from `device`."""

    def __init__(self, stack: ExitStack, folder: Path, count: int) -> None:
        self.folder = folder
        self.device = stack.enter_context(Machine("device"))
        self.machines: list[Machine] = []
        self.paths: list[SlowPath] = []
        self.programs: list[Program] = []
        self.logs: list[Path] = []
        for number in range(count):
            machine = stack.enter_context(Machine(f"cloudlet{number}"))
            ends = (f"198.51.100.{4 * number + 1}", self._address(number))
            self.machines.append(machine)
            self.paths.append(stack.enter_context(SlowPath(self.device, machine, ends, f"far{number}")))
            log = folder / f"cloudlet{number}.log"
            command = [sys.executable, "-m", "tests.fakes.device_sdk_cloudlet", self._address(number)]
            self.programs.append(machine.popen(command, log=log))
            self.logs.append(log)
        for log in self.logs:
            if not poll(lambda: "serving" in log.read_text(), 30):  # noqa: B023 - asked at once
                raise AssertionError(log.read_text())

    def be(self, qualities: Sequence[Quality]) -> None:
        """Make the paths as they are given."""
        for path, quality in zip(self.paths, qualities, strict=True):
            path.be(quality)

    def targets(self) -> list[Target]:
        """A target on each, asked for directly; in the device's network."""
        with inside(self.device):
            return [self._target(number) for number in range(len(self.machines))]

    def _target(self, number: int) -> Target:
        url = f"http://{self._address(number)}:{PORT}"
        (target,) = deploy_backend(url, "helloworld", jit="off", parts=Parts(self.folder / "state"))
        cloudlet = target.deployment.cloudlet
        assert cloudlet is not None
        named = replace(target.deployment, cloudlet=replace(cloudlet, name=f"cloudlet{number}"))
        return replace(target, deployment=named, measured=None)

    @staticmethod
    def _address(number: int) -> str:
        return f"198.51.100.{4 * number + 2}"
