"""What a cloudlet must have to be a candidate."""

from dataclasses import replace
from uuid import UUID

import pytest
from chalicelib.choosing.requirements import Requirements
from chalicelib.errors import InvalidRequest
from chalicelib.fleet.cloudlets import Cloudlet, Hardware, RowKey, Trust

APP, OTHER = UUID(int=1), UUID(int=2)
BARE = Cloudlet(RowKey("cell", "place#1"), UUID(int=9), "http://192.0.2.1/d", 1, 0, 0, 1)
RICH = replace(
    BARE,
    trust=Trust.INVITED,
    price=0.2,
    jurisdiction="US-PA",
    hardware=Hardware(cores=8, memory_bytes=2**33, gpu="A2"),
    cached=(APP,),
)
FULL = {
    "gpu": True,
    "memory_bytes": 2**33,
    "cores": 8,
    "jurisdictions": ["DE", "US-PA"],
    "trust": "invited",
    "max_price": 0.2,
    "cached": True,
}


def test_nothing_demanded_admits_everything():
    assert Requirements().admits(BARE, APP)
    assert Requirements.from_json({}) == Requirements()
    assert Requirements().to_json() == {}


def test_everything_demanded_admits_what_has_everything():
    demanded = Requirements.from_json(FULL)
    assert demanded.to_json() == FULL
    assert demanded.admits(RICH, APP)
    assert not demanded.admits(RICH, OTHER)


@pytest.mark.parametrize("name", sorted(FULL))
def test_each_alone_refuses_a_cloudlet_that_says_nothing_but_asks_no_price(name):
    assert Requirements.from_json({name: FULL[name]}).admits(BARE, APP) is (name == "max_price")
    assert Requirements.from_json({name: FULL[name]}).admits(RICH, APP)


@pytest.mark.parametrize(
    "demanded",
    [{"memory_bytes": 2**33 + 1}, {"cores": 9}, {"trust": "listed"}, {"max_price": 0.19}],
)
def test_a_little_less_is_too_little(demanded):
    assert not Requirements.from_json(demanded).admits(RICH, APP)


@pytest.mark.parametrize(
    ("place", "demanded", "admitted"),
    [
        ("US-PA", ["US"], True),
        ("US", ["US-PA"], False),
        ("US-PA", ["US-CA", "US-PA"], True),
        ("US-PA", ["US-P"], False),
        (None, ["US"], False),
    ],
)
def test_a_country_covers_its_parts_and_not_the_other_way(place, demanded, admitted):
    assert (
        Requirements.from_json({"jurisdictions": demanded}).admits(replace(RICH, jurisdiction=place), APP)
        is admitted
    )


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        {"gpu": 1},
        {"memory_bytes": -1},
        {"cores": 0},
        {"jurisdictions": "DE"},
        {"jurisdictions": ["de"]},
        {"jurisdictions": [["DE"]]},
        {"jurisdictions": ["DE"] * 65},
        {"trust": "SIGNED"},
        {"trust": ["signed"]},
        {"max_price": -0.01},
        {"max_price": None},
        {"cached": "yes"},
    ],
)
def test_wrong_values_are_refused_by_name(wrong):
    name = next(iter(wrong), "requirements") if isinstance(wrong, dict) else "requirements"
    with pytest.raises(InvalidRequest, match=f"requirements.*{'' if name == 'requirements' else name}"):
        Requirements.from_json(wrong)
