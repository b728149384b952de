"""The `drain` command, and what it leaves for the agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.__main__ import main
from edge_agent.drain import is_draining
from edge_agent.identity import Identity


def test_it_is_written_down_and_taken_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Identity(tmp_path, lambda: 1).close()
    for _ in range(2):
        assert main(["drain", "--state", str(tmp_path)]) == 0
        assert is_draining(tmp_path)
    assert "no agent runs there now" in capsys.readouterr().out
    for _ in range(2):
        assert main(["undrain", "--state", str(tmp_path)]) == 0
        assert not is_draining(tmp_path)


def test_it_says_whether_somebody_hears(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    identity = Identity(tmp_path, lambda: 1)
    assert main(["drain", "--state", str(tmp_path)]) == 0
    assert "hear of it" in capsys.readouterr().out
    identity.close()


def test_a_folder_that_is_no_agents_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drain", "--state", str(tmp_path / "none")]) == 2
    assert "there is no agent's state" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
