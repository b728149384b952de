"""What a deploy decision costs the root: CPU time, read units and queries, by the number of cloudlets.

A decision is everything but asking the agents: routing, recipe, neighbourhood, matchers. Cloudlets are
clumped as cities are, devices are where cloudlets are, and one in ten anywhere. Each device asks twice: first
of a root with empty caches, then (`warm_`) of the same root within two seconds. Sizes above 10,000 are
measured only when `--max` allows them, because loading takes minutes. Memory is measured after a thousand
decisions more, by one root that forgets nothing of its own accord.
"""

import random
import statistics
import uuid
from collections.abc import Iterator
from pathlib import Path

from chalicelib.fleet.cloudlets import Cloudlet, row_key
from chalicelib.fleet.geo import Location

from tests.benchmarks.bulk import load
from tests.benchmarks.figures import Figures
from tests.benchmarks.root import APP, READS, Bench, bench

SIZES = (100, 1000, 10_000, 100_000, 1_000_000)
SHORT = 10_000  # the largest size where none is asked for
# The published Sinfonia, which looks at every cloudlet.
PUBLISHED_CPU_MS = {100: 36.0, 1000: 210.0, 10_000: 2000.0, 100_000: 21_000.0, 1_000_000: 318_000.0}
MOST_RSS_MB = "at most 256, the project's own bound"
DECISIONS = 200
WARM_UP = 20
WARMING = 1000  # 40,000 rows: more than a root remembers
NOW = 2_000_000_000
# Large cities: latitude, longitude, inhabitants in millions (rough).
CITIES = [
    (35.7, 139.7, 37),
    (28.6, 77.2, 33),
    (31.2, 121.5, 29),
    (-23.6, -46.6, 23),
    (19.4, -99.1, 22),
    (30.0, 31.2, 22),
    (19.1, 72.9, 21),
    (40.7, -74.0, 19),
    (51.5, -0.1, 14),
    (48.9, 2.4, 11),
    (34.1, -118.2, 12),
    (6.5, 3.4, 16),
    (55.8, 37.6, 12),
    (1.3, 103.8, 6),
    (-33.9, 151.2, 5),
    (40.4, -80.0, 2),
    (52.5, 13.4, 4),
    (59.3, 18.1, 2),
    (-26.2, 28.0, 6),
    (64.1, -21.9, 0.2),
]


def place(chance: random.Random) -> Location:
    """Where a cloudlet is: mostly in a city, more often in a larger one, denser towards its middle."""
    latitude, longitude, _ = chance.choices(CITIES, [city[2] for city in CITIES])[0]
    spread = chance.choice([0.02, 0.1, 0.5])
    return Location(latitude + chance.gauss(0, spread), longitude + chance.gauss(0, spread))


def cloudlets(count: int, chance: random.Random) -> Iterator[Cloudlet]:
    """So many living rows."""
    for _ in range(count):
        name, location = uuid.UUID(int=chance.getrandbits(128)), place(chance)
        yield Cloudlet(
            key=row_key(name, location),
            uuid=name,
            endpoint=f"https://cloudlet-{name}.example.org/api/v1/deploy",
            incarnation=1_795_523_890_123,
            sequence=chance.randrange(1000),
            last_keepalive=NOW,
            expires_at=NOW,
            name=f"cloudlet {name}",
            location=location,
            resources={
                "cpu_ratio": round(chance.random(), 4),
                "mem_ratio": round(chance.random(), 4),
                "net_rx_rate": float(chance.randrange(10**8)),
                "net_tx_rate": float(chance.randrange(10**8)),
            },
        )


def device(chance: random.Random) -> Location:
    """Where a device is: mostly where cloudlets are, one in ten anywhere."""
    if chance.random() < 0.9:
        return place(chance)
    return Location(chance.uniform(-60, 70), chance.uniform(-180, 180))


def ask(root: Bench, where: Location) -> float:
    """CPU milliseconds of a decision."""
    answer, cpu_ms = root.call(
        "GET",
        "/api/v1/candidates/{app_uuid}",
        {"app_uuid": APP},
        X_Location=f"{where.latitude},{where.longitude}",
    )
    if answer["statusCode"] != 200:
        raise RuntimeError(f"no decision: {answer['body']}")
    return cpu_ms


def decide(root: Bench, chance: random.Random) -> dict[str, float]:
    """CPU milliseconds, read units and queries of one decision, and of the same again."""
    where = device(chance)
    root.forget()
    costs: dict[str, float] = {}
    for temperature in ("", "warm_"):
        root.spent()
        costs[f"{temperature}cpu_ms"] = ask(root, where)
        costs[f"{temperature}queries"] = root.made(*READS)
        costs[f"{temperature}read_units"] = root.spent(*READS)
    return costs


def rss_mb() -> float:
    """Resident memory of this process, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmRSS:"))


def run(max_size: int | None) -> Figures:
    """Sizes beyond `max_size` (10,000 by default) are left out. One table grows from size to size."""
    figures: dict[str, float] = {}
    sizes = [size for size in SIZES if size <= (max_size or SHORT)]
    with bench() as root:
        present = 0
        for size in sizes:
            load(root.url, root.table_name, cloudlets, size - present, seed=size)
            present = size
            chance = random.Random(size)
            measured = [decide(root, chance) for _ in range(WARM_UP + DECISIONS)][WARM_UP:]
            for cost in measured[0]:
                figures[f"{cost}_{size}"] = round(statistics.mean(each[cost] for each in measured), 3)
        for size in sizes[-1:]:
            chance = random.Random(0)
            for _ in range(WARMING):  # until the caches are as full as they get
                ask(root, device(chance))
            figures[f"rss_mb_{size}"] = round(rss_mb(), 1)
    return Figures(
        "decision",
        figures,
        {key: _unit(key) for key in figures},
        {key: _compared(key) for key in figures if "queries" not in key},
    )


def _unit(key: str) -> str:
    kind = key.removeprefix("warm_").rpartition("_")[0]
    return {"cpu_ms": "ms of CPU", "read_units": "read units", "queries": "queries", "rss_mb": "MB"}[kind]


def _compared(key: str) -> float | str:
    if key.startswith("rss_mb"):
        return MOST_RSS_MB
    if "cpu_ms" in key:
        return PUBLISHED_CPU_MS[int(key.rpartition("_")[2])]
    return "none: the published Sinfonia has a list in memory"
