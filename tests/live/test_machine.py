"""The laboratory itself: hosts that reach each other, and of which nothing is left."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.lab.machine import Machine, Network, machines, poll
from tests.lab.needs import needs

PROJECT = Path(__file__).resolve().parents[2]


@needs("root", "ip", "nsenter", "setpriv", "catatonit", "ping")
def test_machines_on_a_network_reach_each_other_and_nobody_else():
    with Network("lan", "198.51.100.0/24") as lan, machines("a", "b") as (a, b):
        lan.attach(a, "198.51.100.1")
        lan.attach(b, "198.51.100.2")
        a.run("ping", "-c1", "-W2", "198.51.100.2")
        lan.detach(b)
        assert a.run("ping", "-c1", "-W1", "198.51.100.2", check=False).returncode != 0
        assert a.run("ip", "route", "get", "192.0.2.1", check=False).returncode != 0


@needs("root", "nsenter", "setpriv", "catatonit")
def test_a_program_is_stopped_and_killed_itself():
    with Machine("m") as machine:
        assert machine.popen(["sleep", "60"]).stop() == -signal.SIGTERM
        assert machine.popen(["sleep", "60"]).kill() == -signal.SIGKILL
        assert machine.popen(["sh", "-c", "exit 3"]).wait() == 3
        assert machine.processes() == []


@needs("root", "nsenter", "setpriv", "catatonit")
def test_all_of_a_machine_dies_with_its_maker_even_by_sigkill():
    code = (
        "import time; from tests.lab.machine import Machine; m = Machine('m');"
        "p = m.popen(['setsid', 'sleep', '4321']); print(m.pid, p.pid, flush=True); time.sleep(60)"
    )
    maker = subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    try:
        assert maker.stdout is not None
        pids = [int(word) for word in maker.stdout.readline().split()]
        assert all(_alive(pid) for pid in pids)
    finally:
        maker.kill()
        maker.wait(10)
        maker.stdout.close()
    assert poll(lambda: not any(_alive(pid) for pid in pids))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
