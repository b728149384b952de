"""How long a request would take on a cloudlet: what the built-in matchers sort by.

Called by `matchers.py`, and by `deploying/` to tell whether a cloudlet that was chosen earlier still is good.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import sqrt
from uuid import UUID

from chalicelib.choosing.matching import ClientInfo, client_distance_km
from chalicelib.choosing.reach import ACCESS_MS, LINK_MBPS, Measured, Reach
from chalicelib.fleet.cloudlets import Cloudlet

# Light in fibre needs 1 ms for 100 km there and back; real paths are about twice as long as great circles
# (Bozkurt et al., PAM 2017).
_MS_PER_KM = 0.02
_UNKNOWN_KM = 2000.0  # neither near nor the other side of the world
_CPU_SERVICE_MS = 10.0  # a frame of an interactive app
_FRAME_MBIT = 0.8  # 100 kB
_BYTES_PER_MBIT = 125000.0
_SLOWEST_MBPS = 0.1
_UNKNOWN_USE = 0.5
_HIGHEST_USE = 0.98
_MEMORY_PRESSURE_FROM = 0.8  # above, pages are reclaimed and backends may not fit
_MEMORY_FULL_MS = 100.0


def expected_ms(client: ClientInfo, cloudlet: Cloudlet) -> float:
    """An estimate of a request's time: the way there and back, and queueing for what the backend needs.

    Rough on purpose: it has to rank a near busy cloudlet against a far idle one, not to be right.
    """
    use = cloudlet.resources
    cores = cloudlet.hardware.cores or 1
    memory = use.get("mem_ratio", _UNKNOWN_USE)
    return (
        _round_trip_ms(client, cloudlet)
        + _CPU_SERVICE_MS * _queue(use.get("cpu_ratio", _UNKNOWN_USE), cores)
        + _CPU_SERVICE_MS * _queue(use.get("gpu_ratio", 0.0) / 100)
        + _transfer_ms(client, cloudlet)
        + _MEMORY_FULL_MS * max(0.0, memory - _MEMORY_PRESSURE_FROM) / (1 - _MEMORY_PRESSURE_FROM)
    )


def reach_of(client: ClientInfo, measured: Mapping[UUID, Measured], cloudlets: Sequence[Cloudlet]) -> Reach:
    """What measurements from the client's network say, and by way of these cloudlets about the network.

    The least that any measured way took beyond its distance is the network's own share; the best throughput
    is what it can do. Both favour what was not measured yet, so that it is tried.
    """
    here = {each.uuid: each for each in cloudlets if each.uuid in measured}
    if not here:
        return Reach(measured)
    km = {uuid: client_distance_km(client, each) for uuid, each in here.items()}
    beyond = [measured[uuid].rtt_ms - _MS_PER_KM * far for uuid, far in km.items() if far is not None]
    rates = [rate for uuid in here if (rate := measured[uuid].throughput_mbps) is not None]
    return Reach(
        measured,
        max(ACCESS_MS, min(beyond, default=ACCESS_MS)),
        min(LINK_MBPS, max(rates, default=LINK_MBPS)),
    )


def with_reach(
    client: ClientInfo, measured: Mapping[UUID, Measured], cloudlets: Sequence[Cloudlet]
) -> ClientInfo:
    """The client, with what was measured from its network."""
    return replace(client, reach=reach_of(client, measured, cloudlets)) if measured else client


def _round_trip_ms(client: ClientInfo, cloudlet: Cloudlet) -> float:
    measured = client.reach.measured.get(cloudlet.uuid)
    if measured is not None:
        return measured.rtt_ms
    km = client_distance_km(client, cloudlet)
    return client.reach.access_ms + _MS_PER_KM * (_UNKNOWN_KM if km is None else km)


def _transfer_ms(client: ClientInfo, cloudlet: Cloudlet) -> float:
    """In one way, out the other: sending a frame over the slowest link, and queueing at the cloudlet's."""
    measured = client.reach.measured.get(cloudlet.uuid)
    known = None if measured is None else measured.throughput_mbps
    mbps = max(client.reach.link_mbps if known is None else known, _SLOWEST_MBPS)
    queues = sum(
        _queue(cloudlet.resources.get(rate, 0.0) / (LINK_MBPS * _BYTES_PER_MBIT))
        for rate in ("net_rx_rate", "net_tx_rate")
    )
    return _FRAME_MBIT * 1000 * (1 / mbps + queues / LINK_MBPS)


def _queue(use: float, servers: int = 1) -> float:
    """How many service times a job waits where so much is used (M/M/c, Sakasegawa's approximation)."""
    use = min(use, _HIGHEST_USE)
    return float(use ** (sqrt(2 * (servers + 1)) - 1)) / (servers * (1 - use))
