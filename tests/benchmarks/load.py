"""How many keepalives and decisions a local root answers: in a second, and for each second of its CPU.

The root is `python -m cloud.local_root`, as its users run it: waitress, the adapter, the embedded engine.
Clients are processes of their own, each with a connection that stays open, asking again as soon as it was
answered, so latencies are those of a root that is busy all the time. Rates are per core of the root's
process: requests divided by the CPU time that this process spent, which a busy machine does not change.
A decision is `GET /api/v1/candidates`: everything of a deploy but asking the agents.
"""

import http.client
import itertools
import json
import multiprocessing
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.benchmarks.decision import place
from tests.benchmarks.figures import Figures
from tests.benchmarks.root import APP

ROOT = Path(__file__).resolve().parents[2]
CLOUDLETS = 1000
CLIENTS = 4
SECONDS = 6.0  # of each kind
_PATIENCE_SECONDS = 60.0

Lease = tuple[str, str]  # a cloudlet's UUID and its token


@dataclass(frozen=True, slots=True)
class Phase:
    """What was measured of one kind of request."""

    latencies_ms: list[float]
    errors: int
    wall_s: float
    cpu_s: float

    @property
    def per_core(self) -> float:
        """Requests for each second of the root's CPU."""
        return len(self.latencies_ms) / self.cpu_s


def run(max_size: int | None) -> Figures:
    """`max_size` bounds the number of cloudlets."""
    count = max(CLIENTS, min(CLOUDLETS, max_size or CLOUDLETS))
    with _local_root() as (url, pid):
        leases = _register(url, count)
        keepalives = _measure(url, pid, "keepalives", leases)
        decisions = _measure(url, pid, "decisions", leases)
    both = sorted(keepalives.latencies_ms + decisions.latencies_ms)
    figures = {
        "keepalives_per_s": round(keepalives.per_core, 1),
        "decisions_per_s": round(decisions.per_core, 1),
        "p50_ms": round(statistics.median(both), 2),
        "p99_ms": round(_percentile(both, 99), 2),
        "errors": keepalives.errors + decisions.errors,
    }
    unit = {
        "keepalives_per_s": "a second and core",
        "decisions_per_s": "a second and core",
        "p50_ms": "ms",
        "p99_ms": "ms",
        "errors": "answers that were not 200",
    }
    for kind, phase in (("keepalives", keepalives), ("decisions", decisions)):
        latencies = sorted(phase.latencies_ms)
        figures |= {
            f"{kind}_per_wall_s": round(len(latencies) / phase.wall_s, 1),
            f"{kind}_p50_ms": round(statistics.median(latencies), 2),
            f"{kind}_p99_ms": round(_percentile(latencies, 99), 2),
        }
        unit |= {
            f"{kind}_per_wall_s": "a second",
            f"{kind}_p50_ms": "ms",
            f"{kind}_p99_ms": "ms",
        }
    return Figures("load", figures, unit, {"errors": 0})


def _percentile(ordered: list[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


@contextmanager
def _local_root() -> Iterator[tuple[str, int]]:
    """A local root with one app; its URL and its process."""
    guard = ["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []
    with tempfile.TemporaryDirectory() as recipes:
        (Path(recipes) / f"{APP}.yaml").write_text("chart: helloworld\nversion: 0.1.0\n")
        command = [sys.executable, "-m", "cloud.local_root", "--port", "0", "--recipes", recipes, "--json"]
        process = subprocess.Popen(
            [*guard, *command], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline() or "{}")
            if "url" not in ready:
                raise RuntimeError("the local root did not start")
            yield ready["url"], ready["pid"]
        finally:
            process.terminate()
            process.wait(20)
            if process.stdout is not None:
                process.stdout.close()


def _register(url: str, count: int) -> list[Lease]:
    """UUIDs and lease tokens of so many cloudlets, placed like cities."""
    chance = random.Random(count)
    connection = _connection(url)
    leases = []
    for number in range(count):
        name, where = str(uuid.UUID(int=chance.getrandbits(128), version=4)), place(chance)
        registration = {
            "name": f"cloudlet-{number}",
            "endpoint": f"http://127.0.0.1:9/{number}/api/v1/deploy",
            "incarnation": 1_795_523_890_123,
            "location": {"latitude": where.latitude, "longitude": where.longitude},
        }
        status, answer = _ask(connection, "PUT", f"/api/v1/cloudlets/{name}", registration)
        if status != 200:
            raise RuntimeError(f"a registration was answered {status}: {answer!r}")
        leases.append((name, json.loads(answer)["lease_token"]))
    connection.close()
    return leases


def _connection(url: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(url).netloc, timeout=_PATIENCE_SECONDS)


def _ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, bytes]:
    sent = None if body is None else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, sent, named)
    answer = connection.getresponse()
    return answer.status, answer.read()


def _cpu_s(pid: int) -> float:
    """CPU time of all threads of a process so far, in user and kernel mode (proc(5): fields 14 and 15)."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _measure(url: str, pid: int, kind: str, leases: list[Lease]) -> Phase:
    """Let the clients loose for some seconds, each with its share of the cloudlets."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    ready = context.Barrier(CLIENTS + 1)
    clients = [
        context.Process(
            target=_client, args=(url, kind, leases[number::CLIENTS], number, ready, results), daemon=True
        )
        for number in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    ready.wait(_PATIENCE_SECONDS)
    begun, cpu_begun = time.perf_counter(), _cpu_s(pid)
    told = [results.get(timeout=_PATIENCE_SECONDS + SECONDS) for _ in clients]
    wall_s, cpu_s = time.perf_counter() - begun, _cpu_s(pid) - cpu_begun
    for client in clients:
        client.join(_PATIENCE_SECONDS)
    latencies = [each for some, _ in told for each in some]
    return Phase(latencies, sum(errors for _, errors in told), wall_s, cpu_s)


def _client(url: str, kind: str, leases: list[Lease], seed: int, ready: Any, results: Any) -> None:
    """One client process: ask, and ask again as soon as it was answered."""
    connection = _connection(url)
    chance = random.Random(seed)
    asks = _keepalives(connection, leases) if kind == "keepalives" else _decisions(connection, chance)
    next(asks)  # the connection is up, and what this process imports is imported
    ready.wait(_PATIENCE_SECONDS)
    latencies_ms: list[float] = []
    errors = 0
    end = time.perf_counter() + SECONDS
    while (begun := time.perf_counter()) < end:
        errors += next(asks) != 200
        latencies_ms.append((time.perf_counter() - begun) * 1000)
    connection.close()
    results.put((latencies_ms, errors))


def _keepalives(connection: http.client.HTTPConnection, leases: list[Lease]) -> Iterator[int]:
    """Statuses of keepalives, each cloudlet's in turn."""
    for sequence in itertools.count(1):
        said = {"sequence": sequence, "resources": {"cpu_ratio": 0.21, "net_rx_rate": 1200 + sequence}}
        for name, token in leases:
            path = f"/api/v1/cloudlets/{name}/keepalive"
            yield _ask(connection, "POST", path, said, Authorization=f"Bearer {token}")[0]


def _decisions(connection: http.client.HTTPConnection, chance: random.Random) -> Iterator[int]:
    """Statuses of decisions for devices where cloudlets are."""
    while True:
        device = place(chance)
        where = f"{device.latitude:.6f},{device.longitude:.6f}"
        yield _ask(connection, "GET", f"/api/v1/candidates/{APP}", X_Location=where)[0]
