"""`sinfonia` on a real device machine, against a stand-in cloudlet over a real network and real tunnels."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.device_sdk_cloudlet import DEVICE, DOMAIN, GATEWAY, PAGE
from tests.lab import ordinary
from tests.lab.machine import Machine, Network, Program, poll
from tests.lab.needs import TUNNEL, needs

ROOT = "http://198.51.100.7:7070"
FETCH = (
    "import urllib.request as u; print(u.urlopen('http://helloworld/', timeout=10).read().decode(), end='')"
)
FIREWALL = "table inet t { chain o { type filter hook output priority 0; udp dport 51820 drop; }; }"
live = needs(*TUNNEL, "nft")


class Lab:
    """A device and a cloudlet on one network."""

    def __init__(self, device: Machine, cloudlet: Machine, folder: Path) -> None:
        self.device, self.cloudlet, self.folder = device, cloudlet, folder
        self.log = folder / "cloudlet.log"
        self.programs: list[Program] = []
        self.env = {"XDG_STATE_HOME": str(folder / "state")}

    def start(self, *options: str) -> Program:
        command = [sys.executable, "-m", "tests.fakes.device_sdk_cloudlet", "198.51.100.7", *options]
        program = self.cloudlet.popen(command, log=self.log)
        self.programs.append(program)
        assert poll(lambda: "serving" in self.log.read_text()), self.log.read_text()
        return program

    def sinfonia(self, *arguments: str):
        return self.device.run(
            sys.executable, "-m", "device_sdk.cli", *arguments, check=False, timeout=60, env=self.env
        )


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with (
        Machine("device") as device,
        Machine("cloudlet") as cloudlet,
        Network("lan", "198.51.100.0/24") as lan,
    ):
        lan.attach(device, "198.51.100.50")
        lan.attach(cloudlet, "198.51.100.7")
        made = Lab(device, cloudlet, tmp_path)
        yield made
        for program in made.programs:
            program.kill()


@live
def test_run_reaches_the_backend_by_name(lab: Lab) -> None:
    lab.start("--ready-after", "1")
    done = lab.sinfonia("run", ROOT, "helloworld", "--jit", "off", "--", sys.executable, "-c", FETCH)
    assert done.stdout.encode() == PAGE, done.stderr
    assert done.returncode == 0
    assert "stand-in" in done.stderr


@live
def test_the_command_sees_the_backend_and_nothing_of_the_tunnels_making(lab: Lab) -> None:
    lab.start()
    before = _state(lab.device)
    show = (
        "import pathlib,socket,subprocess as s;"
        "print(pathlib.Path('/etc/resolv.conf').read_text());"
        "print(s.check_output(['ip','-o','addr'],text=True));"
        "print(s.check_output(['ip','route'],text=True));"
        f"print('fqdn', socket.gethostbyname('helloworld.{DOMAIN}'));"
        "print('short', socket.gethostbyname('helloworld'))"
    )
    done = lab.sinfonia(
        "run", ROOT, "helloworld", "--jit", "off", "--quiet", "--", sys.executable, "-c", show
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert f"nameserver {GATEWAY}\nsearch {DOMAIN}\noptions ndots:5 timeout:1 attempts:5\n" in done.stdout
    assert f"inet {DEVICE}/32" in done.stdout
    assert "eth0" not in done.stdout
    assert "default" not in done.stdout
    assert "short 100.71.0.18" in done.stdout
    assert "fqdn 100.71.0.18" in done.stdout
    assert _state(lab.device) == before


def _state(machine: Machine) -> str:
    """Everything that a tunnel could leave behind."""
    look = "ip -o link; ip route; ip netns list; ls -A /run /run/wireguard 2>&1; cat /proc/mounts"
    return machine.run("sh", "-c", look).stdout + "\n".join(machine.processes())


@live
def test_the_commands_exit_status_and_signals_come_through(lab: Lab) -> None:
    lab.start()
    run = ("run", ROOT, "helloworld", "--jit", "off", "--quiet", "--")
    assert lab.sinfonia(*run, "sh", "-c", "exit 42").returncode == 42
    assert lab.sinfonia(*run, "sh", "-c", "kill -KILL $$").returncode == 128 + signal.SIGKILL
    assert lab.sinfonia(*run, "no-such-command").returncode == 127

    # A signal to sinfonia ends the command, which may still clean up.
    command = [
        sys.executable,
        "-m",
        "device_sdk.cli",
        *run,
        "sh",
        "-c",
        "trap 'echo bye; exit 7' TERM; echo on; while :; do sleep 0.05; done",
    ]
    log = lab.folder / "run.log"
    program = lab.device.popen(command, log=log, env=lab.env)
    lab.programs.append(program)
    assert poll(lambda: "on" in log.read_text().split()), log.read_text()
    program.send_signal(signal.SIGTERM)
    assert program.wait() == 7
    assert "bye" in log.read_text()


@live
def test_nothing_is_left_when_it_is_killed(lab: Lab) -> None:
    lab.start()
    before = _state(lab.device)
    log = lab.folder / "run.log"
    script = "setsid sleep 300 & sleep 300 & echo on; exec sleep 300"
    command = ["run", ROOT, "helloworld", "--jit", "off", "--", "sh", "-c", script]
    program = lab.device.popen([sys.executable, "-m", "device_sdk.cli", *command], log=log, env=lab.env)
    lab.programs.append(program)
    assert poll(lambda: log.exists() and "on" in log.read_text().split()), log.read_text()
    assert "wireguard-go" in "\n".join(lab.device.processes())
    program.kill()
    assert poll(lambda: _state(lab.device) == before), _state(lab.device)


@live
def test_what_the_command_leaves_running_ends_with_its_tunnel(lab: Lab) -> None:
    lab.start()
    before = _state(lab.device)
    script = "setsid sh -c 'echo $$; exec sleep 300' & (trap '' TERM; exec sleep 300) & exit 3"
    done = lab.sinfonia("run", ROOT, "helloworld", "--jit", "off", "--", "sh", "-c", script)
    assert done.returncode == 3
    assert _state(lab.device) == before


class Terminal:
    """A terminal on the device, with `sinfonia` at its other end."""

    def __init__(self, lab: Lab, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        command = ["setsid", "--ctty", "--wait", sys.executable, "-m", "device_sdk.cli", *arguments]
        environ = {**os.environ, **lab.env, "TERM": "dumb", "PS1": "$ "}
        self._program = subprocess.Popen(
            lab.device.command(*command), stdin=theirs, stdout=theirs, stderr=theirs, env=environ
        )
        os.close(theirs)
        os.set_blocking(self._ours, False)
        self.shown = ""

    def type(self, keys: str) -> None:
        """Press keys."""
        self.shown = ""
        os.write(self._ours, keys.encode())

    def shows(self, wanted: str, timeout: float = 30.0) -> bool:
        """Whether it comes to show this, since keys were pressed."""
        return poll(lambda: re.search(wanted, self._read(), re.MULTILINE), timeout)

    def wait(self) -> int:
        """The status that sinfonia ends with."""
        assert poll(lambda: (self._read(), self._program.poll() is not None)[1], 30.0), self.shown
        return self._program.returncode

    def close(self) -> None:
        """Hang up."""
        os.close(self._ours)
        self._program.kill()
        self._program.wait(30)

    def _read(self) -> str:
        with contextlib.suppress(BlockingIOError, OSError):
            self.shown += os.read(self._ours, 65536).decode(errors="replace").replace("\r", "")
        return self.shown


@pytest.fixture
def terminal(lab: Lab) -> Iterator[Callable[..., Terminal]]:
    with contextlib.ExitStack() as closing:

        def opened(*arguments: str) -> Terminal:
            made = Terminal(lab, *arguments)
            closing.callback(made.close)
            return made

        yield opened


RUN = ("run", ROOT, "helloworld", "--jit", "off", "--quiet", "--")


@live
def test_a_shell_on_a_terminal_has_its_jobs(lab: Lab, terminal: Callable[..., Terminal]) -> None:
    lab.start()
    before = _state(lab.device)
    shell = terminal(*RUN, "bash", "--norc", "--noprofile", "-i")
    assert shell.shows(r"^\$ "), shell.shown
    assert "job control" not in shell.shown
    for keys, shown in [
        ("tty; echo $((6 * 7))\n", r"^/dev/pts/\d+\n42\n"),
        ("sleep 300\n", r"sleep 300\n"),
        ("\x1a", r"Stopped +sleep 300\n\$ "),
        ("bg; jobs\n", r"Running +sleep 300 &\n\$ "),
        ("fg\n", r"^sleep 300\n"),
        ("\x03", r"\$ "),
        ("echo after $?\n", r"^after 130\n"),
        ("sleep 300 & disown\n", r"\$ "),
    ]:
        shell.type(keys)
        assert shell.shows(shown), (keys, shell.shown)
    shell.type("exit 5\n")
    assert shell.wait() == 5
    assert _state(lab.device) == before


@live
def test_the_terminals_ctrl_c_reaches_the_command_once(lab: Lab, terminal: Callable[..., Terminal]) -> None:
    lab.start()
    script = (
        "trap 'echo caught; n=$((n + 1)); [ $n = 2 ] && exit 9' INT; echo on; while :; do sleep 0.02; done"
    )
    there = terminal(*RUN, "sh", "-c", script)
    assert there.shows(r"^on\n"), there.shown
    there.type("\x03")
    assert there.shows(r"caught\n"), there.shown
    there.type("\x03")
    assert there.shows(r"caught\n"), there.shown
    assert there.wait() == 9


@live
def test_a_backend_that_fails_or_is_not_ready_in_time_says_why(lab: Lab) -> None:
    program = lab.start("--fail", "the image can't be pulled")
    done = lab.sinfonia("run", ROOT, "helloworld", "--jit", "off", "--quiet", "--", "true")
    assert (done.returncode, done.stderr) == (
        112,
        "sinfonia: The backend failed: the image can't be pulled.\n",
    )
    program.kill()
    lab.log.write_text("")
    lab.start("--ready-after", "60")
    done = lab.sinfonia(
        "run", ROOT, "helloworld", "--jit", "off", "--quiet", "--ready-timeout", "1", "--", "true"
    )
    assert done.returncode == 112
    assert "not ready within 1 s: the image is being fetched" in done.stderr


@live
def test_a_gateway_that_udp_does_not_reach_is_named(lab: Lab) -> None:
    lab.start()
    lab.device.run("sh", "-c", f"echo '{FIREWALL}' | nft -f -")
    done = lab.sinfonia(
        "run", ROOT, "helloworld", "--jit", "off", "--quiet", "--ready-timeout", "2", "--", "true"
    )
    assert done.returncode == 113
    assert "198.51.100.7:51820 never answered; does a firewall hold back UDP port 51820?" in done.stderr


@live
def test_release_gives_the_backend_back_and_twice_is_fine(lab: Lab) -> None:
    lab.start()
    deployed = lab.sinfonia("deploy", ROOT, "helloworld", "--jit", "off", "--json")
    assert json.loads(deployed.stdout)[0]["Cloudlet"]["Name"] == "stand-in"
    for answer in ([{"Cloudlet": "stand-in", "Released": True}], []):
        done = lab.sinfonia("release", ROOT, "helloworld", "--jit", "off", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == answer
    assert lab.log.read_text().count("released") == 1


@live
def test_a_cloudlet_nearby_serves_without_any_root(lab: Lab) -> None:
    lab.start("--announce")
    nowhere = "http://198.51.100.99:8080"
    done = lab.sinfonia("run", nowhere, "helloworld", "--json", "--", sys.executable, "-c", FETCH)
    assert done.stdout.encode() == PAGE, done.stderr
    facts = json.loads(done.stderr.splitlines()[-1])
    assert facts["Target"]["JIT"] is True
    assert facts["Timings"]["discovery_s"] < 1.0
    found = json.loads(lab.sinfonia("find", nowhere, "helloworld", "--json").stdout)
    assert found[0]["LocalNetwork"] is True
    assert found[0]["Endpoint"] == f"{ROOT}/api/v1/deploy"


@live
@needs("busybox-static")
def test_it_works_without_root(lab: Lab) -> None:
    lab.start("--ready-after", "1")
    lab.env |= ordinary.prepare(lab.device)
    before = _state(lab.device)
    run = ["run", ROOT, "helloworld", "--jit", "off", "--quiet", "--"]
    command = [sys.executable, "-m", "device_sdk.cli", *run]
    fetch = ["busybox", "wget", "-q", "-O", "-", "http://helloworld/"]
    done = lab.device.run(*ordinary.USER, *command, *fetch, check=False, timeout=60, env=lab.env)
    assert done.stdout.encode() == PAGE, done.stderr
    show = "setsid sleep 300 & id -u; grep CapEff /proc/self/status; ip -o link | wc -l"
    done = lab.device.run(*ordinary.USER, *command, "sh", "-c", show, timeout=60, env=lab.env)
    assert done.stdout.split() == ["65534", "CapEff:", "0000000000000000", "2"]
    assert _state(lab.device) == before
    log = lab.folder / "run.log"
    forking = ["sh", "-c", "setsid sleep 300 & sleep 300 & echo on; exec sleep 300"]
    program = lab.device.popen([*ordinary.USER, *command, *forking], log=log, env=lab.env)
    assert poll(lambda: "on" in log.read_text().split()), log.read_text()
    program.kill()
    assert poll(lambda: _state(lab.device) == before), _state(lab.device)


@live
def test_without_namespaces_it_says_so_before_anything_is_deployed(lab: Lab) -> None:
    lab.start()
    script = (
        "mkdir /run/bin && printf '#!/bin/sh\necho unshare failed: Operation not permitted >&2; exit 1\n'"
    )
    lab.device.run("sh", "-c", f"{script} > /run/bin/unshare && chmod 755 /run/bin /run/bin/unshare")
    lab.env |= ordinary.prepare(lab.device)
    command = [sys.executable, "-m", "device_sdk.cli", "run", ROOT, "helloworld", "--", "true"]
    environ = {**lab.env, "PATH": f"/run/bin:{os.environ['PATH']}"}
    done = lab.device.run(*ordinary.USER, *command, check=False, env=environ)
    assert done.returncode == 114
    assert "gives users no network namespaces" in done.stderr
    assert "sudo" in done.stderr
    assert "deploy" not in lab.log.read_text()


@live
def test_a_target_that_does_not_answer_is_replaced_by_the_next(lab: Lab) -> None:
    lab.start("--decoy", "198.51.100.8:51820")
    run = ("run", ROOT, "helloworld", "--jit", "off", "--results", "2", "--ready-timeout", "2", "--")
    done = lab.sinfonia(*run, sys.executable, "-c", FETCH)
    assert done.stdout.encode() == PAGE, done.stderr
    assert "opening the tunnel: 2." in done.stderr


@live
def test_the_fastest_of_several_is_run_at_and_the_others_are_told_of(lab: Lab) -> None:
    lab.start("--decoy", "198.51.100.8:51820")
    run = ("run", ROOT, "helloworld", "--jit", "off", "--choose", "fastest", "--json", "--")
    done = lab.sinfonia(*run, sys.executable, "-c", FETCH)
    assert done.stdout.encode() == PAGE, done.stderr
    told = json.loads(done.stderr.splitlines()[-1])
    best, other = told["Measured"]
    assert (best["Method"], other["Method"]) == ("probe", "none")
    assert 0 < best["rtt_ms"] < 1000
    assert other["Error"]
    assert {"tunnel_s", "choosing_s", "ready_s"} <= told["Timings"].keys()
    run = tuple(word for word in run if word != "--json")
    done = lab.sinfonia(*run, "true")
    assert re.search(r"the backend runs at stand-in, [0-9.]+ ms away\n", done.stderr), done.stderr


@live
def test_one_app_has_one_tunnel_to_a_gateway_at_a_time(lab: Lab) -> None:
    lab.start()
    run = ["run", ROOT, "helloworld", "--jit", "off", "--quiet", "--"]
    log = lab.folder / "run.log"
    command = [sys.executable, "-m", "device_sdk.cli", *run, "sh", "-c", "echo on; exec sleep 60"]
    first = lab.device.popen(command, log=log, env=lab.env)
    lab.programs.append(first)
    assert poll(lambda: log.exists() and "on" in log.read_text().split()), log.read_text()
    second = lab.sinfonia(*run, "true")
    assert second.returncode == 113
    assert re.search(r"The program \S+ \(process \d+\) has this app's tunnel", second.stderr), second.stderr
    first.send_signal(signal.SIGTERM)
    assert first.wait() == 128 + signal.SIGTERM
    third = lab.sinfonia(*run, "true")
    assert third.returncode == 0, third.stderr


@live
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])
def test_interrupted_while_it_waits_it_takes_everything_down(lab: Lab, number: signal.Signals) -> None:
    lab.start("--ready-after", "60")
    before = _state(lab.device)
    command = [
        sys.executable,
        "-m",
        "device_sdk.cli",
        "run",
        ROOT,
        "helloworld",
        "--jit",
        "off",
        "--",
        "true",
    ]
    log = lab.folder / "run.log"
    program = lab.device.popen(command, log=log, env=lab.env)
    lab.programs.append(program)
    assert poll(lambda: log.exists() and "opening the tunnel" in log.read_text())
    program.send_signal(number)
    assert program.wait(5) == 128 + number
    assert poll(lambda: _state(lab.device) == before), _state(lab.device)


OVERLAY = (
    "mkdir /run/u /run/w; mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/u,workdir=/run/w /etc; "
)


@live
@pytest.mark.parametrize(
    "change",
    [
        "rm /etc/resolv.conf",
        "ln -sf /run/nowhere/stub.conf /etc/resolv.conf",
        "echo nameserver 192.0.2.1 > /run/stub.conf; ln -sf /run/stub.conf /etc/resolv.conf",
        "echo 'hosts: resolve [!UNAVAIL=return] files' > /etc/nsswitch.conf",
    ],
    ids=["missing", "dangling", "link", "systemd"],
)
def test_names_resolve_however_the_system_keeps_its_files(lab: Lab, change: str) -> None:
    lab.start()
    lab.device.run("sh", "-c", OVERLAY + change)
    before = _state(lab.device) + lab.device.run("ls", "-l", "/etc/resolv.conf", check=False).stdout
    done = lab.sinfonia("run", ROOT, "helloworld", "--jit", "off", "--", sys.executable, "-c", FETCH)
    assert done.stdout.encode() == PAGE, done.stderr
    after = _state(lab.device) + lab.device.run("ls", "-l", "/etc/resolv.conf", check=False).stdout
    assert after == before


@live
def test_what_is_missing_is_named(lab: Lab) -> None:
    lab.start()
    lab.device.run("mkdir", "/run/bin")
    for name in ("env", "ip", "setpriv", "sh", "true", "nsenter", "unshare", "mount"):
        lab.device.run("ln", "-s", str(shutil.which(name)), f"/run/bin/{name}")
    command = [sys.executable, "-m", "device_sdk.cli", "run", ROOT, "helloworld", "--quiet", "--", "true"]
    done = lab.device.run("env", "PATH=/run/bin", *command, check=False, env=lab.env)
    assert done.returncode == 114
    assert "A tunnel needs wireguard-go; on Debian: apt install wireguard-go" in done.stderr
