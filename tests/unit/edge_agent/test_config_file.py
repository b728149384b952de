"""Options from a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.config_file import with_file
from edge_agent.errors import SettingsError

KNOWN = {"name", "root", "not-callable", "idle-seconds", "config"}


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "agent.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_options_of_the_file_come_before_those_of_the_command_line(tmp_path: Path):
    path = written(tmp_path, "name: shop\nroot: [a, b]\nnot-callable: true\nidle-seconds: 120\n")
    words = with_file(["run", "--config", str(path), "--name", "mine"], KNOWN)
    file = ["--name=shop", "--root=a", "--root=b", "--not-callable", "--idle-seconds=120"]
    assert words == ["run", *file, "--config", str(path), "--name", "mine"]
    assert with_file(["check", f"--config={path}"], KNOWN)[1:6] == file


def test_without_a_file_nothing_changes():
    assert with_file(["run", "--name", "mine"], KNOWN) == ["run", "--name", "mine"]
    assert with_file([], KNOWN) == []
    assert with_file(["run", "--config"], KNOWN) == ["run", "--config"]


def test_what_is_off_or_empty_says_nothing(tmp_path: Path):
    path = written(tmp_path, "not-callable: false\nname:\nroot: []\n")
    assert with_file(["run", "--config", str(path)], KNOWN) == ["run", "--config", str(path)]
    assert len(with_file(["run", "--config", str(written(tmp_path, ""))], KNOWN)) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nme: x", "is name meant"),
        ("config: other.yaml", "no option config"),
        ("1: x", "no option 1"),
        ("root: [{url: x}]", "root must be text"),
        ("- a\n- b", "name: value"),
        ("a: [", "line 1"),
        (b"\x80\x00x", "no YAML"),
        ("a: &a [*a]", "no option a"),
        ("!!python/object/apply:os.system [true]", "no YAML"),
        ("x" * (1 << 21), "more than a megabyte"),
    ],
)
def test_files_that_are_wrong_are_told_in_one_line(tmp_path: Path, text: str | bytes, words: str):
    with pytest.raises(SettingsError, match=words) as told:
        with_file(["run", "--config", str(written(tmp_path, text))], KNOWN)
    assert "\n" not in str(told.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path):
    with pytest.raises(SettingsError, match="No such file"):
        with_file(["run", "--config", str(tmp_path / "none")], KNOWN)
