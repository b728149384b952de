"""What trying a target told, and what was chosen: for people, programs and JSON. Made by `choose.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

from device_sdk.background import Pending
from device_sdk.choosing.surplus import Surplus
from device_sdk.fields import without_none
from device_sdk.target import Target
from device_sdk.tunnels.tunnel import Tunnel

Method = Literal["probe", "connect", "handshake", "custom", "none"]


@dataclass(frozen=True)
class Measured:
    """How one target did.

    `rtt_ms` is the least of several round trips through its tunnel, `jitter_ms` how far their median lies
    above that, `throughput_mbps` the slower direction in megabits a second; `cost` is what the app's own test
    returned. `method` says what answered: the gateway's probe, a TCP connection, WireGuard's handshake alone,
    the app's own test, or nothing was tried. `remembered_ms` is the round trip of last time. `error`: why
    there is no figure.
    """

    target: Target
    method: Method = "none"
    rtt_ms: float | None = None
    jitter_ms: float | None = None
    throughput_mbps: float | None = None
    cost: float | None = None
    remembered_ms: float | None = None
    error: str | None = None

    @property
    def usable(self) -> bool:
        """Whether its tunnel works, as far as is known."""
        return self.error is None or self.method == "handshake"

    def to_json(self) -> dict[str, Any]:
        """What is known of it; `Cloudlet` is its name for people."""
        cloudlet = self.target.cloudlet
        figures = {
            name: None if value is None else round(value, 3)
            for name, value in (
                ("rtt_ms", self.rtt_ms),
                ("jitter_ms", self.jitter_ms),
                ("throughput_mbps", self.throughput_mbps),
                ("cost", self.cost),
                ("remembered_ms", self.remembered_ms),
            )
        }
        uuid = str(cloudlet.uuid) if cloudlet else None
        who = {"Cloudlet": self.target.place, "CloudletUUID": uuid, "Method": self.method}
        return without_none({**who, **figures, "Error": self.error})

    def __str__(self) -> str:
        if self.error is not None:
            return f"{self.target.place}: {self.error}"
        if self.cost is not None:
            return f"{self.target.place}: cost {self.cost:g}"
        if self.rtt_ms is None:
            return f"{self.target.place}: not measured"
        speed = f", {self.throughput_mbps:.0f} Mbit/s" if self.throughput_mbps is not None else ""
        return f"{self.target.place}: {self.rtt_ms:.1f} ms{speed}"


@dataclass(frozen=True)
class Chosen:
    """The chosen target with its open tunnel, and how all of them did, the best first.

    `way` is the chosen one among those of its sandbox. The others, the `surplus`, are given back in the
    background. A context manager, which closes the tunnel.
    """

    tunnel: Tunnel
    target: Target
    measured: tuple[Measured, ...]
    way: Any = field(repr=False, compare=False)
    surplus: Surplus = field(default=Surplus(), repr=False, compare=False)
    _ends: Sequence[Pending[Any]] = field(default=(), repr=False, compare=False)

    def wait_released(self, timeout: float) -> bool:
        """Wait until the others were given back, or could not be, at most `timeout` seconds for each, and for
        the root, which hears of it last.
        """
        try:
            for end in self._ends:
                end.result(timeout)
        except TimeoutError:
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.tunnel.close()

    def to_json(self) -> dict[str, Any]:
        """The chosen cloudlet's name, and each one's figures."""
        return {"Chosen": self.target.place, "Measured": [one.to_json() for one in self.measured]}
