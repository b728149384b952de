"""How the tests are spread over processes (`make test`): a file's tests stay together, as many share a world,
and so do all files that use the one cluster. What takes longest begins first.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

_HERE = Path(__file__).parent
_CLUSTER = "the cluster's"
_LONG = 16


class _Spread(LoadScopeScheduling):
    """Hands a group to whichever process is free, in the order of the tests."""

    def _split_scope(self, nodeid: str) -> str:
        return _group(nodeid.partition("::")[0])


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _Spread:
    """Groups of files, in the place of `--dist`'s own kinds."""
    config.option.loadscopereorder = False
    return _Spread(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The cluster's tests, other live ones, the rest."""
    live = {_file(item) for item in items if item.get_closest_marker("live")}
    items.sort(key=lambda item: (_group(_file(item)) != _CLUSTER, _file(item) not in live))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Call long bytes by their argument: archives have the time in them, names must not change."""
    return argname if isinstance(val, bytes) and len(val) > _LONG else None


@pytest.fixture(autouse=True)
def _log_of_its_own() -> Iterator[None]:
    """What a test does to the process's log ends with it: that writes to the standard error of then."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers[:]:
        if handler not in handlers:
            root.removeHandler(handler)
    root.setLevel(level)


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


@cache
def _group(file: str) -> str:
    """By what the file says that it needs: who spreads the tests knows their names alone."""
    text = (_HERE.parent / file).read_text()
    return _CLUSTER if '"kubernetes"' in text else file
