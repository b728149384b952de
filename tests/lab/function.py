"""A packaged function, run as Lambda runs it: Lambda's own runtime client, a Runtime API on loopback, and
nothing but the zip's content (and the standard library) to import from.

Called by the cold-start benchmark and the live test of the package. `awslambdaric`, which is what Lambda
itself starts Python functions with, lies in `.cache/lambda-runtime`, as it lies outside the zip there.
"""

import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / ".cache/lambda-runtime"
_ANSWER_SECONDS = 60.0
# As Lambda's own start: the function's folder first, then the runtime's. -B: its folder is read-only there.
_START = """
import sys
sys.path[:0] = sys.argv[1:3]
from awslambdaric.__main__ import main
main(["", "app.app"])
"""


def unzip(archive: Path, folder: Path) -> Path:
    """The zip's content in a folder that nobody may write to."""
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222)
    return folder


def event(
    method: str,
    resource: str,
    path: str | None = None,
    parameters: Mapping[str, str] | None = None,
    body: str | None = None,
    query: Mapping[str, list[str]] | None = None,
) -> dict[str, Any]:
    """As API Gateway's Lambda proxy integration makes it."""
    path = path or resource
    return {
        "resource": resource,
        "path": path,
        "httpMethod": method,
        "headers": {"Host": "x.execute-api.us-east-1.amazonaws.com", "X-Forwarded-For": "198.51.100.7"},
        "multiValueHeaders": {},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": query,
        "pathParameters": parameters,
        "stageVariables": None,
        "requestContext": {
            "resourcePath": resource,
            "httpMethod": method,
            "path": f"/root{path}",
            "identity": {"sourceIp": "198.51.100.7"},
        },
        "body": body,
        "isBase64Encoded": False,
    }


class _RuntimeApi(ThreadingHTTPServer):
    """Lambda's Runtime API, version 2018-06-01: hands out events, takes answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.events: queue.Queue[dict[str, Any]] = queue.Queue()
        self.answers: queue.Queue[tuple[float, dict[str, Any]]] = queue.Queue()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: the function was killed while it waited for its next event."""


class _Handler(BaseHTTPRequestHandler):
    server: _RuntimeApi
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer `…/invocation/next`: wait for an event."""
        told = json.dumps(self.server.events.get()).encode()
        self.send_response(200)
        for name, value in {
            "Lambda-Runtime-Aws-Request-Id": str(uuid.uuid4()),
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + _ANSWER_SECONDS) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:123456789012:function:f",
            "Content-Type": "application/json",
            "Content-Length": str(len(told)),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(told)

    def do_POST(self) -> None:
        """Take `…/response`, or an error of the function or of its start."""
        told = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.answers.put((time.perf_counter(), json.loads(told)))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


class Function:
    """A running function. `started` is when its process was, by `time.perf_counter`."""

    def __init__(self, api: _RuntimeApi, started: float, log: IO[bytes]) -> None:
        self._api = api
        self._log = log
        self.started = started

    def call(self, told: dict[str, Any]) -> tuple[dict[str, Any], float]:
        """The answer to an event, and when it came, by `time.perf_counter`."""
        self._api.events.put(told)
        came, answer = self._api.answers.get(timeout=_ANSWER_SECONDS)
        if "errorMessage" in answer or answer.get("statusCode") == 500:
            self._log.seek(0)
            raise RuntimeError(f"the function failed: {answer}\n{self._log.read().decode(errors='replace')}")
        return answer, came


@contextmanager
def running(folder: Path, environment: Mapping[str, str]) -> Iterator[Function]:
    """Run the function in `folder` (see `unzip`) with these settings, until the end of the block."""
    with _RuntimeApi() as api, tempfile.TemporaryFile() as log:
        threading.Thread(target=api.serve_forever, daemon=True).start()
        guard = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
        started = time.perf_counter()
        process = subprocess.Popen(
            [*guard, sys.executable, "-I", "-S", "-B", "-c", _START, str(folder), str(RUNTIME)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**_environment(folder, api.server_port), **environment},
        )
        try:
            yield Function(api, started, log)
        finally:
            process.kill()
            process.wait(10)
            api.shutdown()


def _environment(folder: Path, port: int) -> dict[str, str]:
    """What Lambda tells a function."""
    return {
        "PATH": os.environ["PATH"],
        "LAMBDA_TASK_ROOT": str(folder),
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
        "AWS_LAMBDA_FUNCTION_NAME": "f",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
    }
