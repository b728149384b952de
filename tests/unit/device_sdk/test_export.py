import configparser
import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_sdk.cli import main
from device_sdk.keys import KeyPair
from device_sdk.tunnels.quick import wg_quick
from device_sdk.tunnels.routes import plan_tunnel
from device_sdk.wire import TunnelConfig
from tests.fakes.device_sdk_server import Request, ScriptedServer, answer, deployment, tunnel_config

KEY = KeyPair.from_private(bytes(range(32)))


def export_of(about: list[str] | None = None, all_traffic: bool = False, **changes) -> str:
    plan = plan_tunnel(TunnelConfig.from_json(tunnel_config(**changes)))
    return wg_quick(plan, KEY, about or [], all_traffic=all_traffic)


def read(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(text)
    return parser


def test_only_what_is_behind_the_tunnel_goes_into_it() -> None:
    file = read(export_of(["for people"]))
    assert dict(file["Interface"]) == {
        "PrivateKey": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "Address": "100.71.0.17/32",
        "DNS": "100.71.0.1, helloworld-0123456789.sinfonia.internal",
        "MTU": "1280",
    }
    assert dict(file["Peer"]) == {
        "PublicKey": "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
        "AllowedIPs": "100.71.0.1/32, 100.71.0.16/29",
        "Endpoint": "192.0.2.7:51820",
        "PersistentKeepalive": "25",
    }


def test_names_are_left_out_or_one_apps_alone() -> None:
    plan = plan_tunnel(TunnelConfig.from_json(tunnel_config(dns=["100.71.0.1", "192.0.2.53", "x.internal"])))
    assert "DNS = 100.71.0.1, x.internal\n" in wg_quick(plan, KEY)  # the other is not behind the tunnel
    assert "DNS" not in wg_quick(plan, KEY, names=False)
    apps = ["org.example.app", "org.example.other"]
    text = wg_quick(plan, KEY, android_apps=apps)
    assert read(text)["Interface"]["IncludedApplications"] == "org.example.app, org.example.other"


def test_all_traffic_is_asked_for() -> None:
    assert read(export_of(all_traffic=True))["Peer"]["AllowedIPs"] == "0.0.0.0/0, ::/0"


def test_ipv6_has_brackets_and_search_domains_alone_name_no_server() -> None:
    text = export_of(endpoint="[2001:db8::7]:51820", dns=["sinfonia.internal"])
    assert "Endpoint = [2001:db8::7]:51820\n" in text
    assert "DNS" not in text


def test_a_tunnel_that_has_ipv6_too_is_exported_without_it() -> None:
    ipv6 = {"allowedIPs": ["fd00:1::1/128"], "address": ["fd00:1::11/128"], "endpoint": "[2001:db8::7]:1"}
    assert export_of(ipv6=ipv6) == export_of()
    alone = export_of(allowedIPs=["fd00:1::/64"], address=["fd00:1::2"])
    assert "Address = fd00:1::2/128\n" in alone


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def reply(request: Request, connection: object) -> None:
        segment = request.target.split("?")[0].rsplit("/", 1)[-1]
        key = segment.replace("-", "+").replace("_", "/") + "="
        cloudlet = {"UUID": "5f1c9a1e-7f35-4a39-9d52-3f1f8f0e6a11", "Name": "x\n[Interface]\nPostUp = evil"}
        body = [deployment(ApplicationKey=key, Cloudlet=cloudlet)]
        answer(200, body)(request, connection)  # type: ignore[arg-type]

    with ScriptedServer(reply) as server:
        yield server


def keys_asked(root: ScriptedServer) -> set[str]:
    return {request.target.split("?")[0].rsplit("/", 1)[-1] for request in root.requests}


def test_the_file_is_its_owners_alone_and_holds_nothing_that_a_cloudlet_wrote(
    root: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = ["export", root.url, "helloworld", "--jit", "off"]
    assert main(export) == 0
    file = tmp_path / "sf-00000000.conf"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "# helloworld is 100.71.0.18\n" in file.read_text()
    assert not [line for line in file.read_text().splitlines() if line.startswith("PostUp")]
    said = capsys.readouterr()
    assert "PrivateKey" not in said.out + said.err
    assert f"sinfonia release {root.url} {'0' * 8}-0000-0000-0000-{'0' * 12} --as export" in said.err
    # A file that is there stays, and no backend is deployed.
    asked = len(root.requests)
    assert main([*export, "--json"]) == 2
    assert "--force" in json.loads(capsys.readouterr().err)["Detail"]
    assert len(root.requests) == asked
    assert main([*export, "--force", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["Files"] == ["sf-00000000.conf"]
    assert "PrivateKey" not in said.out


def test_each_device_has_its_own_key_and_keeps_it(root: ScriptedServer, tmp_path: Path) -> None:
    call = [root.url, "helloworld", "--jit", "off", "--quiet"]
    assert main(["deploy", *call]) == 0
    for name in ("phone", "tv", "phone"):
        assert main(["export", *call, "--as", name, "--force"]) == 0
    assert len(keys_asked(root)) == 3


def test_codes_are_shown_or_written(
    root: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = ["export", root.url, "helloworld", "--jit", "off", "--quiet"]
    assert main([*export, "--qr"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len({len(line) for line in shown}) == 1
    assert len(shown[0]) <= 80
    assert main([*export, "--png", "code.png"]) == 0
    assert Path("code.png").read_bytes().startswith(b"\x89PNG")
    assert stat.S_IMODE(Path("code.png").stat().st_mode) == 0o600
    assert not list(tmp_path.glob("*.conf"))
    assert main([*export, "--output", "-"]) == 0
    assert "PrivateKey" in capsys.readouterr().out


@pytest.mark.parametrize(
    "more",
    [
        "--output much-too-long-a-name.conf",
        "--output tunnel",
        "--output nowhere/tunnel.conf",
        "--output - --json",
        "--qr --json",
        "--as ../../x",
        "--android-app nonsense",
        "--android-app a.b,PostUp=x",
        "--png nowhere/x.png",
    ],
)
def test_a_wrong_call_deploys_nothing(root: ScriptedServer, more: str) -> None:
    assert main(["export", root.url, "helloworld", "--jit", "off", *more.split()]) == 2
    assert root.requests == []


def test_a_file_that_can_not_be_written_is_no_half_a_file(
    root: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("x.conf").symlink_to("/dev/full")  # it is not followed, nor written through
    export = ["export", root.url, "helloworld", "--jit", "off", "--output", "x.conf", "--json"]
    assert main(export) == 2
    assert main([*export, "--force"]) == 0
    assert not Path("x.conf").is_symlink()
    Path("y.conf").symlink_to("nowhere")
    assert main([*export[:-2], "y.conf", "--json"]) == 114
    assert "y.conf can't be written: File exists" in capsys.readouterr().err
