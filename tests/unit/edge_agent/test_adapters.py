"""The adapters' own words: rules for nftables, errors of Podman and Kubernetes, background steps, logs."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from edge_agent import logs
from edge_agent.errors import Conflict, DeployFailed, SettingsError, Unavailable
from edge_agent.nearby.advertise import Advertiser
from edge_agent.on_podman.disk import Disk
from edge_agent.on_podman.host_network import given_resolvers
from edge_agent.on_podman.isolation import Isolation
from edge_agent.on_podman.podman import PodmanRuntime
from edge_agent.on_podman.podman_program import Podman, PodmanError
from edge_agent.recipes.limits import STANDARD
from edge_agent.workers import Workers
from tests.fakes.edge_agent_parts import AGENT
from tests.lab.machine import poll
from tests.unit.edge_agent.test_records import RECORD


def podman(status: int = 0, out: bytes = b"", err: bytes = b"") -> PodmanRuntime:
    def run(arguments: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess(arguments, status, out, err)

    program = Podman(AGENT, [], clock=time.monotonic, sleep=print, run=run)
    disk = Disk(program, lambda job: job(), time.monotonic)
    return PodmanRuntime(AGENT, program, Isolation(AGENT, run), Path("/nonexistent"), disk)


def test_podmans_errors() -> None:
    noise = b'time="x" level=warning msg="noise"\n'
    with pytest.raises(Unavailable, match=r"storage is away$"):
        podman(125, err=noise + b"Error: storage is away\n").records()
    with pytest.raises(Conflict):
        podman(125, err=b"Error: network name n already used: network already exists\n").create(RECORD)
    with pytest.raises(Unavailable, match="no subnet"):
        podman(125, err=b"Error: no subnet\n").create(RECORD)
    with pytest.raises(Unavailable, match="not JSON"):
        podman(out=b"rubbish").records()
    assert podman(out=b"null").records() == []


def test_a_damaged_record_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    good = {
        "name": "a",
        "labels": {**RECORD.labels(AGENT), **RECORD.notes()},
        "subnets": [{"subnet": "10.89.0.0/24"}],
        "network_interface": "podman1",
    }
    bad = {"name": "b", "labels": {"sinfonia/agent": str(AGENT)}, "subnets": [{"subnet": "10.89.1.0/24"}]}
    listing = json.dumps([good, bad, {"name": "c", "labels": None, "subnets": None}, "d"]).encode()
    assert podman(out=listing).records() == [RECORD]
    assert len(caplog.records) == 2


def test_a_backend_without_its_network_is_not_started() -> None:
    with pytest.raises(DeployFailed, match="network is gone"):
        podman(out=b"[]").apply(RECORD, [], STANDARD)


def test_pods_reach_themselves_where_a_bridge_gives_packets_back() -> None:
    def port(name: str, bridge: str, *, hairpin: bool) -> dict[str, Any]:
        return {"ifname": name, "master": bridge, "linkinfo": {"info_slave_data": {"hairpin": hairpin}}}

    ports = [port("veth0", "podman1", hairpin=False), port("veth1", "podman1", hairpin=True)]
    listing = json.dumps([{}, *ports, port("veth2", "docker0", hairpin=False)]).encode()
    calls: list[tuple[list[str], bytes]] = []

    def run(arguments: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        calls.append((arguments, options["input"]))
        return subprocess.CompletedProcess(arguments, 0, listing if "show" in arguments else b"", b"")

    Isolation(AGENT, run).reflect({"podman1", "podman2"})
    assert [text for _, text in calls] == [b"", b"link set dev veth0 type bridge_slave hairpin on\n"]
    Isolation(AGENT, run).reflect({"podman2"})
    assert len(calls) == 3

    def rubbish(arguments: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess(arguments, 0, b"rubbish", b"")

    with pytest.raises(Unavailable, match="can't be read"):
        Isolation(AGENT, rubbish).reflect({"podman1"})


@pytest.mark.parametrize(
    ("said", "resolvers"),
    [
        ("nameserver 192.0.2.1\nnameserver 127.0.0.1\nnameserver 2001:db8::1\n", ["192.0.2.1"]),
        ("# nothing\nnameserver\nnameserver x\n", []),
        ("nameserver 127.0.0.1\n", []),
        ("nameserver 127.0.0.53\noptions edns0\n", ["192.168.1.1"]),
        ("nameserver 127.0.0.53\nnameserver 2001:db8::1\n", []),
        (None, []),
    ],
)
def test_guests_reach_the_name_servers_that_podman_gives_them(
    tmp_path: Path, said: str | None, resolvers: list[str]
) -> None:
    if said is not None:
        (tmp_path / "resolv.conf").write_text(said)
    (tmp_path / "resolved").write_text("nameserver 192.168.1.1\nsearch home\n")
    given = given_resolvers(tmp_path / "resolv.conf", tmp_path / "resolved")
    assert [str(address) for address in given] == resolvers


def test_podman_that_is_missing_or_hangs() -> None:
    def absent(*_: Any, **__: Any) -> Any:
        raise FileNotFoundError

    def hanging(arguments: list[str], **options: Any) -> Any:
        raise subprocess.TimeoutExpired(arguments, options["timeout"])

    for run, words in ((absent, "not installed"), (hanging, "more than 20 s")):
        program = Podman(AGENT, [], clock=time.monotonic, sleep=print, run=run)
        with pytest.raises(Unavailable, match=words):
            program.call("network", "ls")


def test_steps_of_an_earlier_run_are_awaited(tmp_path: Path) -> None:
    shutil.copy("/bin/sleep", tmp_path / "podman")
    agent = uuid.uuid4()
    pauses: list[float] = []
    program = Podman(
        agent, [], clock=time.monotonic, sleep=lambda seconds: pauses.append(orphan.wait(5) or seconds)
    )
    with subprocess.Popen([tmp_path / "podman", "1"], env={"SINFONIA_AGENT": str(agent)}) as orphan:
        # Popen returns while the kernel is still at the exec: the new environment is not there at once.
        assert poll(lambda: Path(f"/proc/{orphan.pid}/environ").read_bytes())
        program.await_orphans()
        assert orphan.poll() == 0
    assert pauses
    program.await_orphans()
    assert len(pauses) == 1
    assert isinstance(PodmanError("x"), Unavailable)


def test_background_steps_do_not_end_their_threads() -> None:
    workers, done = Workers(1), threading.Event()

    def broken() -> None:
        raise ZeroDivisionError

    def refused() -> None:
        raise Unavailable("no")

    for job in (broken, refused, done.set):
        workers.submit(job)
    assert done.wait(5)


@pytest.mark.parametrize(("name", "label"), [("a.b", "a-b"), ("", "cloudlet"), ("é" * 60, "é" * 31)])
def test_announced_names_fit_dns(name: str, label: str) -> None:
    advertiser = Advertiser(name, AGENT, list, 7070, {"trust": "open"})
    assert advertiser._info.name == f"{label}._sinfonia._tcp.local."
    told = {"path": "/", "uuid": str(AGENT), "v": "1", "trust": "open"}
    assert advertiser._info.properties == {name.encode(): value.encode() for name, value in told.items()}
    advertiser.open()  # nowhere: it has no address
    advertiser.close()
    advertiser.close()


def test_names_that_cannot_be_announced_are_the_operators_to_change() -> None:
    with pytest.raises(SettingsError, match="--announce"):
        Advertiser("a\tb", AGENT, list, 7070, {})


def test_log_lines_carry_their_fields(capsys: pytest.CaptureFixture[str]) -> None:
    logs.install(as_json=True, verbose=False)
    logging.getLogger("edge_agent.x").info("deploying", extra={"deployment": "hello-1"})
    logs.install(as_json=False, verbose=True)
    logging.getLogger("edge_agent.x").info("deploying", extra={"deployment": "hello-1", "reason": "a b"})
    first, second = capsys.readouterr().err.splitlines()
    assert json.loads(first)["deployment"] == "hello-1"
    assert second.endswith('deploying deployment=hello-1 reason="a b"')
