"""The agent as its systemd unit runs it: real systemd, with the unit's limits on rights and calls."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.edge_agent_host import HELLOWORLD
from tests.lab.booted import Booted, podman_settings
from tests.lab.images import PROJECT, helloworld_archive
from tests.lab.machine import poll
from tests.lab.needs import CLOUDLET, needs

UNIT = "sinfonia-agent.service"
URL = "http://127.0.0.1:7070/api/v1"
CONFIG = {
    "runtime": "podman",
    "recipes": "/etc/sinfonia/recipes",
    "listen": "127.0.0.1:7070",
    "wireguard-endpoint": "127.0.0.1",
    "root": ["http://127.0.0.1:9"],
}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Booted]:
    """As the unit's own text says how to install it."""
    (tmp_path / "opt").mkdir()
    (tmp_path / "opt" / "sinfonia").symlink_to(PROJECT / ".venv")
    etc = tmp_path / "etc"
    shutil.copytree(PROJECT / "infra" / "recipes", etc / "sinfonia" / "recipes")
    shutil.copytree(PROJECT / "infra" / "charts" / "helloworld", etc / "sinfonia" / "recipes" / "helloworld")
    (etc / "sinfonia" / "agent.yaml").write_text(json.dumps(CONFIG))
    (etc / "systemd" / "system").mkdir(parents=True)
    shutil.copy(PROJECT / "infra" / "systemd" / UNIT, etc / "systemd" / "system" / UNIT)
    drop = etc / "systemd" / "system" / f"{UNIT}.d"
    drop.mkdir()
    path = f"{PROJECT / '.venv' / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin"  # helm is there
    (drop / "lab.conf").write_text(f"[Service]\nEnvironment=PATH={path}\n")
    podman_settings(tmp_path)
    with Booted(UNIT, tmp_path) as machine:
        yield machine


def called(machine: Booted, method: str, path: str) -> Any:
    """The JSON of an answer, None without one."""
    done = machine.run("curl", "-sS", "-m", "40", "-X", method, f"{URL}/{path}", check=False)
    return json.loads(done.stdout) if done.stdout.startswith(("{", "[")) else None


@pytest.mark.timeout(300)
@needs(*CLOUDLET, "systemd")
def test_the_unit_serves_outlives_a_crash_and_ends_with_all_that_it_made(machine: Booted) -> None:
    machine.run("podman", "load", "--quiet", "--input", str(helloworld_archive()))
    assert poll(lambda: called(machine, "GET", "health"), 60, 0.1), machine.journal(UNIT)
    key = base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")
    deploy = f"deploy/{HELLOWORLD}/{key}"
    answers: list[Any] = []

    def ready() -> bool:
        answers.append(called(machine, "POST", f"{deploy}?wait=20"))
        return isinstance(answers[-1], list) and answers[-1][0]["Status"] == "Ready"

    assert poll(ready, 90, 0.2), (answers[-1], machine.journal(UNIT))
    (found,) = answers[-1]
    main, peers = machine.property(UNIT, "MainPID"), machine.run("wg", "show", "all", "peers").stdout
    (web,) = machine.run("podman", "ps", "--quiet", "--filter", "name=-web").stdout.split()
    rights = machine.run("grep", "CapBnd", f"/proc/{main}/status").stdout.split()[1]
    assert not int(rights, 16) & (1 << 16 | 1 << 22 | 1 << 25), (
        "modules, reboot and time are not its to touch"
    )

    machine.run("kill", "-KILL", main)
    assert machine.run("podman", "ps", "--quiet", "--filter", "name=-web").stdout.split() == [web]
    assert machine.run("wg", "show", "all", "peers").stdout == peers
    assert poll(lambda: machine.property(UNIT, "MainPID") not in ("0", main), 60, 0.1)
    assert poll(lambda: called(machine, "GET", deploy) == [found], 60, 0.1), machine.journal(UNIT)
    assert machine.run("podman", "ps", "--quiet", "--filter", "name=-web").stdout.split() == [web]

    machine.systemctl("stop", UNIT)
    assert machine.property(UNIT, "Result") == "success"
    assert machine.run("podman", "ps", "--all", "--quiet").stdout == ""
    assert machine.run("wg", "show", "interfaces").stdout.strip() == ""
    machine.run("sh", "-c", "echo runtime: magic > /etc/sinfonia/agent.yaml")
    machine.systemctl("start", UNIT)
    assert poll(lambda: machine.property(UNIT, "ActiveState") == "failed", 30, 0.1)
    assert machine.property(UNIT, "NRestarts") == "0", "wrong settings stay wrong"
    assert "runtime" in machine.journal(UNIT).splitlines()[-1]
