"""What follows from the settings, as far as nothing has to run for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.arguments import make_parser
from edge_agent.choices import make_capacity, make_check
from edge_agent.errors import Unavailable
from edge_agent.identity import Identity
from edge_agent.settings import Settings


def test_podman_is_ready_where_it_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["run", "--runtime", "podman", "--recipes", "r", "--root", "http://root.example"]
    settings = Settings.from_arguments(make_parser().parse_args(words), lambda: "198.51.100.9")
    identity = Identity(tmp_path / "state", lambda: 7)
    identity.close()
    program = tmp_path / "bin" / "podman"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", str(program.parent))
    capacity = make_capacity(settings)
    assert capacity is None
    check = make_check(settings, identity, capacity)
    with pytest.raises(Unavailable, match="not installed"):
        check()
    program.write_text("#!/bin/sh\necho 'Error: the storage is damaged' >&2; exit 125\n")
    program.chmod(0o700)
    with pytest.raises(Unavailable, match="the storage is damaged"):
        check()
    program.write_text("#!/bin/sh\n")
    assert check() == ""
