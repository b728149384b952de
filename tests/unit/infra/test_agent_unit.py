"""The agent's systemd unit: what it starts is an agent with options that there are."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_agent.arguments import parse
from edge_agent.settings import Settings
from tests.lab.cluster import PROJECT

FOLDER = PROJECT / "infra" / "systemd"
UNIT = FOLDER / "sinfonia-agent.service"


def fields() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def test_it_starts_an_agent_with_the_options_of_its_file():
    (command,) = fields()["ExecStart"]
    program, *words = command.split()
    assert program == "/opt/sinfonia/bin/sinfonia-agent"
    assert words[1:] == ["--config", "/etc/sinfonia/agent.yaml", "--state", "${STATE_DIRECTORY}"]
    arguments = parse(["run", "--config", str(FOLDER / "agent.yaml"), "--state", "/var/lib/sinfonia-agent"])
    settings = Settings.from_arguments(arguments, lambda: "192.168.1.5")
    assert settings.runtime == "podman"
    assert settings.serving.metrics is not None
    assert settings.serving.metrics.loopback


def test_settings_that_are_wrong_are_not_tried_again_and_crashes_are():
    unit = fields()
    assert unit["Restart"] == ["on-failure"]
    assert unit["RestartPreventExitStatus"] == ["2"]
    assert unit["KillMode"] == ["process"]


def test_it_has_no_mounts_of_its_own_and_no_right_to_load_modules_or_set_clocks():
    unit = fields()
    assert not unit.keys() & {"PrivateTmp", "ProtectSystem", "ProtectHome", "ProtectClock", "PrivateDevices"}
    allowed = set(" ".join(unit["CapabilityBoundingSet"]).split())
    assert {"CAP_NET_ADMIN", "CAP_SYS_ADMIN"} <= allowed
    assert not allowed & {
        "CAP_SYS_MODULE",
        "CAP_SYS_BOOT",
        "CAP_SYS_TIME",
        "CAP_SYS_RAWIO",
        "CAP_BPF",
        "CAP_SYSLOG",
    }


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this machine lacks systemd-analyze")
def test_systemd_understands_it(tmp_path: Path):
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/sinfonia/bin/sinfonia-agent", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": os.defpath, "SYSTEMD_LOG_LEVEL": "warning"},
    )
    assert done.returncode == 0, done.stderr
    assert UNIT.name not in done.stderr
