import os
import pty
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from device_sdk.tunnels.run import run_command
from tests.lab.machine import poll

ROOT = Path(__file__).parents[3]


def test_the_exit_status_is_the_programs() -> None:
    assert run_command(lambda: subprocess.Popen(["sh", "-c", "exit 5"])) == 5
    assert run_command(lambda: subprocess.Popen(["sh", "-c", "kill -TERM $$"])) == 143


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    run_command(lambda: subprocess.Popen(["true"]))
    assert signal.getsignal(signal.SIGTERM) == before


def test_another_thread_may_run_programs() -> None:
    statuses: list[int] = []
    thread = threading.Thread(
        target=lambda: statuses.append(run_command(lambda: subprocess.Popen(["sh", "-c", "exit 6"])))
    )
    thread.start()
    thread.join(10)
    assert statuses == [6]


RUNNER = textwrap.dedent(
    """
    import subprocess, sys
    from device_sdk.tunnels.run import run_command
    print("status", run_command(lambda: subprocess.Popen(["sh", "-c", sys.argv[1]])), flush=True)
    """
)


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2"])
def test_signals_are_handed_on(tmp_path: Path, name: str) -> None:
    log = tmp_path / "log"
    script = f"trap 'echo got {name}; exit 9' {name}; echo on; while :; do sleep 0.02; done"
    with log.open("wb") as out:
        program = subprocess.Popen(
            [sys.executable, "-c", RUNNER, script], stdout=out, stderr=out, cwd=ROOT, start_new_session=True
        )
    assert poll(lambda: "on" in log.read_text()), log.read_text()
    program.send_signal(getattr(signal, f"SIG{name}"))
    assert program.wait(10) == 0
    assert log.read_text() == f"on\ngot {name}\nstatus 9\n"


def test_a_key_press_reaches_the_program_once() -> None:
    """The terminal signals the whole group; handing that on as well would make it two."""
    script = "n=0; trap 'n=$((n+1))' INT; echo on; sleep 0.5; sleep 0.5; echo count $n"
    child, terminal = pty.fork()
    if child == 0:  # pragma: no cover  (another process)
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-c", RUNNER, script])
    seen = b""
    try:
        while b"on" not in seen:
            seen += os.read(terminal, 1024)
        os.write(terminal, b"\x03")
        while b"status" not in seen:
            seen += os.read(terminal, 1024)
    finally:
        os.waitpid(child, 0)
        os.close(terminal)
    assert b"count 1" in seen
