"""`sinfonia doctor` on machines that lack something: it finds that, and nothing else."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.machine import Machine, Network, poll
from tests.lab.needs import TUNNEL, needs

ROOT = "http://198.51.100.7:7070"
live = needs(*TUNNEL, "nft")
MULTICAST = "table inet t { chain o { type filter hook output priority 0; udp dport 5353 drop; }; }"
FIREWALL = "table inet t { chain o { type filter hook output priority 0; udp dport 51820 drop; }; }"
# An ordinary user, in a user namespace whose limits are not the host's.
AS_USER = (
    "unshare --user --map-user=65534 --map-group=65534 --keep-caps sh -c "
    "'{limit} exec setpriv --ambient-caps=-all --inh-caps=-all -- {command}'"
)
LIMIT = "echo 0 > /proc/sys/user/max_user_namespaces;"


class Lab:
    """A device, and a network for it."""

    def __init__(self, device: Machine, cloudlet: Machine, folder: Path) -> None:
        self.device, self.cloudlet, self.folder = device, cloudlet, folder
        self.env = {"XDG_STATE_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}

    def found(self, *words: str, **env: str) -> dict[str, dict[str, str]]:
        """What the doctor says, by the names of its checks; and that its status fits."""
        command = (sys.executable, "-m", "device_sdk.cli", "doctor", *words, "--json")
        done = self.device.run(*command, check=False, timeout=100, env={**self.env, **env})
        assert done.stdout, done.stderr
        found = {one["Check"]: one for one in json.loads(done.stdout)}
        assert done.returncode == int(any(one["State"] == "problem" for one in found.values()))
        return found

    def cloudlet_starts(self) -> None:
        log = self.folder / "cloudlet.log"
        command = [sys.executable, "-m", "tests.fakes.device_sdk_cloudlet", "198.51.100.7"]
        self.cloudlet.popen(command, log=log)
        assert poll(lambda: "serving" in log.read_text(), 60), log.read_text()


def problems(found: dict[str, dict[str, str]]) -> set[str]:
    return {name for name, one in found.items() if one["State"] == "problem"}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with (
        Machine("device") as device,
        Machine("cloudlet") as cloudlet,
        Network("lan", "198.51.100.0/24") as lan,
    ):
        lan.attach(device, "198.51.100.50")
        lan.attach(cloudlet, "198.51.100.7")
        yield Lab(device, cloudlet, tmp_path)


@live
def test_a_device_that_lacks_nothing_is_fine_up_to_the_backend(lab: Lab) -> None:
    lab.cloudlet_starts()
    before = lab.device.run("ip", "-o", "link").stdout
    found = lab.found(ROOT, "--app", "helloworld")
    assert {one["State"] for one in found.values()} == {"ok"}, found
    assert "UDP to 198.51.100.7 port 51820" in found["backend"]["Detail"]
    assert lab.device.run("ip", "-o", "link").stdout == before
    # A firewall that holds UDP back is found by the way to the backend alone.
    lab.device.run("nft", FIREWALL)
    found = lab.found(ROOT, "--app", "helloworld")
    assert problems(found) == {"backend"}
    assert "never answered" in found["backend"]["Detail"]
    assert "UDP to 198.51.100.7 port 51820" in found["backend"]["Advice"]


@live
def test_what_is_missing_is_found(lab: Lab) -> None:
    lab.device.run("nft", MULTICAST)
    found = lab.found()
    assert problems(found) == set()
    assert found["nearby"]["State"] == "warning"
    assert "held back at 198.51.100.50" in found["nearby"]["Detail"]

    # Programs: all but WireGuard.
    programs = lab.folder / "bin"
    programs.mkdir()
    for folder in reversed(os.environ["PATH"].split(":")):
        for path in Path(folder).iterdir() if Path(folder).is_dir() else ():
            if path.name in ("unshare", "nsenter", "setpriv", "env", "ip", "true") and path.is_file():
                (programs / path.name).unlink(missing_ok=True)
                (programs / path.name).symlink_to(path.resolve())
    found = lab.found(PATH=str(programs))
    assert {"programs", "wireguard"} <= problems(found) <= {"programs", "wireguard"}
    assert found["programs"]["Advice"] == "on Debian: apt install wireguard-go"

    lab.device.run("mount", "-t", "tmpfs", "tmpfs", "/dev/net")
    found = lab.found(PATH=str(programs))
    assert "tun" in problems(found)
    assert "--device /dev/net/tun" in found["tun"]["Advice"]


@live
def test_a_user_who_gets_no_namespaces_hears_which_setting_it_is(lab: Lab) -> None:
    state = "/run/state"
    lab.device.run("mkdir", "-m", "777", state)
    doctor = f"{sys.executable} -m device_sdk.cli doctor --json"

    def found(limit: str) -> dict[str, dict[str, str]]:
        command = AS_USER.format(limit=limit, command=doctor)
        env = {"XDG_STATE_HOME": state, "HOME": state}
        done = lab.device.run("sh", "-c", command, check=False, timeout=100, env=env)
        assert done.stdout, done.stderr
        return {one["Check"]: one for one in json.loads(done.stdout)}

    allowed = found("")
    assert problems(allowed) == set()
    assert allowed["namespaces"]["Detail"] == "without root"
    refused = found(LIMIT)
    assert problems(refused) == {"namespaces", "wireguard"}
    assert "user/max_user_namespaces=0" in refused["namespaces"]["Detail"]
    advice = "sysctl -w user.max_user_namespaces=10000, or run the command with sudo"
    assert refused["namespaces"]["Advice"] == advice
