"""A root on one machine: the Chalice app of `app.py` over an embedded DynamoDB engine, recipes from a folder.

`python -m cloud.local_root --help` explains itself. For laptops, just-in-time sites and tests.
"""

import argparse
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).parent))  # where Chalice expects app.py and chalicelib

from app import app
from chalicelib.errors import RootError
from chalicelib.logs import configure_logging
from chalicelib.root import build_root
from chalicelib.settings import Settings, SettingsError
from chalicelib.stores import create_tables, dynamo_stores
from lanes import Lanes
from local_secrets import lease_secret, operator_token
from waitress.server import create_server
from waitress.task import ThreadedTaskDispatcher
from wsgi import WsgiAdapter

_ENGINE_SECONDS = 20.0
_STOP_SECONDS = 5.0
_THREADS = 24  # half of them may be long polls
_DEPLOY_THREADS = 32
_CONNECTIONS = 4096  # every agent keeps one open between its keepalives
_MOST_BUFFERED_BYTES = 10 * 2**20  # as API Gateway; the app itself answers 413 from 64 KiB on
_EPILOG = """\
An example, with the recipes that come with Sinfonia:

  python -m cloud.local_root --recipes infra/recipes
  curl http://127.0.0.1:8080/api/v1/health

Point cloudlets and devices at the URL that it prints. Tenants, apps, tokens and admission are managed with
python -m cloud.operator_cli and the operator's token, whose file it names. To let others reach it, give
--host an address of this machine; it speaks plain HTTP, so only do so on a network that you trust.
"""


class LocalRootError(Exception):
    """The local root can't run; the text says why in one line."""


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m cloud.local_root",
        description="Run a Sinfonia root (ST-1) on this machine.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine only)")
    add("--port", type=int, default=8080, help="TCP port; 0 takes a free one (default: %(default)s)")
    add(
        "--recipes", default="infra/recipes", help="folder or URL with <app UUID>.yaml (default: %(default)s)"
    )
    add(
        "--data",
        type=Path,
        help="folder to keep the lease secret, an operator's token and, with the engine, the tables in;"
        " without it nothing outlives the process, and cloudlets that knew this root don't trust the next",
    )
    add("--dynamodb-url", help="use this DynamoDB-compatible endpoint instead of the embedded engine")
    add("--engine-port", type=int, default=0, help="TCP port of the embedded engine (default: a free one)")
    add("--matchers", default="network,spread", help="chain of matchers (default: %(default)s)")
    add("--interval", type=float, default=15.0, help="seconds between keepalives (default: %(default)g)")
    add(
        "--url",
        default="",
        help="what cloudlets call this root; registrations that they signed for another one are refused"
        " (default: what each request says in its Host header)",
    )
    add("--trusted-proxies", default="", help="networks whose X-ClientIP header is believed")
    add("--closed", action="store_true", help="refuse the published Sinfonia's unsigned keepalives")
    add("--json", action="store_true", help="print the line that says it is ready as JSON")
    add("--verbose", action="store_true", help="log every request")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT: status 0. Status 1 if it can't, with one line on stderr."""
    options = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    configure_logging(logging.INFO if options.verbose else logging.ERROR)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    try:
        with ExitStack() as stack:
            serve(options, stack)
    except (LocalRootError, SettingsError, RootError, OSError) as error:
        print(f"local root: {error}", file=sys.stderr)
        return 1
    except SystemExit:
        return 0
    return 0


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit


def serve(options: argparse.Namespace, stack: ExitStack) -> None:
    """Start the engine if one is needed, make the table, and serve until told to stop."""
    if not options.recipes.startswith(("http://", "https://")) and not Path(options.recipes).is_dir():
        raise LocalRootError(f"there is no folder {options.recipes}; --recipes names another")
    listener = _listen(options.host, options.port)
    stack.callback(listener.close)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        os.environ.setdefault(name, "local")  # engines want some, any will do
    url = options.dynamodb_url or stack.enter_context(_engine(options.engine_port, options.data))
    settings = _settings(options, url)
    stores = dynamo_stores(settings, threading.Event().wait)
    create_tables(stores, threading.Event().wait)
    root = build_root(settings, stores)
    app.serve(root)
    token_file = operator_token(root.tokens, _token_folder(options, stack)) if _is_own(options) else None
    server = create_server(
        WsgiAdapter(app),
        sockets=[listener],
        threads=_THREADS,
        ident="sinfonia-root",
        max_request_body_size=_MOST_BUFFERED_BYTES,
        channel_timeout=60,
        connection_limit=_CONNECTIONS,
        asyncore_use_poll=True,  # select() ends at 1,024 connections
    )
    deploys = ThreadedTaskDispatcher()
    deploys.set_thread_count(_DEPLOY_THREADS)
    server.task_dispatcher = Lanes(server.task_dispatcher, deploys)
    _say_ready(options, listener, token_file)
    server.run()


def _is_own(options: argparse.Namespace) -> bool:
    """Whether the tables are this root's own, so that nobody else made a token for them."""
    return options.data is not None or options.dynamodb_url is None


def _token_folder(options: argparse.Namespace, stack: ExitStack) -> Path:
    """The data folder, or one that goes with the process and what the token is for."""
    if options.data is not None:
        return Path(options.data)
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sinfonia-root-")))


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OverflowError as error:
        raise LocalRootError(f"port {port}: must be 0 to 65535") from error
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else error
        raise LocalRootError(f"can't listen on {host} port {port}: {why}") from error


def _settings(options: argparse.Namespace, dynamodb_url: str) -> Settings:
    return Settings.from_environ(
        {
            "SINFONIA_LEASE_SECRET": lease_secret(options.data),
            "SINFONIA_DYNAMODB_URL": dynamodb_url,
            "SINFONIA_URL": options.url,
            "SINFONIA_RECIPES": options.recipes,
            "SINFONIA_MATCHERS": options.matchers,
            "SINFONIA_TRUSTED_PROXIES": options.trusted_proxies,
            "SINFONIA_ALLOW_PRIVATE_ENDPOINTS": "true",  # its cloudlets are its neighbours
            "SINFONIA_OPEN": "false" if options.closed else "true",
            "SINFONIA_CALLS_PER_ADDRESS": "1000",  # a laptop's devices and cloudlets share its address
            "SINFONIA_INTERVAL_SECONDS": str(options.interval),
            "SINFONIA_MIN_INTERVAL_SECONDS": str(min(1.0, options.interval)),
        }
    )


@contextmanager
def _engine(port: int, data: Path | None) -> Iterator[str]:
    """The embedded DynamoDB engine on loopback; its URL. It ends with this process, however that ends."""
    program = Path(sys.executable).parent / "roto-server"
    name = str(program) if program.exists() else shutil.which("roto-server")
    if name is None:
        raise LocalRootError("roto-server is missing (pip install roto-aws), or give --dynamodb-url")
    with socket.create_server(("127.0.0.1", port)) as probe:
        port = probe.getsockname()[1]
    kept = ["--ephemeral"] if data is None else ["--data-dir", str((data / "engine").resolve())]
    guard = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
    with tempfile.TemporaryDirectory(prefix="sinfonia-root-") as scratch:
        log = Path(scratch) / "engine.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*guard, name, "--host", "127.0.0.1", "--port", str(port), *kept],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=scratch,
                start_new_session=True,  # Ctrl-C in a terminal is for the root alone, which ends it in order
            )
        stopping, died = threading.Event(), threading.Event()
        try:
            _await_engine(process, port, log)
            threading.Thread(target=_watch_engine, args=(process, stopping, died), daemon=True).start()
            yield f"http://127.0.0.1:{port}"
        finally:
            stopping.set()
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(_STOP_SECONDS)
            if died.is_set():
                raise LocalRootError(
                    f"the engine ended by itself (status {process.returncode}); start it again"
                )


def _watch_engine(
    process: "subprocess.Popen[bytes]", stopping: threading.Event, died: threading.Event
) -> None:
    """End the root where its engine ends first: whoever runs it can start it again; refusals help nobody."""
    process.wait()
    if not stopping.is_set():
        died.set()
        os.kill(os.getpid(), signal.SIGTERM)


def _await_engine(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    pause = threading.Event()
    end = time.monotonic() + _ENGINE_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            lines = log.read_text(errors="replace").strip().splitlines()
            raise LocalRootError(f"the engine did not start: {lines[-1] if lines else process.returncode}")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        pause.wait(0.02)
    raise LocalRootError(f"the engine did not listen within {_ENGINE_SECONDS:g} s")


def _say_ready(options: argparse.Namespace, listener: socket.socket, token_file: Path | None) -> None:
    host = f"[{options.host}]" if ":" in options.host else options.host
    url = f"http://{host}:{listener.getsockname()[1]}"
    token = {} if token_file is None else {"operator_token_file": str(token_file)}
    if options.json:
        said = {"url": url, "pid": os.getpid(), "recipes": options.recipes, **token}
        print(json.dumps(said), flush=True)
    else:
        print(f"Sinfonia root at {url} (recipes from {options.recipes})", flush=True)
        for file in token.values():
            print(f"An operator's token is in {file}; python -m cloud.operator_cli --help", flush=True)


if __name__ == "__main__":
    sys.exit(main())
