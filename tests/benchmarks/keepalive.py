"""What one keepalive costs the root: write units, read units, and CPU time through the whole handler.

dynalite counts the units of the table, ministack those of the index as well.
"""

import json
import statistics
import uuid

from tests.benchmarks.figures import Figures
from tests.benchmarks.root import Bench, bench
from tests.lab import engines

CLOUDLETS = 20
KEEPALIVES = 50  # of each
INDEX_KEEPALIVES = 5  # of each, where what is written to the index is counted
WARM_UP = 2  # of each
# The published Sinfonia's whole request, as measured once with its own code: 3 to 4. Its server is in no
# package registry, so it is not run here.
PUBLISHED_CPU_MS = 3.0


def run(max_size: int | None) -> Figures:
    """`max_size` bounds the number of cloudlets; a keepalive's cost does not depend on it."""
    count = min(CLOUDLETS, max_size or CLOUDLETS)
    with bench() as root:
        cpu_ms = _keep_all_alive(root, _register(root, count), KEEPALIVES)
        writes, reads = _units(root, len(cpu_ms))
    return Figures(
        "keepalive",
        {
            "write_units": writes,
            "read_units": reads,
            "index_write_units": _index_write_units(count, writes),
            "cpu_ms": round(statistics.mean(cpu_ms), 3),
            "published_cpu_ms": PUBLISHED_CPU_MS,
        },
        {
            "write_units": "write units",
            "read_units": "read units",
            "index_write_units": "write units of the index",
            "cpu_ms": "ms of CPU",
            "published_cpu_ms": "ms of CPU, not measured now",
        },
        {"write_units": 1, "read_units": 0, "index_write_units": 0, "cpu_ms": PUBLISHED_CPU_MS},
    )


def _index_write_units(count: int, writes: float) -> float:
    """What a keepalive writes to the index: ministack counts it, dynalite does not."""
    if engines.ministack_program() is None:
        raise RuntimeError("ministack is missing: run infra/setup/install --engines")
    with bench(engines.ministack) as root:
        root.spent()
        leases = _register(root, count)
        if root.spent("put_item") < 2 * count:
            raise RuntimeError("ministack does not count writes to the index any more")
        calls = len(_keep_all_alive(root, leases, INDEX_KEEPALIVES))
        return round(_units(root, calls)[0] - writes, 4)


def _units(root: Bench, calls: int) -> tuple[float, float]:
    """Write units and read units of a call."""
    writes = sum(
        count for operation, count in root.units if operation.split("_")[0] in {"put", "update", "delete"}
    )
    reads = sum(count for _, count in root.units) - writes
    return round(writes / calls, 4), round(reads / calls, 4)


def _register(root: Bench, count: int) -> dict[str, str]:
    """Cloudlets and their lease tokens."""
    leases: dict[str, str] = {}
    for number in range(count):
        name = str(uuid.UUID(int=number))
        registration = {
            "name": f"cloudlet-{number}",
            "endpoint": f"https://cloudlet-{number}.example.org/api/v1/deploy",
            "incarnation": 1_795_523_890_123,
            "location": {"latitude": number, "longitude": number},
            "local_networks": ["192.0.2.0/24", "2001:db8::/32"],
        }
        resource = "/api/v1/cloudlets/{cloudlet_uuid}"
        answer, _ = root.call("PUT", resource, {"cloudlet_uuid": name}, json.dumps(registration))
        leases[name] = json.loads(answer["body"])["lease_token"]
    return leases


def _keep_all_alive(root: Bench, leases: dict[str, str], rounds: int) -> list[float]:
    """Milliseconds of each keepalive; the root's units are theirs alone."""
    cpu_ms: list[float] = []
    for sequence in range(1, WARM_UP + rounds + 1):
        if sequence == WARM_UP + 1:
            root.spent()
            cpu_ms.clear()
        cpu_ms += [_keep_alive(root, name, token, sequence) for name, token in leases.items()]
    return cpu_ms


def _keep_alive(root: Bench, name: str, token: str, sequence: int) -> float:
    body = {
        "sequence": sequence,
        "resources": {
            "cpu_ratio": 0.21,
            "mem_ratio": 0.4,
            "net_rx_rate": 1200 + sequence,
            "net_tx_rate": 800,
        },
        "location": {"latitude": int(uuid.UUID(name)), "longitude": int(uuid.UUID(name))},
    }
    answer, cpu_ms = root.call(
        "POST",
        "/api/v1/cloudlets/{cloudlet_uuid}/keepalive",
        {"cloudlet_uuid": name},
        json.dumps(body),
        Authorization=f"Bearer {token}",
    )
    if answer["statusCode"] != 200:
        raise RuntimeError(f"keepalive refused: {answer['body']}")
    return cpu_ms
