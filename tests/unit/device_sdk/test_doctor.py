import json
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from uuid import UUID

import pytest

from device_sdk.calls.call import Parts
from device_sdk.cli import main
from device_sdk.device import reach, stored, tunnel_checks
from device_sdk.device.doctor import checks
from device_sdk.device.multicast import multicast_dns
from device_sdk.errors import DeviceError, RequestError
from device_sdk.keys import application_key
from device_sdk.nearby.identity import device_identity
from device_sdk.nearby.paired import PairedCloudlet, keep
from tests.fakes.device_sdk_server import Request, ScriptedServer, answer

APP = UUID(int=0)
STRANGER = "http://no-such-name.invalid"


@pytest.fixture
def root() -> Iterator[ScriptedServer]:
    with ScriptedServer(answer(200, {"status": "ok"}, {"Date": formatdate(usegmt=True)})) as server:
        yield server


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "sinfonia"
    application_key(APP, folder)
    application_key(APP, folder / "exported" / "phone")
    device_identity(folder)
    keep(folder, PairedCloudlet(b"k" * 32, "living-room"))
    return folder


def test_each_missing_program_has_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = tunnel_checks.programs()
    assert found.state == "problem"
    assert "unshare, nsenter" in found.detail
    assert found.advice == "on Debian: apt install util-linux coreutils iproute2 wireguard-go"


def test_a_tun_device_is_missing_or_wrong(tmp_path: Path) -> None:
    found = tunnel_checks.tun(tmp_path)
    assert found.state == "problem"
    assert "modprobe tun" in str(found.advice)
    (tmp_path / "dev/net/tun").mkdir(parents=True)
    assert tunnel_checks.tun(tmp_path).state == "problem"


@pytest.mark.parametrize(
    ("setting", "value", "advice"),
    [
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "apparmor_restrict_unprivileged_userns=0"),
        ("kernel/unprivileged_userns_clone", "0", "unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "max_user_namespaces=10000"),
    ],
)
def test_the_setting_that_allows_no_namespaces_is_named(
    tmp_path: Path, setting: str, value: str, advice: str
) -> None:
    path = tmp_path / "proc/sys" / setting
    path.parent.mkdir(parents=True)
    path.write_text(f"{value}\n")
    found = tunnel_checks.refusal(tmp_path, privileged=False)
    assert found
    assert advice in str(found.advice)
    assert "sudo" in str(found.advice)
    assert tunnel_checks.refusal(tmp_path, privileged=True) is None
    path.write_text(f"{1 - int(value)}\n")
    assert tunnel_checks.refusal(tmp_path, privileged=False) is None


def test_an_old_kernel_has_no_notifications(tmp_path: Path) -> None:
    path = tmp_path / "proc/sys/kernel/seccomp/actions_avail"
    path.parent.mkdir(parents=True)
    path.write_text("kill_process trap errno\n")
    assert tunnel_checks.notifications(tmp_path).state == "problem"
    path.write_text("kill_process trap errno user_notif\n")
    assert tunnel_checks.notifications(tmp_path).state == "ok"


def test_whole_keys_are_fine_and_none_are_too(state: Path, tmp_path: Path) -> None:
    assert stored.keys(state).detail == f"3 in {state}"
    assert stored.repair(state) == []
    assert stored.keys(tmp_path / "none").state == "ok"


@pytest.mark.parametrize("which", [f"keys/{APP}", f"exported/phone/keys/{APP}", "identity"])
def test_a_key_that_others_read_or_that_is_damaged_is_found_and_repaired(state: Path, which: str) -> None:
    path = state / which
    kept = path.read_bytes()
    path.chmod(0o644)
    found = stored.keys(state)
    assert found.state == "problem"
    assert f"chmod 600 {path}" in found.detail
    (line,) = stored.repair(state)
    assert "others may have read it" in line
    assert path.read_bytes() == kept
    assert stored.keys(state).state == "ok"

    path.write_text("nonsense")
    found = stored.keys(state)
    assert f"remove {path}" in found.detail
    (line,) = stored.repair(state)
    assert "there will be a new one" in line
    assert stored.keys(state).state == "ok"
    assert (path.parent / f".{path.name}.damaged").read_text() == "nonsense"


def test_links_folders_and_paired_cloudlets_are_looked_at(state: Path) -> None:
    (state / "keys").chmod(0o777)
    assert "others can write" in stored.keys(state).detail
    stored.repair(state)
    assert (state / "keys").stat().st_mode & 0o777 == 0o700
    link = state / "keys" / str(UUID(int=1))
    link.symlink_to(state / "keys" / str(APP))
    assert "is no file" in stored.keys(state).detail
    stored.repair(state)  # it is not ours to follow or to move
    assert link.is_symlink()
    link.unlink()
    (paired,) = (state / "paired").iterdir()
    paired.write_text("{}")
    assert "pair again" in stored.keys(state).detail


def test_what_can_not_be_repaired_is_said(state: Path) -> None:
    (state / "keys" / str(APP)).write_text("nonsense")
    (state / "keys" / f".{APP}.damaged").mkdir()
    with pytest.raises(DeviceError, match="can't be repaired"):
        stored.repair(state)


def test_multicast_that_is_held_back_is_a_warning() -> None:
    here = ("192.0.2.5", "198.51.100.5")
    assert multicast_dns(lambda _address: True, lambda: here).state == "ok"
    found = multicast_dns(lambda address: address == here[0], lambda: here)
    assert found.state == "warning"
    assert here[1] in found.detail
    assert here[0] not in found.detail
    assert "5353 to and from 224.0.0.251 through" in str(found.advice)
    both = (*here, "fe80::5%eth0")
    assert "from ff02::fb through" in str(multicast_dns(lambda one: ":" not in one, lambda: both).advice)
    assert "224.0.0.251 and ff02::fb" in str(multicast_dns(lambda _address: False, lambda: both).advice)
    assert "no network" in multicast_dns(lambda _address: True, tuple).detail


def test_names_resolve_or_not() -> None:
    assert reach.name("http://192.0.2.7:8080").detail == "192.0.2.7 needs none"
    assert "127.0.0.1" in reach.name("http://localhost").detail
    found = reach.name(STRANGER)
    assert found.state == "problem"
    assert "no-such-name.invalid" in found.detail


def test_a_root_answers_or_not(root: ScriptedServer) -> None:
    assert reach.root(root.url).state == "ok"
    root.reply = answer(404, {"type": "about:blank", "title": "no", "status": 404})
    assert reach.root(root.url).state == "warning"
    root.reply = answer(500, {})
    assert reach.root(root.url).state == "problem"
    assert reach.root("http://127.0.0.1:1").state == "problem"


@pytest.mark.parametrize(
    ("off", "state", "word"),
    [
        (0, "ok", "within"),
        (-100, "warning", "behind"),
        (100, "warning", "ahead"),
        (86400, "problem", "ahead"),
    ],
)
def test_a_clock_that_is_wrong_is_told(root: ScriptedServer, off: float, state: str, word: str) -> None:
    found = reach.clocks(root.url, lambda: time.time() + off)
    assert found.state == state
    assert word in found.detail


@pytest.mark.parametrize("date", ["", "nonsense", "Mon, 99 Foo 2020 00:00:00 GMT"])
def test_a_root_without_a_time_is_no_error(root: ScriptedServer, date: str) -> None:
    root.reply = answer(503, {}, {"Date": date})
    assert reach.clocks(root.url).state == "warning"
    assert reach.clocks("http://127.0.0.1:1").state == "warning"


@pytest.mark.parametrize(
    ("kind", "status"), [("not-found", 404), ("no-cloudlet", 503), ("deploy-failed", 502)]
)
def test_a_backend_that_is_not_deployed_says_why(
    root: ScriptedServer, tmp_path: Path, kind: str, status: int
) -> None:
    problem = {"type": f"urn:sinfonia:problem:{kind}", "title": "T", "status": status, "detail": "because"}
    root.reply = answer(status, problem)
    found = reach.backend(root.url, APP, Parts(tmp_path))
    assert found.state == "problem"
    assert "because" in found.detail
    assert found.advice


def test_what_is_asked_decides_what_is_looked_at(tmp_path: Path) -> None:
    names = [check.name for check in checks(tmp_path, "http://r", APP)]
    assert names[-4:] == ["name", "root", "clock", "backend"]
    assert names[:-4] == [check.name for check in checks(tmp_path)]
    with pytest.raises(RequestError):
        checks(tmp_path, "r")


def test_the_command_tells_people_and_programs(
    root: ScriptedServer, state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(state.parent))
    monkeypatch.setenv("PATH", str(state))  # so that something is missing wherever this runs

    def look(request: Request, connection: object) -> None:
        answer(200, {"status": "ok"}, {"Date": formatdate(usegmt=True)})(request, connection)  # type: ignore[arg-type]

    root.reply = look
    (state / "identity").chmod(0o644)
    assert main(["doctor", root.url, "--json"]) == 1
    found = {one["Check"]: one for one in json.loads(capsys.readouterr().out)}
    assert found["programs"]["State"] == "problem"
    assert found["keys"]["State"] == "problem"
    assert found["root"]["State"] == found["clock"]["State"] == "ok"
    assert main(["doctor", "--repair"]) == 1
    said = capsys.readouterr()
    assert "its user's alone now" in said.err
    assert "✗  programs" in said.out
    assert "→ on Debian: apt install" in said.out
    assert "✓  keys" in said.out
    assert main(["doctor", "--app", "helloworld", "--json"]) == 2
    assert main(["doctor", "nonsense"]) == 2
