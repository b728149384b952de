"""From the start of the process to the first answer of the packaged root, run as Lambda runs it.

The first answer is the list of 50 cloudlets, read from a DynamoDB API (dynalite). It is compared to an
otherwise empty Chalice app that asks the same table for the same 50 rows with a boto3 client made at import,
packaged by `chalice package` as it comes. Runs alternate, so that whatever else the machine does meets
both; the figures are medians.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chalicelib.fleet.cloudlets import Cloudlet, row_key
from chalicelib.fleet.geo import Location
from chalicelib.tables.cloudlet_table import DynamoCloudletTable

from tests.benchmarks.figures import Figures
from tests.lab import engines, function

ROOT = Path(__file__).resolve().parents[2]
ROWS = 50
RUNS = 15
MOST_RATIO = 0.7
TABLE = "cloudlets"
NOW = 2_000_000_000
BASELINE = """
import os
import boto3
from chalice import Chalice

app = Chalice(app_name="baseline")
dynamodb = boto3.client("dynamodb")

@app.route("/rows/{cell}")
def rows(cell):
    answer = dynamodb.query(
        TableName=os.environ["TABLE"],
        KeyConditionExpression="cell = :cell",
        ExpressionAttributeValues={":cell": {"S": cell}},
        Limit=50,
    )
    return answer["Items"]
"""


def run(max_size: int | None) -> Figures:
    """`max_size` bounds the runs of each; there are always three."""
    os.environ.update(engines.CREDENTIALS)
    with tempfile.TemporaryDirectory() as scratch, engines.dynalite() as url:
        cell = _fill(url)
        ours = function.unzip(_package_root(Path(scratch) / "root"), Path(scratch) / "ours")
        baseline = function.unzip(_package_baseline(Path(scratch) / "baseline"), Path(scratch) / "theirs")
        settings = {
            "SINFONIA_LEASE_SECRET": "0" * 32,
            "SINFONIA_TABLE": TABLE,
            "SINFONIA_DYNAMODB_URL": url,
        }
        list_them = function.event("GET", "/api/v1/cloudlets", query={"limit": [str(ROWS)]})
        ask = function.event("GET", "/rows/{cell}", f"/rows/{cell}", {"cell": cell})
        seconds: dict[str, list[float]] = {"ours": [], "baseline": []}
        for _ in range(max(3, min(RUNS, max_size or RUNS)) + 1):
            seconds["ours"].append(_first_answer(ours, settings, list_them))
            seconds["baseline"].append(
                _first_answer(baseline, {"AWS_ENDPOINT_URL_DYNAMODB": url, "TABLE": TABLE}, ask)
            )
    first, plain = (
        statistics.median(times[1:]) for times in seconds.values()
    )  # the first filled file caches
    return Figures(
        "cold_start",
        {
            "first_request_s": round(first, 4),
            "baseline_s": round(plain, 4),
            "ratio": round(first / plain, 3),
        },
        {"first_request_s": "s", "baseline_s": "s", "ratio": "of the baseline"},
        {"first_request_s": round(plain, 4), "ratio": MOST_RATIO},
    )


def _fill(url: str) -> str:
    """Make the table with 50 living rows in one partition; the partition's name."""
    table = DynamoCloudletTable(TABLE, region="us-east-1", url=url)
    table.create(threading.Event().wait)
    vienna = Location(48.2, 16.4)
    for number in range(ROWS):
        name = uuid.UUID(int=number)
        table.put(
            Cloudlet(
                key=row_key(name, vienna),
                uuid=name,
                endpoint=f"https://cloudlet-{number}.example.org/api/v1/deploy",
                incarnation=1_795_523_890_123,
                sequence=number,
                last_keepalive=NOW,
                expires_at=NOW,
                name=f"cloudlet {number}",
                location=vienna,
                resources={"cpu_ratio": 0.21, "mem_ratio": 0.4, "net_rx_rate": 1e8, "net_tx_rate": 8e7},
            )
        )
    cell = row_key(uuid.UUID(int=0), vienna).cell
    table.occupy(cell, NOW)  # the list goes from partition to partition
    return cell


def _package_root(out: Path) -> Path:
    subprocess.run([ROOT / "infra/setup/package", out], check=True, timeout=300, capture_output=True)
    return out / "deployment.zip"


def _package_baseline(project: Path) -> Path:
    (project / ".chalice").mkdir(parents=True)
    (project / ".chalice/config.json").write_text('{"version": "2.0", "app_name": "baseline"}')
    (project / "app.py").write_text(BASELINE)
    (project / "requirements.txt").write_text("boto3\n")
    subprocess.run(
        [Path(sys.executable).parent / "chalice", "package", "out"],
        cwd=project,
        check=True,
        timeout=300,
        capture_output=True,
        env={
            **os.environ,
            "AWS_DEFAULT_REGION": "us-east-1",
            "PIP_CONSTRAINT": str(ROOT / "constraints.txt"),
        },
    )
    return project / "out/deployment.zip"


def _first_answer(folder: Path, settings: Mapping[str, str], event: dict[str, Any]) -> float:
    """Seconds from the start of a process to its first answer."""
    with function.running(folder, settings) as started:
        answer, came = started.call(event)
    rows = json.loads(answer["body"])
    if answer["statusCode"] != 200 or len(rows) != ROWS:
        raise RuntimeError(f"not the {ROWS} rows: {answer}")
    return came - started.started
