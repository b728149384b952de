"""The client out of curl and wg-quick reaches a backend, and is not fooled by an answer."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.fakes.device_sdk_cloudlet import PAGE
from tests.lab.machine import Machine, Network, poll
from tests.lab.needs import TUNNEL, needs
from tests.lab.world import HELLOWORLD, PROJECT

SCRIPT = str(PROJECT / "device_sdk" / "examples" / "curl-and-wg-quick.sh")
NEEDED = (*TUNNEL, "curl", "jq")
# wg-quick hands names to resolvconf(8), which is the host's; this one belongs to the machine.
RESOLVCONF = '#!/bin/sh\n[ "$1" = -a ] && cat > "$(dirname "$0")/names"; exit 0\n'


@needs(*NEEDED, "nft")
def test_a_key_one_call_a_tunnel_and_the_page_is_there(tmp_path: Path) -> None:
    env = _programs(tmp_path)
    with Machine("phone") as phone, Machine("cloudlet") as cloudlet, Network("lan", "198.51.100.0/24") as lan:
        lan.attach(phone, "198.51.100.51")
        lan.attach(cloudlet, "198.51.100.7")
        log = tmp_path / "log"
        cloudlet.popen([sys.executable, "-m", "tests.fakes.device_sdk_cloudlet", "198.51.100.7"], log=log)
        assert poll(lambda: "serving" in log.read_text(), 60), log.read_text()
        before = phone.run("ip", "route").stdout
        call = (SCRIPT, "http://198.51.100.7:7070/", HELLOWORLD, "http://100.71.0.18/")
        done = phone.run(*call, env=env, timeout=110)
        assert done.stdout.encode() == PAGE
        assert "nameserver 100.71.0.1\n" in (tmp_path / "bin" / "names").read_text()
        assert phone.run("ip", "route").stdout == before
        assert not list((tmp_path / "tmp").iterdir())


GOOD = {
    "publicKey": "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
    "allowedIPs": ["100.71.0.1/32"],
    "endpoint": "192.0.2.7:51820",
    "address": ["100.71.0.17/32"],
    "dns": ["100.71.0.1"],
}


@needs(*NEEDED)
@pytest.mark.parametrize(
    ("hostile", "said"),
    [
        ({"dns": ["x\nPostUp = touch owned"]}, "a bad word"),
        ({"endpoint": "192.0.2.7:1\nPostUp = touch owned"}, "a bad word"),
        ({"allowedIPs": ["0.0.0.0/0"]}, "everywhere"),
        ({"allowedIPs": ["::/1"]}, "everywhere"),
    ],
)
def test_an_answer_that_would_run_commands_or_take_all_traffic_is_refused(
    tmp_path: Path, hostile: dict[str, object], said: str
) -> None:
    env = _programs(tmp_path)
    answer = tmp_path / "answer.json"
    answer.write_text(json.dumps([{"TunnelConfig": GOOD | hostile}]))
    (tmp_path / "bin" / "curl").write_text(  # a root's answer without a root
        f'#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done; cat {answer} > "$2"\n'
    )
    (tmp_path / "bin" / "curl").chmod(0o755)
    with Machine("phone") as phone:
        call = (SCRIPT, "http://198.51.100.7", HELLOWORLD, "http://x/")
        done = phone.run(*call, env=env, check=False)
        assert done.returncode != 0
        assert said in done.stderr
        assert "sinfonia0" not in phone.run("ip", "link").stdout
    assert not list((tmp_path / "tmp").iterdir())


def _programs(folder: Path) -> dict[str, str]:
    (folder / "bin").mkdir()
    (folder / "tmp").mkdir()
    (folder / "bin" / "resolvconf").write_text(RESOLVCONF)
    (folder / "bin" / "resolvconf").chmod(0o755)
    path = f"{folder / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "TMPDIR": str(folder / "tmp")}
