"""A path between two machines with delay, jitter, loss and a rate, which can be changed while it is used.

The kernels that tests run on have no netem, so the path is two TAP devices and this program, which carries
frames from one to the other when they are due. `Path` starts it; it ends with the test, or with its input.
"""

from __future__ import annotations

import fcntl
import heapq
import itertools
import json
import os
import random
import select
import struct
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Self

from tests.lab.machine import Machine, inside

_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 0x0002, 0x1000  # <linux/if_tun.h>
_FRAME_BYTES = 2048
_QUEUE_SECONDS = 0.5  # what a rate delays more than that is lost, as in a router


@dataclass(frozen=True)
class Quality:
    """Of both directions: `delay_ms` is one way, `jitter_ms` the deviation of it, `loss` a share."""

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    loss: float = 0.0
    mbps: float | None = None


class Path:
    """A path from `one` to `other`, who are `addresses` on it."""

    def __init__(
        self, one: Machine, other: Machine, addresses: tuple[str, str], interface: str, prefix: int = 30
    ) -> None:
        ends = [_tap(machine, interface) for machine in (one, other)]
        try:
            self._program = subprocess.Popen(
                [
                    "setpriv",
                    "--pdeathsig",
                    "KILL",
                    sys.executable,
                    "-m",
                    "tests.lab.slow_path",
                    *map(str, ends),
                ],
                stdin=subprocess.PIPE,
                pass_fds=ends,
            )
        finally:
            for end in ends:
                os.close(end)
        for machine, address in zip((one, other), addresses, strict=True):
            machine.run("ip", "addr", "add", f"{address}/{prefix}", "dev", interface)
            machine.run("ip", "link", "set", interface, "up")

    def be(self, quality: Quality) -> None:
        """Have it from now on; what is under way keeps its time."""
        assert self._program.stdin is not None
        self._program.stdin.write(json.dumps(asdict(quality)).encode() + b"\n")
        self._program.stdin.flush()

    def close(self) -> None:
        """Cut the path; its interfaces go with it."""
        assert self._program.stdin is not None
        self._program.stdin.close()
        self._program.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _tap(machine: Machine, interface: str) -> int:
    with inside(machine):
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", interface.encode(), _IFF_TAP | _IFF_NO_PI))
    return descriptor


class _Carrier:
    """The frames that are under way between the descriptors `ends`."""

    def __init__(self, ends: tuple[int, int], chance: random.Random) -> None:
        self._to = {ends[0]: ends[1], ends[1]: ends[0]}
        self._chance = chance
        self._quality = Quality()
        self._free = dict.fromkeys(ends, 0.0)  # when each direction's rate has a place for the next frame
        self._last = dict.fromkeys(ends, 0.0)  # nothing overtakes
        self._due: list[tuple[float, int, int, bytes]] = []
        self._count = itertools.count()

    def serve(self) -> None:
        """Until the input ends."""
        while True:
            wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
            ready, _, _ = select.select([*self._to, 0], [], [], wait)
            if 0 in ready:
                line = sys.stdin.buffer.readline()
                if not line:
                    return
                self._quality = Quality(**json.loads(line))
            for end in self._to:
                if end in ready:
                    self._take(end)
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                _, _, end, frame = heapq.heappop(self._due)
                try:
                    os.write(end, frame)
                except OSError:
                    continue  # the interface is down

    def _take(self, end: int) -> None:
        quality = self._quality
        try:
            frame = os.read(end, _FRAME_BYTES)
        except OSError:
            return
        now = time.monotonic()
        sent = max(now, self._free[end])
        if quality.mbps is not None:
            sent += len(frame) * 8 / quality.mbps / 1e6
        if sent - now > _QUEUE_SECONDS or self._chance.random() < quality.loss:
            return
        self._free[end] = sent
        delay = max(0.0, self._chance.gauss(quality.delay_ms, quality.jitter_ms)) / 1000
        self._last[end] = due = max(sent + delay, self._last[end])
        heapq.heappush(self._due, (due, next(self._count), self._to[end], frame))


if __name__ == "__main__":
    _Carrier((int(sys.argv[1]), int(sys.argv[2])), random.Random(1)).serve()
