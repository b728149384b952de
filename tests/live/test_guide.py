"""The guide of the SDK, followed to its end: its commands and programs, in order, on bare machines."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from uuid import UUID

import pytest

from tests.fakes import oci
from tests.lab import guide, images, podman
from tests.lab.guide import Block
from tests.lab.machine import Machine, Network, poll
from tests.lab.needs import WORLD, needs
from tests.lab.world import PROJECT
from tests.live.test_bringing import App

APP = UUID("2f0d4c5e-7a61-4a57-9f6e-3b1d0c9a8e42")
CODE = "482709"
STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{folder}/containers"
runroot = "/run/containers"
"""
AT_HOME = "Cloudlets nearby, and pairing"


class Reader:
    """Somebody who follows the guide on a machine, in a checkout of their own."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine, self.folder = machine, folder
        machine.run("mkdir", "/run/t")
        bin_folder, self.checkout = folder / "bin", folder / "checkout"
        for made in (bin_folder, self.checkout):
            made.mkdir(parents=True)
        (bin_folder / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
        (bin_folder / "sudo").chmod(0o755)
        for name in ("infra", "cloud", "device_sdk", "edge_agent"):
            (self.checkout / name).symlink_to(PROJECT / name)
        (self.checkout / ".venv").symlink_to(sys.prefix)
        (folder / "storage.conf").write_text(STORAGE.format(folder=folder))
        conf = podman.environment(folder)
        with Path(conf["CONTAINERS_CONF"]).open("a") as file:
            file.write(f'[network]\nnetwork_config_dir = "{folder}/networks"\n')
        path = f"{bin_folder}:{sys.prefix}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        homes = {name: str(folder / name) for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME")}
        self.env: Mapping[str, str] = {
            **conf,
            **homes,
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "PATH": path,
            "TMPDIR": "/run/t",
        }

    def follow(self, block: Block) -> str:
        """Do what the block says; returns what was printed."""
        if block.goes_on:
            self._start(block)
            return ""
        if block.language == "python":
            return self._run(sys.executable, "-c", block.text)
        return "".join(self._run("bash", "-e", "-c", command) for command in block.commands)

    def _run(self, *command: str) -> str:
        there = ("env", f"--chdir={self.checkout}", *command)
        done = self.machine.run(*there, check=False, timeout=100, env=self.env)
        assert done.returncode == 0, f"{command[-1]}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _start(self, block: Block) -> None:
        (command,) = block.commands
        log = self.folder / "log"
        program = self.machine.popen(
            ["env", f"--chdir={self.checkout}", "bash", "-c", f"exec {command.strip()}"],
            log=log,
            env=self.env,
        )
        answers = ("curl", "-fsS", "-m", "2", "-o", "/dev/null", block.goes_on)

        def serves() -> bool:
            assert program.poll() is None, log.read_text()
            return self.machine.run(*answers, check=False).returncode == 0

        assert poll(serves, 60, 0.1), log.read_text()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    kept = podman.cgroups()
    with Machine("desk") as desk:
        yield Reader(desk, tmp_path / "desk")
    podman.sweep_cgroups(kept)


def sections(*names: str) -> list[Block]:
    found = [block for block in guide.blocks() if block.runs and block.section in names]
    assert {block.section for block in found} == set(names)
    return found


@needs(*WORLD)
@pytest.mark.timeout(400)
def test_a_reader_gets_from_nothing_to_an_app_with_a_backend(reader: Reader) -> None:
    said: dict[str, str] = {}
    for block in guide.blocks():
        if (
            block.runs
            and block.language != "toml"
            and block.section not in (AT_HOME, "Bringing the app along")
        ):
            said[block.section] = said.get(block.section, "") + reader.follow(block)
    assert "desk" in said["A root and a cloudlet to try against"]
    assert "the backend is at desk" in said["The first call"]
    assert said["The first call"].count("Hello") == 2
    assert said["Around an app that knows nothing of this"].count("<!doctype html>") == 2
    assert "Ahoy" in said["What the backend is like"]
    assert "the quickest page is at desk" in said["Choosing among cloudlets"]
    assert "desk: not measured" in said["Choosing among cloudlets"]  # of one there is nothing to compare
    assert "no other" in said["Keeping a backend while the device moves"]
    assert "change the call:" in said["When it does not work"]
    assert (reader.checkout / "phone.conf").stat().st_mode & 0o777 == 0o600
    assert poll(lambda: "wireguard-go wg0" not in "\n".join(reader.machine.processes()))


@needs(*WORLD)
@pytest.mark.timeout(400)
def test_a_reader_pairs_with_a_cloudlet_at_home_and_brings_an_app(reader: Reader, tmp_path: Path) -> None:
    with Machine("living-room") as machine, Network("lan", "192.168.77.0/24") as lan:
        lan.attach(reader.machine, "192.168.77.200")
        lan.attach(machine, "192.168.77.30")
        home = Reader(machine, tmp_path / "home")
        machine.run("podman", "load", "-q", "-i", str(images.helloworld_archive()), env=home.env, timeout=60)
        web_server = oci.layer({"bin/busybox": Path("/bin/busybox").read_bytes()})
        app = App(tmp_path / "app", 1, web_server)
        for file in ("recipe.yaml", "chart.tgz", "images.tar"):
            (reader.checkout / file).symlink_to(tmp_path / "app" / file)
        for block in sections(AT_HOME, "Bringing the app along"):
            text = block.text.replace(str(APP), str(app.uuid))
            if block.goes_on:
                home.follow(block)
            elif CODE in text:
                code = machine.run(
                    "sinfonia-agent", "pair", "--state", "/run/sinfonia-home", env=home.env
                ).stdout
                text = text.replace(CODE, code.split()[0])
            if not block.goes_on:
                said = reader.follow(Block(block.section, block.language, text, runs=True, goes_on=""))
                assert block.section != AT_HOME or "Hello" in said or block.language == "python"
        fetch = f"sinfonia run http://127.0.0.1:8080 {app.uuid} --jit only -- curl -sS http://helloworld/"
        assert app.page in reader.follow(Block("", "console", f"$ {fetch}\n", runs=True, goes_on=""))
