"""The device SDK killed at random points on a device of its own: the short form of `make rounds-sdk`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.needs import TUNNEL, needs
from tests.rounds_sdk import run


@needs(*TUNNEL)
@pytest.mark.timeout(300)
def test_ten_deaths_leave_nothing(tmp_path: Path) -> None:
    tally = run(10, 7, tmp_path)
    assert tally.rounds == 10
    assert tally.good, tally
