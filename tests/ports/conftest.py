"""What the suites of tables run on: memory, and two engines that speak DynamoDB's API."""

import os
from collections.abc import Iterator

import pytest

from tests.lab import engines
from tests.lab.needs import missing


@pytest.fixture(
    params=[
        "fake",
        pytest.param("roto", marks=pytest.mark.live),
        pytest.param("dynalite", marks=pytest.mark.live),
    ],
    scope="module",
)
def engine(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """The URL of an engine, its credentials being set; None stands for the project's own fake."""
    if request.param == "fake":
        yield None
        return
    if request.param == "dynalite" and (lacking := missing("npm")) and os.environ.get("CI") != "true":
        pytest.skip(f"needs {lacking}")
    with pytest.MonkeyPatch.context() as environment, getattr(engines, request.param)() as url:
        for name, value in engines.CREDENTIALS.items():
            environment.setenv(name, value)
        yield url
