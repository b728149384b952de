"""What a device demands that asks directly."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from edge_agent.deployments.requirements import Hardware, Offer, Requirements
from edge_agent.errors import InvalidRequest

APP = UUID(int=0)
OFFER = Offer(Hardware(8, 2**34, "NVIDIA L4"), "US-PA", 0.2)


@pytest.mark.parametrize(
    "demanded",
    [
        {},
        {"gpu": True, "cores": 8, "memory_bytes": 2**34, "max_price": 0.2, "trust": "unsigned"},
        {"jurisdictions": ["DE", "US"]},
        {"jurisdictions": ["US-PA"]},
        {"cached": True},
        {"gpu": False, "cached": False, "jurisdictions": []},
    ],
)
def test_what_is_there_is_met(demanded: Any) -> None:
    assert Requirements.from_json(demanded).unmet(OFFER, APP, [APP]) == []


@pytest.mark.parametrize(
    ("demanded", "unmet"),
    [
        ({"cores": 9}, ["cores"]),
        ({"memory_bytes": 2**34 + 1}, ["memory_bytes"]),
        ({"jurisdictions": ["DE", "US-NY"]}, ["jurisdictions"]),
        ({"max_price": 0.1}, ["max_price"]),
        ({"trust": "signed"}, ["trust"]),
        ({"cached": True, "cores": 9}, ["cached", "cores"]),
    ],
)
def test_what_is_not_there_is_named(demanded: Any, unmet: list[str]) -> None:
    assert Requirements.from_json(demanded).unmet(OFFER, APP, []) == unmet


def test_a_cloudlet_that_says_nothing_has_nothing_but_asks_for_no_money() -> None:
    demanded = {"gpu": True, "cores": 1, "memory_bytes": 1, "jurisdictions": ["DE"], "max_price": 0}
    unmet = Requirements.from_json(demanded).unmet(Offer(), APP, [])
    assert unmet == ["gpu", "memory_bytes", "cores", "jurisdictions"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("gpu", 1),
        ("cached", "yes"),
        ("cores", 0),
        ("memory_bytes", -1),
        ("trust", "great"),
        ("trust", None),
        ("max_price", -1),
        ("jurisdictions", "DE"),
        ("jurisdictions", ["de"]),
        ("jurisdictions", [1]),
        ("jurisdictions", ["DE"] * 65),
    ],
)
def test_wrong_demands_are_refused(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=f"^{field}: "):
        Requirements.from_json({field: value})
