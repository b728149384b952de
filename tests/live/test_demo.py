"""make demo: it happens, it cleans up, also when it is interrupted or killed."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.machine import poll
from tests.lab.needs import WORLD, needs
from tests.lab.world import PROJECT

FOLDER = PROJECT / ".build" / "demo"


def _start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.demo"],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _leftovers() -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(FOLDER) in command:
            found.append(command)
    return found


@needs(*WORLD)
def test_every_step_happens():
    demo = _start()
    output, _ = demo.communicate(timeout=110)
    assert demo.returncode == 0, output
    assert output.count("✓") >= 13
    assert "✗" not in output
    assert not FOLDER.exists()
    assert _leftovers() == []


@needs(*WORLD)
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)]
)
def test_nothing_is_left_when_it_is_interrupted(number, status):
    demo = _start()
    assert demo.stdout is not None
    with demo.stdout:
        for line in demo.stdout:
            if "Frankfurt" in line:
                break
        demo.send_signal(number)
        assert demo.wait(30) == status
    assert poll(lambda: _leftovers() == [], 5)
