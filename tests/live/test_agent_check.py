"""`sinfonia-agent check` on a machine of its own, with real programs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.machine import Machine, poll
from tests.lab.needs import needs
from tests.lab.world import BIN, RECIPES

NEEDS = (
    "root",
    "tun",
    "ip",
    "nsenter",
    "setpriv",
    "catatonit",
    "wg",
    "wireguard-go",
    "nft",
    "podman",
    "helm",
)


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine("cloudlet") as made:
        yield made


def check(machine: Machine, state: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """The exit status, and the findings by their subject."""
    command = [str(BIN / "sinfonia-agent"), "check", "--runtime", "podman", "--json", "--announce"]
    command += ["--recipes", str(RECIPES), "--state", str(state), "--listen", "127.0.0.2"]
    command += ["--wireguard-endpoint", "192.0.2.7", *options]
    done = machine.run(*command, check=False, timeout=90)
    assert done.stdout, done.stderr
    return done.returncode, {one["subject"]: one for one in json.loads(done.stdout)["findings"]}


@needs(*NEEDS)
def test_what_is_there_is_found_and_nothing_stays(machine: Machine, tmp_path: Path) -> None:
    before = machine.run("ip", "-o", "link").stdout
    _, found = check(
        machine, tmp_path / "state", "--announce-address", "127.0.0.2", "--root", "http://127.0.0.1:9"
    )
    bad = {subject for subject, one in found.items() if one["level"] == "bad"}
    assert bad <= {"127.0.0.1:9", "podman's runtime"}, found
    assert "127.0.0.1:9" in bad
    assert re.match(r"(\d+) of \1 render", found["recipes"]["text"])
    assert {"ip", "wg", "nft", "podman", "helm", "WireGuard", "packet rules", "forwarding"} <= found.keys()
    assert machine.run("ip", "-o", "link").stdout == before
    assert "sinfonia" not in machine.run("nft", "list", "tables").stdout
    assert not (tmp_path / "state").exists()


@needs(*NEEDS)
def test_a_port_that_somebody_else_has_is_named(machine: Machine, tmp_path: Path) -> None:
    machine.run("wireguard-go", "wg0")
    machine.run("wg", "set", "wg0", "listen-port", "51820")
    machine.run("ip", "link", "set", "wg0", "up")
    assert poll(lambda: ":51820" in machine.run("ss", "-lun").stdout)
    status, found = check(machine, tmp_path, "--announce-address", "127.0.0.2")
    assert status == 2
    assert found["UDP port 51820"]["level"] == "bad"
    assert "--wireguard-port" in found["UDP port 51820"]["advice"]
