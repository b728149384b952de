"""A device with slow paths of its own to stand-in cloudlets: for tests and figures of choosing, and for
associations.

The cloudlets are `tests.fakes.device_sdk_cloudlet`: real WireGuard, and gateways that serve probes. In the
device, `python -m tests.lab.apart FOLDER COUNT` is a program that stays associated and prints what happens.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from uuid import UUID

from device_sdk import associate
from device_sdk.calls.call import Parts
from device_sdk.calls.caller import Caller
from device_sdk.calls.deploy import deploy_backend
from device_sdk.calls.st1 import Server
from device_sdk.errors import NoCloudletError
from device_sdk.target import Target
from device_sdk.wire import Candidate, Deployment, DeviceContext
from tests.fakes.device_sdk_cloudlet import say
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
            ends = (f"198.51.100.{4 * number + 1}", address_of(number))
            self.machines.append(machine)
            self.paths.append(stack.enter_context(SlowPath(self.device, machine, ends, f"far{number}")))
            log = folder / f"cloudlet{number}.log"
            command = [sys.executable, "-m", "tests.fakes.device_sdk_cloudlet", address_of(number)]
            command += ["--uuid", str(uuid_of(number))]
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
        url = f"http://{address_of(number)}:{PORT}"
        (target,) = deploy_backend(url, "helloworld", jit="off", parts=Parts(self.folder / "state"))
        cloudlet = target.deployment.cloudlet
        assert cloudlet is not None
        named = replace(target.deployment, cloudlet=replace(cloudlet, name=f"cloudlet{number}"))
        return replace(target, deployment=named, measured=None)

    def parts(self) -> Parts:
        """For calls to a root that knows these cloudlets, and names them in their order."""
        return parts_of(self.folder / "state", len(self.machines))


class Order:
    """In the place of a root: asks the cloudlets themselves, in their order."""

    def __init__(self, count: int, caller: Caller) -> None:
        self._servers = {
            uuid_of(number): Server(f"http://{address_of(number)}:{PORT}", caller) for number in range(count)
        }

    def deploy(
        self, app_uuid: UUID, key_segment: str, *, results: int, context: DeviceContext, timeout: float
    ) -> list[Deployment]:
        """A deployment on each of the first that are not to be avoided."""
        asked = [server for uuid, server in self._servers.items() if uuid not in context.avoid][:results]
        if not asked:
            raise NoCloudletError("There is no other cloudlet.")
        told = {"results": 1, "context": context, "timeout": timeout}
        return [server.deploy(app_uuid, key_segment, **told)[0] for server in asked]

    def candidates(
        self, _app_uuid: UUID, *, results: int, context: DeviceContext, timeout: float
    ) -> list[Candidate]:
        """All of them, as far as they are asked for."""
        del context, timeout
        return [Candidate(uuid) for uuid in self._servers][:results]

    def keep(self, app_uuid: UUID, key_segment: str, cloudlet: UUID | None, timeout: float) -> None:
        """It keeps no record."""


def parts_of(state: Path, count: int) -> Parts:
    """For calls to an `Order` of so many cloudlets."""
    return Parts(state, root=lambda _url, caller: Order(count, caller))


def uuid_of(number: int) -> UUID:
    """Who the cloudlet is."""
    return UUID(int=number + 1)


def address_of(number: int) -> str:
    """Where it is."""
    return f"198.51.100.{4 * number + 2}"


def stay_associated(folder: Path, count: int) -> None:
    """Print events until somebody ends it."""
    options = {"jit": "off", "measurements": False, "parts": parts_of(folder / "state", count)}
    with associate("http://root.example", "helloworld", **options) as app:
        events = app.events()
        say(json.dumps({"kind": "connected"}))
        for event in events:
            say(json.dumps(event.to_json()))


if __name__ == "__main__":
    stay_associated(Path(sys.argv[1]), int(sys.argv[2]))
