"""Records written and read back, names, and the plan of addresses."""

from __future__ import annotations

import uuid
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.deployments.addresses import Plan, default_network
from edge_agent.deployments.records import DamagedRecord, Order, Record, deployment_name
from edge_agent.errors import SettingsError, Unavailable
from edge_agent.wire import ServicePort
from tests.fakes.edge_agent_parts import AGENT, CREATED

RECORD = Record(
    "helloworld-0123456789",
    uuid.UUID(int=3),
    bytes(range(32)),
    IPv4Network("100.71.0.16/29"),
    "helloworld",
    "0.1.0",
    CREATED,
    {"web": (ServicePort("TCP", 80), ServicePort("UDP", 53)), "api": (ServicePort("TCP", 8080),)},
    2,
)


def test_a_record_is_read_as_it_is_written() -> None:
    assert Record.read({**RECORD.labels(AGENT), **RECORD.notes()}) == RECORD


def test_the_root_that_asked_is_in_the_record_and_older_records_have_none() -> None:
    rooted = replace(RECORD, order=Order("https://root.example/stage?x=1"))
    notes = {**rooted.labels(AGENT), **rooted.notes()}
    assert Record.read(notes) == rooted
    del notes["sinfonia/root"]
    assert Record.read(notes) == RECORD


def test_the_values_that_were_set_are_in_the_record() -> None:
    valued = replace(RECORD, order=Order(values='{"greeting":"a, b = c"}', bundle=f"sha256:{'a' * 64}"))
    assert Record.read({**valued.labels(AGENT), **valued.notes()}) == valued
    assert "sinfonia/values" not in RECORD.notes()


def test_addresses_that_the_runtime_gave_are_in_the_record() -> None:
    given = replace(RECORD, addresses={"web": IPv4Address("10.96.0.7")})
    read = Record.read({**given.labels(AGENT), **given.notes()})
    assert read == given
    assert [(one.name, one.address) for one in read.services] == [("web", "10.96.0.7")]
    young = replace(RECORD, addresses={})
    assert Record.read({**young.labels(AGENT), **young.notes()}) == young
    assert (young.unaddressed, young.services) == (True, ())
    assert [one.unaddressed for one in (given, RECORD)] == [False, False]


def test_labels_fit_kubernetes() -> None:
    assert all(len(value) <= 63 for value in RECORD.labels(AGENT).values())


def test_services_get_the_addresses_behind_the_device() -> None:
    assert str(RECORD.device) == "100.71.0.17"
    assert [(one.name, one.address) for one in RECORD.services] == [
        ("api", "100.71.0.18"),
        ("web", "100.71.0.19"),
    ]


@pytest.mark.parametrize(
    ("note", "value"),
    [
        ("sinfonia/key", "x"),
        ("sinfonia/block", "100.71.0.16/28"),
        ("sinfonia/block", "x"),
        ("sinfonia/created", "yesterday"),
        ("sinfonia/created", "2026-11-24T12:00:00"),
        ("sinfonia/app", "x"),
        ("sinfonia/workloads", "many"),
        ("sinfonia/services", "web:TCP"),
        ("sinfonia/services", ";".join(f"s{number}:TCP/1" for number in range(6))),
        ("sinfonia/version", None),
        ("sinfonia/addresses", "web"),
        ("sinfonia/addresses", "web=fd00::1"),
    ],
)
def test_damaged_records_are_known_as_such(note: str, value: str | None) -> None:
    notes = {**RECORD.labels(AGENT), **RECORD.notes(), note: value}
    with pytest.raises(DamagedRecord):
        Record.read({name: text for name, text in notes.items() if text is not None})


@given(st.text(max_size=80), st.binary(min_size=32, max_size=32))
def test_names_are_host_names(chart: str, key: bytes) -> None:
    name = deployment_name(chart, uuid.UUID(int=1), key)
    assert len(name) <= 51
    assert name.replace("-", "").isalnum()
    assert name.isascii()
    assert name == name.lower()
    assert name[0] != "-"


def test_names_follow_from_app_and_key() -> None:
    names = {
        deployment_name("c", uuid.UUID(int=app), bytes([key]) * 32) for app in range(3) for key in range(3)
    }
    assert len(names) == 9
    assert deployment_name("https://x.example/charts/My_App.tgz", AGENT, bytes(32)).startswith("my-app-")


@given(st.uuids())
def test_default_networks_are_in_the_shared_space(cloudlet: uuid.UUID) -> None:
    network = default_network(cloudlet)
    assert network.subnet_of(IPv4Network("100.64.0.0/10"))
    assert network.prefixlen == 16


def test_blocks_are_aligned_and_never_the_gateways() -> None:
    plan = Plan(IPv4Network("100.71.0.0/26"))
    used: set[IPv4Network] = set()
    for _ in range(7):
        block = plan.choose(5, used)
        assert block.subnet_of(plan.network)
        assert plan.gateway not in block
        assert block not in used
        used.add(block)
    with pytest.raises(Unavailable, match="All 7"):
        plan.choose(5, used)


def test_a_seed_keeps_its_block() -> None:
    plan = Plan(IPv4Network("100.71.0.0/16"))
    assert plan.choose(123456, set()) == plan.choose(123456, {IPv4Network("100.71.0.8/29")})


def test_a_network_has_to_be_large_enough() -> None:
    with pytest.raises(SettingsError):
        Plan(IPv4Network("100.71.0.0/29"))
