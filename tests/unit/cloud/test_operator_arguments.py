"""The operator's command line: every example that is shown parses, and every command does something."""

import re
import shlex
from pathlib import Path

import pytest
from operator_arguments import EPILOG, parse
from operator_cli import _ACTS

ROOT = Path(__file__).resolve().parents[3]
UUID = "5f1c9a1e-7f35-4a39-9d52-3f1f8f0e6a11"
README = re.findall(r"^\$ operator (.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
EXAMPLES = re.findall(r"python -m cloud\.operator_cli (.*)$", EPILOG, re.MULTILINE) + README


def words(line: str) -> list[str]:
    line = line.partition(" > ")[0]
    return [re.sub("(APP|CLOUDLET)-UUID", UUID, word) for word in shlex.split(line, comments=True)]


@pytest.mark.parametrize("line", EXAMPLES)
def test_examples_parse(line):
    assert parse(words(line)).act in {*_ACTS, "bootstrap"}


def test_there_are_examples_of_most():
    assert len(README) > 10
    acts = {parse(words(line)).act for line in EXAMPLES}
    assert len(acts) >= 11


def leaves(capsys) -> list[str]:
    """All commands, as the help names them."""
    found = []
    for noun in ("cloudlets", "tenants", "apps", "recipes", "tokens", "admission"):
        with pytest.raises(SystemExit):
            parse([noun, "--help"])
        listed = capsys.readouterr().out.partition("ACTION\n")[2].partition("\n\n")[0]
        found += [f"{noun} {verb}" for verb in re.findall(r"^    (\w+)", listed, re.MULTILINE)]
    return [*found, "usage"]


def test_every_command_does_something_and_explains_itself(capsys):
    assert sorted(leaves(capsys)) == sorted(_ACTS)
    for act in _ACTS:
        with pytest.raises(SystemExit) as end:
            parse([*act.split(), "--help"])
        assert end.value.code == 0
        assert "--root" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line",
    [
        "",
        "apps",
        "apps fly",
        "apps show x",
        "apps put --deploys-per-minute 0",
        "apps put --token-required maybe",
        "apps put --require cores",
        "apps put --require cores=many",
        "apps put --require gpu=yes",
        "apps put --require jurisdiction=",
        "tokens create --scope king",
        "tokens create --scope deploy --days 0",
        "tokens create --scope deploy --days nan",
        "tenants create acme --quota apps",
        "tenants create acme --quota apps=-1",
        "usage --from yesterday",
        "usage --timeout 0",
        "tokens list --limit 0",
        "tokens list --token sf_secret",
    ],
)
def test_wrong_calls_end_with_2(line, capsys):
    with pytest.raises(SystemExit) as end:
        parse(words(line))
    assert end.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_requirements_and_quotas_are_read():
    options = parse(
        words("apps put --require gpu --require cores=8 --require max_price=0.5 --require trust=signed")
    )
    assert dict(options.require) == {"gpu": True, "cores": 8, "max_price": 0.5, "trust": "signed"}
    assert parse(words("tenants set acme --quota apps=5")).quota == [("apps", 5)]
