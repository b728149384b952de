"""What `sinfonia export` writes is what wg-quick takes, and leads to the backend from another device."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.fakes.device_sdk_cloudlet import PAGE
from tests.lab.machine import Machine, Network, poll
from tests.lab.needs import TUNNEL, needs

ROOT = "http://198.51.100.7:7070"
FETCH = (
    "import urllib.request as u; print(u.urlopen('http://100.71.0.18/', timeout=10).read().decode(), end='')"
)
# wg-quick hands names to resolvconf(8), which is the host's: this one only writes down what it gets.
RESOLVCONF = '#!/bin/sh\n[ "$1" = -a ] && cat > "$(dirname "$0")/names"; exit 0\n'


@needs(*TUNNEL, "nft")
def test_another_device_reaches_the_backend_with_wg_quick_and_the_file(tmp_path: Path) -> None:
    with (
        Machine("laptop") as laptop,
        Machine("phone") as phone,
        Machine("cloudlet") as cloudlet,
        Network("lan", "198.51.100.0/24") as lan,
    ):
        for machine, address in ((laptop, "50"), (phone, "51"), (cloudlet, "7")):
            lan.attach(machine, f"198.51.100.{address}")
        log = tmp_path / "cloudlet.log"
        cloudlet.popen([sys.executable, "-m", "tests.fakes.device_sdk_cloudlet", "198.51.100.7"], log=log)
        assert poll(lambda: "serving" in log.read_text(), 60), log.read_text()
        file = tmp_path / "phone.conf"
        export = ("export", ROOT, "helloworld", "--jit", "off", "--output", str(file), "--json")
        env = {"XDG_STATE_HOME": str(tmp_path / "state"), "XDG_CONFIG_HOME": str(tmp_path)}
        done = laptop.run(sys.executable, "-m", "device_sdk.cli", *export, env=env, timeout=60)
        assert json.loads(done.stdout)["Files"] == [str(file)]

        assert "PersistentKeepalive = 25" in phone.run("wg-quick", "strip", str(file)).stdout
        programs = tmp_path / "bin"
        programs.mkdir()
        (programs / "resolvconf").write_text(RESOLVCONF)
        (programs / "resolvconf").chmod(0o755)
        path = f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin"
        before = phone.run("ip", "route").stdout
        phone.run(
            "wg-quick",
            "up",
            str(file),
            env={"PATH": path, "WG_QUICK_USERSPACE_IMPLEMENTATION": "wireguard-go"},
        )
        assert "nameserver 100.71.0.1\n" in (programs / "names").read_text()
        assert "search helloworld" in (programs / "names").read_text()
        got = poll(
            lambda: phone.run(sys.executable, "-c", FETCH, check=False).stdout.encode() == PAGE, 60, 0.5
        )
        assert got, phone.run("wg", "show", check=False).stdout
        # Only the backend's addresses go into the tunnel.
        routes = phone.run("ip", "route").stdout.splitlines()
        assert {line.split()[0] for line in routes if "phone" in line} == {"100.71.0.1", "100.71.0.16/29"}
        phone.run("wg-quick", "down", str(file), env={"PATH": path})
        assert phone.run("ip", "route").stdout == before
