import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_sdk import __version__
from device_sdk.cli import main
from device_sdk.cli.progress import LiveLine, display
from device_sdk.cli.tables import columns
from device_sdk.progress import Event
from tests.fakes.device_sdk_server import Reply, Request, ScriptedServer, answer, deployment

CANDIDATE = {
    "UUID": "5f1c9a1e-7f35-4a39-9d52-3f1f8f0e6a11",
    "Name": "pittsburgh-1",
    "Endpoint": "http://192.0.2.7:7070/api/v1/deploy",
    "DistanceKm": 3.24,
    "LocalNetwork": True,
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def reply(request: Request, connection: object) -> None:
        segment = request.target.split("?")[0].rsplit("/", 1)[-1]
        key = segment.replace("-", "+").replace("_", "/") + "="
        body = [CANDIDATE] if "candidates" in request.target else [deployment(ApplicationKey=key)]
        answer(200, body)(request, connection)  # type: ignore[arg-type]

    with ScriptedServer(reply) as server:
        yield server


def says(server: ScriptedServer, reply: Reply) -> None:
    server.reply = reply


@pytest.mark.parametrize(
    "argv",
    [
        "",
        "run",
        "run http://r helloworld",
        "run http://r helloworld --",
        "find http://r helloworld -- ls",
        "find http://r not-a-uuid",
        "find http://r helloworld --results 4",
        "find http://r helloworld --results x",
        "find http://r helloworld --location 91,0",
        "find http://r helloworld --location nan,0",
        "find http://r helloworld --location 1",
        "find http://r helloworld --timeout 0",
        "find http://r helloworld --timeout nan",
        "find http://r helloworld --jit maybe",
        "find http://r helloworld --quiet --verbose",
        "find http://r helloworld --require gpu",
        "deploy http://r helloworld --require",
        "deploy http://r helloworld --require flight",
        "deploy http://r helloworld --require gpu=yes",
        "deploy http://r helloworld --require cores",
        "deploy http://r helloworld --require cores=many",
        "deploy http://r helloworld --require cores=0",
        "deploy http://r helloworld --require cores=1 --require cores=2",
        "deploy http://r helloworld --require memory=16",
        "deploy http://r helloworld --require jurisdiction=de",
        "deploy http://r helloworld --require trust=great",
        "deploy http://r helloworld --require max-price=nan",
        "deploy http://r helloworld --set",
        "deploy http://r helloworld --set level",
        "deploy http://r helloworld --set =3",
        "deploy http://r helloworld --set game..level=3",
        "deploy http://r helloworld --set level=null",
        "deploy http://r helloworld --set level=[1]",
        "deploy http://r helloworld --set level={}",
        "deploy http://r helloworld --set level=1e999",
        "deploy http://r helloworld --set level=1 --set level=2",
        "deploy http://r helloworld --set level=1 --set level.top=2",
        "deploy http://r helloworld --set level.top=1 --set level=2",
        "find http://r helloworld --set level=1",
        "release http://r helloworld --share gpu",
        "deploy http://r helloworld --share flight",
        "deploy http://r helloworld --precision 2000",
        "deploy http://r helloworld --jit-tru open",
        "dance http://r helloworld",
    ],
)
def test_a_wrong_command_line_ends_with_2(argv: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv.split()) == 2
    assert "usage: sinfonia" in capsys.readouterr().err
    assert main([*argv.split()[:1], "--json", *argv.split()[1:]]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert json.loads(said.err)["ExitStatus"] == 2


def test_help_teaches_and_version_tells(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["--help"], ["run", "--help"], ["--version"]):
        with pytest.raises(SystemExit) as end:
            main(argv)
        assert end.value.code == 0
    out = capsys.readouterr().out
    assert "sinfonia run http://127.0.0.1:8080 helloworld -- curl http://helloworld/" in out
    assert all(str(status) in out for status in (110, 111, 112, 113, 114))
    assert __version__ in out


def test_a_location_in_the_south_is_no_option(root: ScriptedServer) -> None:
    assert main(["deploy", root.url, "helloworld", "--jit", "off", "--location", "-37.8,144.9"]) == 0
    assert json.loads(root.requests[0].body)["location"] == {"latitude": -37.8, "longitude": 144.9}


def test_values_are_what_json_has_and_else_texts(
    root: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {
        "game.level": ("3", 3),
        "game.speed": ("-1.5e1", -15.0),
        "game.hard": ("true", True),
        "name": ("it's=me: {x}", "it's=me: {x}"),
        "version": ('"1.0"', "1.0"),
        "build": ("007", "007"),
        "endless": ("Infinity", "Infinity"),
        "empty": ("", ""),
    }
    words = [word for name, (text, _) in given.items() for word in ("--set", f"{name}={text}")]
    assert main(["deploy", root.url, "helloworld", "--jit", "off", *words]) == 0
    said = json.loads(root.requests[0].body)["values"]
    assert said.pop("game") == {"level": 3, "speed": -15.0, "hard": True}
    assert said == {name: value for name, (_, value) in given.items() if "." not in name}
    assert main(["deploy", root.url, "helloworld", "--set", f"name={'x' * 5000}"]) == 2
    assert "values: must have at most 4096 bytes" in capsys.readouterr().err


def test_a_value_that_the_recipe_does_not_let_calls_set_is_one_line(
    root: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, detail = "urn:sinfonia:problem:recipe-unusable", "values.image: callers can't set it"
    says(root, answer(422, {"type": kind, "title": "Unusable recipe", "status": 422, "detail": detail}))
    assert main(["deploy", root.url, "helloworld", "--jit", "off", "--quiet", "--set", "image=evil"]) == 112
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("(422): values.image: callers can't set it")


def test_what_the_users_file_allows_is_told_and_shown(
    root: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy = ["deploy", root.url, "helloworld", "--jit", "off", "--quiet"]
    assert main(deploy) == 0
    assert json.loads(root.requests[-1].body) == {}
    settings = tmp_path / "sinfonia" / "config.toml"
    settings.write_text('[context]\nallow = ["cores", "location"]\nlocation = [40.4433, -79.9436]\n')
    assert main([*deploy, "--share", "memory"]) == 0
    said = json.loads(root.requests[-1].body)
    assert set(said) == {"hardware", "location"}
    assert set(said["hardware"]) == {"cores", "memory_bytes"}
    assert said["location"] != {"latitude": 40.4433, "longitude": -79.9436}
    assert said["location"]["accuracy_m"] > 500
    capsys.readouterr()
    assert main(["context", "--share", "memory", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["Told"] == said
    assert shown["Withheld"] == dict.fromkeys(
        ("addresses", "link_type", "metered", "gpu", "battery"), "not allowed"
    )
    assert main(["context"]) == 0
    seen = capsys.readouterr()
    assert "given; rounded to 1 km" in seen.out
    assert str(settings) in seen.err
    says(root, answer(200, [CANDIDATE]))
    assert main(["find", root.url, "helloworld", "--jit", "off", "--quiet"]) == 0
    assert str(said["location"]["latitude"]) in root.requests[-1].headers["x-location"]
    assert main([*deploy, "--location", "1.23456,2", "--precision", "100"]) == 110  # no target
    assert json.loads(root.requests[-1].body)["location"]["accuracy_m"] > 50_000
    capsys.readouterr()
    settings.write_text('[context]\nalow = ["cores"]\n')
    assert main([*deploy, "--json"]) == 114
    assert "alow" in json.loads(capsys.readouterr().err)["Detail"]


def test_deploy_prints_targets(root: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy", root.url, "helloworld", "--jit", "off", "--location", "40.4,-79.9"]) == 0
    said = capsys.readouterr()
    assert said.out == "pittsburgh-1  Deploying  192.0.2.7:51820\n"
    assert "asking the root: " in said.err
    assert json.loads(root.requests[0].body)["location"] == {"latitude": 40.4, "longitude": -79.9}


def test_deploy_json_is_an_array_and_nothing_else(
    root: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["deploy", root.url, "helloworld", "--jit", "off", "--json"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    (target,) = json.loads(said.out)
    assert target["JIT"] is False
    assert target["TraceID"] in root.requests[0].headers["traceparent"]


def test_a_cloudlet_that_only_its_root_reaches_is_shown_as_such(
    root: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    hidden = {name: value for name, value in CANDIDATE.items() if name != "Endpoint"}
    says(root, answer(200, [hidden]))
    assert main(["find", root.url, "helloworld", "--jit", "off", "--quiet"]) == 0
    assert capsys.readouterr().out == "pittsburgh-1  through its root  3.2 km  local network\n"


def test_requirements_are_read_as_people_write_them(root: ScriptedServer) -> None:
    demands = "gpu cached cores=4 memory=16G jurisdiction=DE jurisdiction=US-PA trust=signed max-price=0.5"
    words = [word for demand in demands.split() for word in ("--require", demand)]
    assert main(["deploy", root.url, "helloworld", "--jit", "off", *words]) == 0
    assert json.loads(root.requests[0].body)["requirements"] == {
        "gpu": True,
        "cached": True,
        "cores": 4,
        "memory_bytes": 16 << 30,
        "jurisdictions": ["DE", "US-PA"],
        "trust": "signed",
        "max_price": 0.5,
    }


def test_the_token_comes_from_the_environment(root: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SINFONIA_TOKEN", "sf_1_secret")
    assert main(["deploy", root.url, "helloworld", "--jit", "off", "--verbose"]) == 0
    assert root.requests[0].headers["authorization"] == "Bearer sf_1_secret"


def test_what_a_root_says_beside_its_answer_is_for_the_verbose(
    root: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    header = {"X-Sinfonia-Matcher": "fallback; it failed"}
    says(root, answer(200, [{**CANDIDATE, "Stale": True}], header))
    argv = ["find", root.url, "helloworld", "--jit", "off"]
    assert main(argv) == 0
    said = capsys.readouterr()
    assert "not heard of lately" in said.out
    assert "matcher" not in said.err
    assert main([*argv, "--verbose"]) == 0
    assert "asking the root: matcher: fallback; it failed" in capsys.readouterr().err


def test_find_prints_candidates(root: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["find", root.url, "helloworld", "--jit", "off", "--quiet"]
    assert main(argv) == 0
    assert capsys.readouterr().out == f"pittsburgh-1  {CANDIDATE['Endpoint']}  3.2 km  local network\n"
    assert main([*argv[:-1], "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [CANDIDATE]


@pytest.mark.parametrize(
    ("kind", "http", "status"),
    [
        ("not-found", 404, 2),
        ("internal", 500, 110),
        ("no-cloudlet", 503, 111),
        ("deploy-failed", 502, 112),
        ("recipe-unusable", 422, 112),
    ],
)
def test_each_kind_of_failure_has_its_status_and_one_line(
    root: ScriptedServer, capsys: pytest.CaptureFixture[str], kind: str, http: int, status: int
) -> None:
    problem = {"type": f"urn:sinfonia:problem:{kind}", "title": "T", "status": http, "detail": "because"}
    says(root, answer(http, problem))
    argv = ["deploy", root.url, "helloworld", "--jit", "off"]
    assert main([*argv, "--quiet"]) == status
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"sinfonia: The root at {root.url} says ({http}): because\n"
    assert main([*argv, "--json"]) == status
    error = json.loads(capsys.readouterr().err)
    assert error["ExitStatus"] == status
    assert error["Detail"].endswith("because")
    assert error["TraceID"] in root.requests[-1].headers["traceparent"]
    assert main([*argv, "--verbose"]) == status
    lines = capsys.readouterr().err.splitlines()
    trace = lines[0].removeprefix("sinfonia: trace ")
    assert lines[-1].endswith(f"because (trace {trace})")


def test_a_terminal_of_few_letters_is_no_error(tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONIOENCODING": "ascii", "XDG_STATE_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "device_sdk.cli", "doctor", "http://127.0.0.1:1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environ)
    assert "Traceback" not in done.stderr
    assert "root" in done.stdout


def test_a_url_that_is_none_is_a_wrong_call(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy", "root", "helloworld", "--jit", "off", "--quiet"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_command_that_is_not_there_deploys_nothing(
    root: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", root.url, "helloworld", "--", "no-such-command"]) == 127
    assert "no command 'no-such-command'; nothing was deployed" in capsys.readouterr().err
    assert root.requests == []


class Screen:
    """A terminal that keeps what is written."""

    def __init__(self) -> None:
        self.text = ""

    def fileno(self) -> int:
        raise OSError(self)

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        return

    def isatty(self) -> bool:
        return True


def test_the_line_on_a_terminal_lives_and_each_phase_leaves_one() -> None:
    screen = Screen()
    show = LiveLine(screen)  # type: ignore[arg-type]
    show(Event("root", "started", 0.0))
    show(Event("ready", "started", 0.1))
    show(Event("ready", "noted", 0.2, "the image is being fetched"))
    show(Event("discovery", "skipped", 0.2, seconds=0.2))
    show(Event("root", "ended", 0.3, seconds=0.3))
    show(Event("ready", "failed", 0.4, seconds=0.3))
    assert "asking the root; waiting for the backend (the image is being fetched)" in screen.text
    assert "✓ asking the root           0.30 s\n" in screen.text
    assert "✗ waiting for the backend   0.30 s\n" in screen.text
    assert screen.text.endswith("\n")


def test_the_living_line_fits_whatever_is_said() -> None:
    screen = Screen()
    show = LiveLine(screen)  # type: ignore[arg-type]
    show(Event("ready", "started", 0.0))
    show(Event("ready", "noted", 0.1, "東京" * 100))
    assert columns(screen.text.rpartition("\x1b[K")[2]) < 80


def test_what_is_shown_depends_on_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(display(Screen(), quiet=False, verbose=False), LiveLine)  # type: ignore[arg-type]
    note, end = Event("root", "noted", 0.0, "hm"), Event("root", "failed", 0.0, seconds=0.1)
    for options in ({"quiet": True, "verbose": False}, {"quiet": False, "verbose": False}):
        show = display(sys.stderr, **options)
        show(note)
        show(end)
    assert capsys.readouterr().err == "sinfonia: asking the root: 0.10 s (failed)\n"
    assert not isinstance(display(Screen(), quiet=False, verbose=True), LiveLine)  # type: ignore[arg-type]
    display(sys.stderr, quiet=False, verbose=False)(Event("discovery", "skipped", 0.0, seconds=0.0))
    display(sys.stderr, quiet=False, verbose=True)(note)
    assert capsys.readouterr().err == "sinfonia: asking the root: hm\n"


def test_the_version_is_the_distributions() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert __version__ == project["version"]


def test_importing_the_package_loads_none_of_the_large_ones() -> None:
    large = ["requests", "cryptography", "zeroconf"]
    look = f"import sys, device_sdk.cli; print([m for m in {large} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == "[]\n"
