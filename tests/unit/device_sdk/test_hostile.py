"""A root that answers properly and means harm: each target is refused with its reason, over real HTTP."""

from __future__ import annotations

import base64
import json
import re
import socket
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from device_sdk import deploy_backend
from device_sdk.calls.deploy import HELLOWORLD, Parts
from device_sdk.cli import main
from device_sdk.errors import DeploymentError, RootError
from tests.fakes.device_sdk_server import Request, ScriptedServer, answer, deployment, tunnel_config

OWN = (ip_network("192.168.1.0/24"), ip_network("fd00:0:0:1::/64"))


def key_of(request: Request) -> str:
    """The key that the device sent, as answers carry it."""
    segment = request.target.partition("?")[0].rpartition("/")[2]
    return base64.b64encode(base64.urlsafe_b64decode(f"{segment}=")).decode()


def root_answering(*targets: dict[str, Any]) -> ScriptedServer:
    """A root that answers with these deployments; `KEY` in them becomes the key that was sent."""

    def reply(request: Request, connection: socket.socket) -> None:
        text = json.dumps(list(targets)).replace("KEY", key_of(request))
        answer(200, text.encode(), {"Content-Type": "application/json"})(request, connection)

    return ScriptedServer(reply)


def target(**changes: Any) -> dict[str, Any]:
    return deployment(**{"ApplicationKey": "KEY", **changes})


def tunnel(**changes: Any) -> dict[str, Any]:
    return target(TunnelConfig=tunnel_config(**changes))


def ask(server: ScriptedServer, folder: Path, results: int = 1) -> list[str]:
    parts = Parts(folder, discover=list, networks=lambda: OWN)
    found = deploy_backend(server.url, HELLOWORLD, jit="off", results=results, timeout=20, parts=parts)
    return [one.place for one in found]


HOSTILE = {
    "everything": (tunnel(allowedIPs=["0.0.0.0/0"]), "0.0.0.0/0 would take over the device's other traffic"),
    "everything IPv6": (tunnel(allowedIPs=["::/0"]), "::/0 would take over the device's other traffic"),
    "in halves": (tunnel(allowedIPs=["0.0.0.0/1", "128.0.0.0/1"]), "0.0.0.0/1 would take over"),
    "loopback": (tunnel(allowedIPs=["127.0.0.0/8"]), "127.0.0.0/8 is not a place where backends are"),
    "metadata": (tunnel(allowedIPs=["169.254.169.254/32"]), "is not a place where backends are"),
    "own network": (tunnel(allowedIPs=["192.168.1.0/24"]), "take over 192.168.1.0/24, where this device is"),
    "around it": (tunnel(allowedIPs=["192.168.0.0/16"]), "take over 192.168.1.0/24, where this device is"),
    "part of it": (tunnel(allowedIPs=["192.168.1.9/32"]), "take over 192.168.1.0/24, where this device is"),
    "own IPv6": (tunnel(allowedIPs=["fd00::/48"]), "take over fd00:0:0:1::/64, where this device is"),
    "own address": (tunnel(address=["192.168.1.50"]), "192.168.1.50/32 would take over"),
    "its endpoint": (tunnel(allowedIPs=["192.0.2.0/24"]), "holds the tunnel's own endpoint"),
    "a line more": (tunnel(endpoint="192.0.2.7:51820\nPostUp = id"), "endpoint"),
    "a script": (tunnel(dns=["$(id).example"]), "dns"),
    "a name server": (tunnel(dns=["127.0.0.1"]), "must hold name servers behind the tunnel"),
    "no key": (tunnel(publicKey="x"), "must be 32 bytes"),
    "the device's key": (tunnel(publicKey="KEY"), "is the device's own key"),
    "another's key": (target(ApplicationKey=base64.b64encode(b"k" * 32).decode()), "is not the key that was"),
    "another app": (target(UUID="00000000-0000-0000-0000-000000000009"), "is not the app that was asked for"),
    "status elsewhere": (target(StatusURL="http://192.168.1.1/reboot"), "an address behind the tunnel"),
    "a service elsewhere": (
        target(Services=[{"name": "web", "address": "192.168.1.1", "ports": []}]),
        "must be behind the tunnel",
    ),
    "a service's name": (
        target(Services=[{"name": "web\x1b]0;x\x07", "address": "100.71.0.18", "ports": []}]),
        "name",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_refused_with_the_reason_and_costs_no_other_target(tmp_path: Path, name: str) -> None:
    hostile, reason = HOSTILE[name]
    with root_answering(hostile) as server, pytest.raises(RootError, match=re.escape(reason)):
        ask(server, tmp_path)
    with root_answering(hostile, target()) as server:
        assert ask(server, tmp_path, results=2) == ["pittsburgh-1"]


@pytest.mark.parametrize("field", ["Reason", "DeploymentName"])
def test_texts_lose_what_could_drive_a_terminal(tmp_path: Path, field: str) -> None:
    drives = "ok\x1b[2J\x1b]0;owned\x07\r\nsinfonia: all is well"
    with (
        root_answering(target(Status="Failed", **{"Reason": "x", field: drives})) as server,
        pytest.raises(DeploymentError) as error,
    ):
        ask(server, tmp_path)
    assert str(error.value).isprintable()


def test_a_cloudlets_name_is_printable(tmp_path: Path) -> None:
    cloudlet = {"UUID": "5f1c9a1e-7f35-4a39-9d52-3f1f8f0e6a11", "Name": "a\x1b[31mb\u202ec\n"}
    with root_answering(target(Cloudlet=cloudlet)) as server:
        (place,) = ask(server, tmp_path)
    assert place.isprintable()
    assert "\x1b" not in place


def test_more_targets_than_were_asked_for_are_cut(tmp_path: Path) -> None:
    with root_answering(*[target()] * 100) as server:
        assert len(ask(server, tmp_path)) == 1


def test_the_command_line_says_it_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with root_answering(tunnel(allowedIPs=["0.0.0.0/0"])) as server:
        status = main(["deploy", server.url, "helloworld", "--jit", "off", "--quiet"])
    said = capsys.readouterr()
    assert (status, said.out) == (RootError.exit_status, "")
    assert said.err.count("\n") == 1
    assert "0.0.0.0/0 would take over" in said.err
