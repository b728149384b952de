"""How busy this machine is, from `/proc`. Made by `membership.py`, asked by `roots.py`; `prometheus.py` and
`on_kubernetes/capacity.py` are the other sources.

A source that fails leaves its values out: absent is not idle.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from edge_agent.wire import Resources

_LOG = logging.getLogger(__name__)

_VIRTUAL = ("lo", "sf-", "veth", "podman", "cni", "docker", "br-", "cali", "flannel", "vxlan")


class Proc:
    """Linux' own counters. Ratios and rates are over the time since the call before; the first has only
    memory.
    """

    def __init__(self, clock: Callable[[], float], root: Path = Path("/proc")) -> None:
        self._clock = clock
        self._root = root
        self._before: dict[str, tuple[float, float]] = {}

    def beside(self, cluster: Callable[[], Resources]) -> Resources:
        """What the `cluster` says of its nodes, and the rates of the network here: through this gateway goes
        whatever its devices send and receive.
        """
        rates = {name: value for name, value in self.measure().values.items() if name.startswith("net_")}
        return Resources({**rates, **cluster().values})

    def measure(self) -> Resources:
        """Read the counters and set them against the last ones."""
        measured: dict[str, float] = {}
        for read in (self._cpu, self._memory, self._network):
            try:
                measured |= read()
            except (OSError, ValueError, LookupError) as error:
                _LOG.warning("a counter can't be read", extra={"reason": repr(error)})
        return Resources.of(measured)

    def _cpu(self) -> dict[str, float]:
        line = (self._root / "stat").read_text().splitlines()[0]
        ticks = [int(word) for word in line.split()[1:9]]
        idle = ticks[3] + ticks[4]
        busy = self._rate("cpu", sum(ticks) - idle, over=sum(ticks))
        return {} if busy is None else {"cpu_ratio": busy}

    def _memory(self) -> dict[str, float]:
        lines = (line.split() for line in (self._root / "meminfo").read_text().splitlines())
        sizes = {words[0]: int(words[1]) for words in lines if len(words) > 1}
        return {"mem_ratio": 1 - sizes["MemAvailable:"] / sizes["MemTotal:"]}

    def _network(self) -> dict[str, float]:
        received = sent = 0
        lines = (self._root / "net" / "dev").read_text().splitlines()[2:]
        if not lines:
            raise ValueError("no interfaces are listed")
        for line in lines:
            name, _, counters = line.partition(":")
            if not name.strip().startswith(_VIRTUAL):
                received += int(counters.split()[0])
                sent += int(counters.split()[8])
        rates = {"net_rx_rate": self._rate("rx", received), "net_tx_rate": self._rate("tx", sent)}
        return {name: rate for name, rate in rates.items() if rate is not None}

    def _rate(self, name: str, value: float, over: float | None = None) -> float | None:
        """The counter's growth per unit of `over` (the clock, unless given); None without a past or after a
        reset.
        """
        at = self._clock() if over is None else over
        before = self._before.get(name)
        self._before[name] = (value, at)
        if before is None or value < before[0] or at <= before[1]:
            return None
        return (value - before[0]) / (at - before[1])
