"""How `sinfonia` begins: with no more than it needs, and understanding Ctrl-C from its first steps on."""

import json
import re
import signal
import subprocess
import sys

import pytest

from device_sdk.cli.acts import ACTS
from device_sdk.cli.arguments import whole_parser

HEAVY = {"requests", "urllib3", "cryptography", "zeroconf", "spake2", "yaml", "segno", "asyncio"}
OF_THE_START = {"__main__", "acts", "arguments", "command", "progress", "showing", "tables"}
LOADED = """
import sys
from device_sdk.cli import main
try:
    main({words!r})
finally:
    print(*sys.modules, file=sys.stderr)
"""
# Ctrl-C at the nth import after the start.
INTERRUPTED = """
import os, signal, sys
from device_sdk.cli import main
left = {imports}
def seen(event, _arguments):
    global left
    if event == "import":
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(seen)
try:
    status = main({words!r})
finally:
    print(-left, file=sys.stderr)
sys.exit(status)
"""
DEPLOY = ["deploy", "http://127.0.0.1:9", "helloworld", "--jit", "off"]


def python(code: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60, **options
    )


def loaded(words: list[str]) -> set[str]:
    return set(python(LOADED.format(words=words)).stderr.splitlines()[-1].split())


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["dance"]])
def test_without_a_command_no_commands_module_is_loaded(words: list[str]) -> None:
    modules = loaded(words)
    assert modules.isdisjoint(HEAVY)
    commands = {name for name in modules if name.startswith("device_sdk.cli.")}
    assert commands <= {f"device_sdk.cli.{name}" for name in OF_THE_START}
    others = {name for name in modules if name.startswith("device_sdk.")} - commands
    assert others == {"device_sdk.cli", "device_sdk.errors", "device_sdk.fields", "device_sdk.progress"}


@pytest.mark.parametrize("name", ACTS)
def test_a_commands_help_loads_no_library(name: str) -> None:
    modules = loaded([name, "--help"])
    assert f"device_sdk.cli.{name}" in modules
    assert modules.isdisjoint(HEAVY)


@pytest.mark.parametrize("name", ACTS)
def test_every_command_is_told_of_in_the_help_and_has_its_own(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as end:
        whole_parser().parse_args([name, "--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert f"usage: sinfonia {name} " in out
    assert max(map(len, out.splitlines())) <= 112
    assert re.search(
        rf"^    {name}\s+{re.escape(ACTS[name][:30])}", whole_parser().format_help(), re.MULTILINE
    )


def imports_of(words: list[str]) -> int:
    """How many imports there are until the words are understood: the last of them ends the call."""
    return int(python(INTERRUPTED.format(imports=0, words=words)).stderr.splitlines()[-1])


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
def test_an_interrupt_while_modules_load_is_one_line(share: float) -> None:
    at = 1 + int(share * imports_of(["find", "--help"]))
    done = python(INTERRUPTED.format(imports=at, words=DEPLOY))
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "sinfonia: Interrupted.\n")


def test_programs_get_an_object() -> None:
    done = python(INTERRUPTED.format(imports=20, words=[*DEPLOY, "--json"]))
    assert done.returncode == 130
    assert json.loads(done.stderr) == {"Error": "Interrupted", "Detail": "Interrupted.", "ExitStatus": 130}


def test_where_the_shell_has_interrupts_ignored_they_stay_so() -> None:
    done = python(
        INTERRUPTED.format(imports=20, words=["--version"]),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert done.returncode == 0
    assert "Interrupted" not in done.stderr
