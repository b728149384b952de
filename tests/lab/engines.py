"""DynamoDB-compatible engines for tests and benchmarks, each a child process on a loopback port.

`roto-server` comes with the Python environment (wheel `roto-aws`), `dynalite` from npm and `ministack` from
PyPI into `.cache/` (`infra/setup/install --engines`).
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DYNALITE_VERSION = "4.0.0"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_SESSION_TOKEN": ""}


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def roto_program() -> str | None:
    """Where `roto-server` is, beside this interpreter or on the PATH."""
    beside = Path(sys.executable).parent / "roto-server"
    return str(beside) if beside.exists() else shutil.which("roto-server")


def dynalite_program(install: bool = True) -> str | None:
    """Where `dynalite` is; installed from npm into `.cache/dynalite` if npm is there."""
    program = ROOT / ".cache/dynalite/node_modules/.bin/dynalite"
    if not program.exists() and install and shutil.which("npm"):
        folder = ROOT / ".cache/dynalite"
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [
                "npm",
                "install",
                "--no-audit",
                "--no-fund",
                "--prefix",
                str(folder),
                f"dynalite@{DYNALITE_VERSION}",
            ],
            check=True,
            timeout=300,
            stdout=subprocess.DEVNULL,
        )
    return str(program) if program.exists() else shutil.which("dynalite")


@contextmanager
def running(command: list[str], port: int, settings: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run an engine until the end of the block; gives its URL once it listens. `settings`: environment."""
    guard = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
    process = subprocess.Popen(
        guard + command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **CREDENTIALS, **(settings or {})},
    )
    try:
        _await(process, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


@contextmanager
def roto() -> Iterator[str]:
    """roto-server with its data in memory."""
    port = free_port()
    with running(
        [str(roto_program()), "--ephemeral", "--host", "127.0.0.1", "--port", str(port)], port
    ) as url:
        yield url


@contextmanager
def dynalite() -> Iterator[str]:
    """dynalite with its data in memory; counts capacity units exactly."""
    port = free_port()
    command = [str(dynalite_program()), "--host", "127.0.0.1", "--port", str(port), "--createTableMs", "0"]
    with running(command, port) as url:
        yield url


def ministack_program() -> str | None:
    """Where `ministack` is, an AWS emulator that counts what writing to indexes costs."""
    program = ROOT / ".cache/ministack/bin/ministack"
    return str(program) if program.exists() else None


@contextmanager
def ministack() -> Iterator[str]:
    """ministack with its data in memory; the functions that it unpacks go with it."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="ministack-", ignore_cleanup_errors=True) as scratch:
        settings = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "TMPDIR": scratch}
        with running([str(ministack_program())], port, settings) as url:
            yield url


def _await(process: "subprocess.Popen[bytes]", port: int) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the engine ended with status {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)  # noqa: TID251 - a test lab may poll
    raise RuntimeError("the engine did not listen within 20 s")
