"""The operator's command and a local root as programs: from the first token to what was used."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fakes.cloud_agent import running_agent
from tests.lab.engines import free_port
from tests.live.test_local_root import KEY, call, recipes, running_root

ROOT = Path(__file__).resolve().parents[2]
CLOUDLET = "5f1c9a1e-7f35-4a39-9d52-3f1f8f0e6a11"
pytestmark = pytest.mark.live
assert recipes  # a fixture


def started(*words, token: str | None = None, **more) -> subprocess.Popen:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SINFONIA_")}
    if token is not None:
        environment["SINFONIA_TOKEN"] = token
    return subprocess.Popen(
        [sys.executable, "-m", "cloud.operator_cli", *map(str, words)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def operator(*words, token: str | None = None):
    """The JSON of a command that succeeds."""
    out, err = started(*words, "--json", token=token).communicate(timeout=30)
    assert err == ""
    return json.loads(out)


def test_from_the_first_token_to_usage(recipes, tmp_path):
    engine_port = free_port()
    with (
        running_root("--recipes", recipes, "--engine-port", engine_port) as (_, url),
        running_agent() as agent,
    ):
        kept = tmp_path / "token"
        engine = f"http://127.0.0.1:{engine_port}"
        made = operator("bootstrap", "--dynamodb-url", engine, "--out", kept)
        assert made["scope"] == "operator"
        boss = kept.read_text().strip()
        root = ("--root", url)
        operator("tenants", "create", "acme", "--quota", "deploys_per_day=3", *root, token=boss)
        made = operator("tokens", "create", "--tenant", "acme", "--scope", "tenant", *root, token=boss)
        mine = made["token"]
        app = operator("apps", "put", "--name", "chess", *root, token=mine)["uuid"]
        recipe = tmp_path / "chess.yaml"
        recipe.write_text("chart: chess\nversion: 1.0.0\n")
        assert operator("recipes", "put", app, recipe, *root, token=mine) == {"number": 1}

        registration = {"endpoint": f"{agent.url}/api/v1/deploy", "incarnation": 1}
        status, lease = call(url, "PUT", f"/api/v1/cloudlets/{CLOUDLET}", registration)
        assert status == 200, lease
        statuses = [call(url, "POST", f"/api/v1/deploy/{app}/{KEY}", {})[0] for _ in range(4)]
        assert statuses == [200, 200, 200, 429], "its tenant may deploy three times a day"

        now = int(time.time())
        report = {
            "deployment": "chess-1",
            "app": app,
            "from": now - 60,
            "to": now,
            "bytes_in": 5,
            "bytes_out": 7,
        }
        bearer = {"Authorization": f"Bearer {lease['lease_token']}"}
        for _ in range(2):
            status, receipt = call(url, "POST", f"/api/v1/cloudlets/{CLOUDLET}/usage", [report], **bearer)
            assert (status, receipt) == (200, {"accepted": 1, "refused": []})
        day = ("--from", time.strftime("%Y-%m-%d", time.gmtime(now - 86400)))
        entries = operator("usage", *day, *root, token=mine)
        assert sorted(each["event"] for each in entries) == ["began", "used"], (
            "a repeated deploy is no new one"
        )
        assert [each["bytes_out"] for each in entries if each["event"] == "used"] == [7]
        assert operator("usage", "--tenant", "root", *day, *root, token=boss) == []


def test_a_reader_that_has_seen_enough_and_an_interruption(recipes):
    with running_root("--recipes", recipes) as (_, url):
        reading, writing = os.pipe()
        os.close(reading)
        boss = "sf_0123456789abcdef_" + "x" * 43
        process = started("cloudlets", "list", "--root", url, token=boss, stdin=subprocess.DEVNULL)
        process.communicate(timeout=30)
        assert process.returncode == 0
        command = [sys.executable, "-m", "cloud.operator_cli", "cloudlets", "list", "--root", url]
        environment = {**os.environ, "SINFONIA_TOKEN": boss}
        broken = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
        )
        os.close(writing)
        assert (broken.returncode, broken.stderr) == (128 + signal.SIGPIPE, b"")


def test_the_command_starts_without_the_roots_code(recipes):
    """It is typed often: PynamoDB and Chalice are for `bootstrap` alone."""
    program = "import sys; sys.argv[1:] = []; import cloud.operator_cli; print(*sys.modules)"
    words = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    ).stdout.split()
    assert not {"pynamodb", "botocore", "chalice", "chalicelib"} & set(words)
