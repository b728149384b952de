"""One tunnel at a time: who is refused, and what it is told."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from device_sdk.errors import InUseError
from device_sdk.keys import KeyPair
from device_sdk.tunnels.claims import claim
from device_sdk.tunnels.routes import plan_tunnel
from device_sdk.wire import TunnelConfig
from tests.fakes.device_sdk_server import tunnel_config

PLAN = plan_tunnel(TunnelConfig.from_json(tunnel_config()))
CLAIM = """
import sys
from device_sdk.errors import InUseError
from device_sdk.keys import KeyPair
from device_sdk.tunnels.claims import claim
from tests.unit.device_sdk.test_claims import PLAN
key = KeyPair.from_private(bytes.fromhex(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
try:
    mine = claim(PLAN, key)
    print("mine", flush=True)
except InUseError as error:
    print(error, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def key() -> KeyPair:
    return KeyPair.from_private(os.urandom(32))


@pytest.fixture
def programs(key: KeyPair) -> Iterator[list[subprocess.Popen[str]]]:
    """Two, which are about to claim the same."""
    with ExitStack() as stack:
        command = [sys.executable, "-c", CLAIM, key.private.hex()]
        made = []
        for _ in range(2):
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            made.append(stack.enter_context(subprocess.Popen(command, **pipes)))
            stack.callback(made[-1].kill)
        assert [said(program) for program in made] == ["ready"] * 2
        yield made


def said(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    return program.stdout.readline().strip()


def go_on(program: subprocess.Popen[str]) -> None:
    assert program.stdin is not None
    program.stdin.write("\n")
    program.stdin.flush()


def test_of_two_programs_at_once_one_gets_it_and_the_other_hears_who_has_it(programs) -> None:
    for program in programs:
        go_on(program)
    words = {program.pid: said(program) for program in programs}
    (holder,) = [pid for pid, word in words.items() if word == "mine"]
    (refused,) = [word for word in words.values() if word != "mine"]
    assert f"(process {holder}) has this app's tunnel to that cloudlet open" in refused
    assert "end it first, or start what needs the backend behind that tunnel" in refused


def test_it_goes_with_the_process_however_that_ends(programs, key: KeyPair) -> None:
    go_on(programs[0])
    assert said(programs[0]) == "mine"
    with pytest.raises(InUseError, match=f"process {programs[0].pid}"):
        claim(PLAN, key)
    programs[0].kill()
    programs[0].wait(10)
    claim(PLAN, key).close()


def test_another_key_or_another_gateway_is_another_tunnel(key: KeyPair) -> None:
    elsewhere = replace(PLAN, public_key=b"\x07" * 32)
    with closing(claim(PLAN, key)), closing(claim(elsewhere, key)):
        claim(PLAN, KeyPair.from_private(os.urandom(32))).close()
        with pytest.raises(InUseError, match="This program itself has"):
            claim(PLAN, key)


def test_where_nothing_can_be_seen_it_is_somebody_elses(key: KeyPair, tmp_path: Path) -> None:
    with closing(claim(PLAN, key)), pytest.raises(InUseError, match="Another user's program"):
        claim(PLAN, key, tmp_path)
