"""The local root as its users start it: a process, its engine, and how both end."""

import base64
import contextlib
import http.client
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.fakes.cloud_agent import hangs, running_agent
from tests.lab.engines import free_port
from tests.lab.machine import poll

ROOT = Path(__file__).resolve().parents[2]
APP = "00000000-0000-0000-0000-000000000000"
KEY = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw"
pytestmark = pytest.mark.live


@pytest.fixture
def recipes(tmp_path):
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / f"{APP}.yaml").write_text("chart: helloworld\nversion: 0.1.0\nrestricted: false\n")
    return folder


def command(*arguments) -> list[str]:
    return [sys.executable, "-m", "cloud.local_root", *map(str, arguments)]


@contextmanager
def running_root(*arguments):
    """A local root on a free port; gives its process and URL."""
    process = subprocess.Popen(
        command("--port", 0, "--json", *arguments),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        yield process, json.loads(line)["url"]
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=15)


def call(url: str, method: str, path: str, body=None, **headers):
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        raw = answer.read()
        return answer.status, json.loads(raw) if raw else None
    finally:
        connection.close()


def engines_of(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
            name = path.read_text().partition("(")[2].rpartition(")")[0]
        except OSError:
            continue
        if int(fields[1]) == parent and name.startswith("roto"):
            found.append(int(path.parent.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pids: list[int]) -> bool:
    end = time.monotonic() + 5
    while any(map(alive, pids)) and time.monotonic() < end:
        threading.Event().wait(0.02)
    return not any(map(alive, pids))


def test_a_backend_is_deployed_through_it(recipes):
    with running_root("--recipes", recipes) as (_, url), running_agent() as agent:
        assert call(url, "GET", "/api/v1/health") == (200, {"status": "ok"})
        assert call(url, "POST", f"/api/v1/deploy/{APP}/{KEY}")[0] == 503
        status, lease = call(
            url, "PUT", f"/api/v1/cloudlets/{uuid.uuid4()}", {"endpoint": agent.url, "incarnation": 1}
        )
        assert status == 200
        assert lease["interval_seconds"] == 15
        status, (deployment,) = call(url, "POST", f"/api/v1/deploy/{APP}/{KEY}?wait=0")
        assert status == 200
        assert deployment["ApplicationKey"] == KEY + "="
        assert call(url, "POST", f"//api/v1/deploy/{APP}/{KEY}=?wait=0")[0] == 200
        assert call(url, "GET", f"/api/v1/recipe/{APP}/")[0] == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_cleanly_with_its_engine(recipes, number):
    with running_root("--recipes", recipes) as (process, _):
        engines = engines_of(process.pid)
        assert engines
        process.send_signal(number)
        _, errors = process.communicate(timeout=10)
        assert process.returncode == 0
        assert errors == ""
        assert gone(engines)


def test_killed_it_leaves_no_engine(recipes):
    with running_root("--recipes", recipes) as (process, _):
        engines = engines_of(process.pid)
        assert engines
        process.kill()
        process.wait(5)
        assert gone(engines)


def test_without_its_engine_it_says_so_and_ends(recipes):
    with running_root("--recipes", recipes) as (process, _):
        for engine in engines_of(process.pid):
            os.kill(engine, signal.SIGKILL)
        _, errors = process.communicate(timeout=15)
        assert process.returncode == 1
        assert errors == "local root: the engine ended by itself (status -9); start it again\n"


def test_cloudlets_that_hang_hold_no_keepalive_up(recipes):
    with running_root("--recipes", recipes) as (process, url), running_agent(hangs) as agent:
        name = str(uuid.uuid4())
        _, lease = call(url, "PUT", f"/api/v1/cloudlets/{name}", {"endpoint": agent.url, "incarnation": 1})
        answered = []

        def deploy(number: int) -> None:
            key = base64.urlsafe_b64encode(number.to_bytes(32)).decode().rstrip("=")
            with contextlib.suppress(OSError, http.client.HTTPException):  # the root ends before it answers
                answered.append(call(url, "POST", f"/api/v1/deploy/{APP}/{key}?wait=10"))

        devices = [threading.Thread(target=deploy, args=(number,)) for number in range(64)]
        for device in devices:
            device.start()
        assert poll(lambda: len(agent.requests) >= 16)
        for sequence in range(1, 4):
            bearer = {"Authorization": f"Bearer {lease['lease_token']}"}
            said = {"sequence": sequence}
            assert call(url, "POST", f"/api/v1/cloudlets/{name}/keepalive", said, **bearer)[0] == 200
        assert len(answered) < 32  # with threads for all there would have been none left
        process.kill()
        for device in devices:
            device.join(15)


def test_a_data_folder_outlives_it(recipes, tmp_path):
    data, cloudlet = tmp_path / "data", str(uuid.uuid4())
    arguments = ("--recipes", recipes, "--data", data)
    with running_root(*arguments) as (_, url):
        lease = call(
            url, "PUT", f"/api/v1/cloudlets/{cloudlet}", {"endpoint": "http://h/", "incarnation": 1}
        )[1]
    assert stat.S_IMODE((data / "lease-secret").stat().st_mode) == 0o600
    with running_root(*arguments) as (_, url):
        said = {"Authorization": f"Bearer {lease['lease_token']}"}
        assert call(url, "POST", f"/api/v1/cloudlets/{cloudlet}/keepalive", {"sequence": 1}, **said)[0] == 200
        assert [row["uuid"] for row in call(url, "GET", "/api/v1/cloudlets/")[1]] == [cloudlet]


def test_its_operators_token_is_in_a_file_and_outlives_it_with_the_data(recipes, tmp_path):
    data = tmp_path / "data"
    arguments = ("--recipes", recipes, "--data", data)
    path = data / "operator-token"
    with running_root(*arguments) as (_, url):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        token = path.read_text()
        said = {"Authorization": f"Bearer {token.strip()}"}
        assert call(url, "PUT", "/api/v1/tenants/acme", {}, **said)[0] == 200
        assert call(url, "PUT", "/api/v1/tenants/acme", {})[0] == 401
    with running_root(*arguments) as (_, url):
        assert path.read_text() == token
        assert call(url, "GET", "/api/v1/tenants/acme", **said)[1]["id"] == "acme"
    path.write_text("sf_spoilt\n")
    with running_root(*arguments) as (_, url):
        said = {"Authorization": f"Bearer {path.read_text().strip()}"}
        assert call(url, "GET", "/api/v1/tenants", **said)[0] == 200


def test_without_a_data_folder_the_token_goes_with_the_process(recipes):
    process = subprocess.Popen(
        command("--port", 0, "--json", "--recipes", recipes), cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    said = json.loads(process.stdout.readline())
    path = Path(said["operator_token_file"])
    token = {"Authorization": f"Bearer {path.read_text().strip()}"}
    assert call(said["url"], "GET", "/api/v1/tenants/root", **token)[0] == 200
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    process.terminate()
    rest = process.communicate(timeout=15)[0]
    assert token["Authorization"][7:] not in rest
    assert not path.parent.exists()


def test_cloudlets_come_and_go_concurrently(recipes):
    failed: list[object] = []

    def live(url: str) -> None:
        name = str(uuid.uuid4())
        path = f"/api/v1/cloudlets/{name}"
        lease = call(url, "PUT", path, {"endpoint": "http://h/", "incarnation": 1, "name": name})[1]
        said = {"Authorization": f"Bearer {lease['lease_token']}"}
        for sequence in range(1, 26):
            body = {"sequence": sequence, "resources": {"cpu_ratio": sequence / 100}}
            answer = call(url, "POST", f"{path}/keepalive", body, **said)
            if answer != (200, {"interval_seconds": 15, "lease_seconds": 50}):
                failed.append(answer)

    with running_root("--recipes", recipes) as (_, url):
        threads = [threading.Thread(target=live, args=(url,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not failed
        rows = call(url, "GET", "/api/v1/cloudlets/?limit=100")[1]
        assert [row["resources"] for row in rows] == [{"cpu_ratio": 0.25}] * 8
        assert all(row["name"] == row["uuid"] for row in rows)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--recipes", "/nonexistent"), "there is no folder /nonexistent"),
        (("--recipes", ".", "--host", "203.0.113.1"), "can't listen on 203.0.113.1"),
        (("--recipes", ".", "--matchers", "nobody"), "no matcher called nobody"),
        (("--recipes", ".", "--trusted-proxies", "everybody"), "TRUSTED_PROXIES"),
        (("--recipes", ".", "--dynamodb-url", "http://127.0.0.1:1"), "can't be reached"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments, complaint):
    done = subprocess.run(
        command("--port", free_port(), *arguments),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert complaint in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_a_port_that_is_taken(recipes):
    with running_root("--recipes", recipes) as (_, url):
        port = urlsplit(url).port
        done = subprocess.run(
            command("--port", port, "--recipes", recipes),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"local root: can't listen on 127.0.0.1 port {port}: Address already in use\n"


def test_help_teaches():
    done = subprocess.run(command("--help"), cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    assert "curl http://127.0.0.1:8080/api/v1/health" in done.stdout
