"""How the tests are spread over processes (`pytest -n 2 --dist loadgroup`): a file's tests stay together, and
so do all that use the one cluster. What takes longest begins first.
"""

from __future__ import annotations

import pytest

CLUSTER = "cluster"
_LONG = 16


@pytest.hookimpl(tryfirst=True)  # what spreads the tests reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test its group, and the order: the cluster's, other live ones, the rest."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))
    items.sort(key=lambda item: (_group(item) != CLUSTER, item.get_closest_marker("live") is None))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Call long bytes by their argument: archives have the time in them, names must not change."""
    return argname if isinstance(val, bytes) and len(val) > _LONG else None


def _group(item: pytest.Item) -> str:
    return CLUSTER if item.get_closest_marker("kubernetes") else item.nodeid.partition("::")[0]
