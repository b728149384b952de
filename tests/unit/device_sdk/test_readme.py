"""The guide: its Python and its commands exist, its tables are complete. tests/live/test_guide.py runs it."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
from pathlib import Path

import pytest

import device_sdk
from device_sdk import errors
from device_sdk.cli.acts import ACTS
from device_sdk.cli.arguments import parse
from device_sdk.device.settings import read_settings
from edge_agent.arguments import parse as parse_agent
from tests.lab import guide

GUIDE = guide.PATH.read_text()
BLOCKS = guide.blocks()
PYTHON = [block.text for block in BLOCKS if block.language == "python"]
COMMANDS = [command for block in BLOCKS if block.language == "console" for command in block.commands]


def test_every_block_is_of_a_kind_that_is_tried() -> None:
    assert len(BLOCKS) == GUIDE.count("\n```") // 2
    assert {block.language for block in BLOCKS} == {"console", "python", "toml"}
    assert sum(block.runs for block in BLOCKS) > 0.8 * len(BLOCKS)


@pytest.mark.parametrize("text", PYTHON)
def test_the_python_in_the_guide_takes_what_the_api_has(text: str) -> None:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module == "device_sdk":
            assert {name.name for name in node.names} - {"aio"} <= set(device_sdk.__all__)


def test_the_users_file_is_one(tmp_path: Path) -> None:
    (text,) = (block.text for block in BLOCKS if block.language == "toml")
    file = tmp_path / "config.toml"
    file.write_text(text)
    settings = read_settings(file)
    assert settings.allowed.facts == {"location", "cores", "memory", "gpu", "battery"}
    assert settings.location is not None


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_in_the_guide_are_ones(command: str) -> None:
    subprocess.run(["bash", "-n", "-c", command], check=True, timeout=30)
    words = shlex.split(command)
    for name, parser in (("sinfonia", parse), ("sinfonia-agent", parse_agent)):
        for at in (place for place, word in enumerate(words) if word.rpartition("/")[2] == name):
            try:
                assert parser(words[at + 1 :])
            except SystemExit as end:
                assert end.code == 0  # noqa: PT017 - --version


def test_commands_that_the_text_names_exist() -> None:
    named = re.findall(r"`sinfonia ([a-z]+)", GUIDE)
    assert named
    assert set(named) <= set(ACTS)


def test_the_table_has_every_error_with_its_exit_status() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", GUIDE, re.MULTILINE))
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    known = {kind.__name__: str(kind.exit_status) for kind in kinds if kind is not errors.SinfoniaError}
    assert rows == known


def test_the_list_leads_to_every_section() -> None:
    sections = [line.removeprefix("## ") for line in GUIDE.splitlines() if line.startswith("## ")]
    listed = re.findall(r"^\d+\. \[(.*)\]\(#(.*)\)$", GUIDE, re.MULTILINE)
    assert [name for name, _ in listed] == sections
    for name, anchor in listed:
        assert anchor == re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-")
