"""The agent's wire types against the contract, in both directions."""

from __future__ import annotations

import uuid
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from edge_agent import wire
from edge_agent.errors import InvalidRequest
from edge_agent.roots import root_wire

CONTRACT = Path(__file__).resolve().parents[3] / "cloud" / "chalicelib" / "openapi.yaml"


@cache
def contract() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(CONTRACT.read_text())
    return loaded


def holds(name: str, value: Any) -> None:
    """`value` has the contract's schema `name`."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": contract()["components"]}
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    jsonschema.Draft202012Validator(schema, format_checker=checker).validate(value)


def deployment(**changes: Any) -> wire.Deployment:
    fields: dict[str, Any] = {
        "app": uuid.UUID(int=0),
        "key": bytes(32),
        "state": "Ready",
        "tunnel": wire.TunnelConfig(
            bytes(32), ("100.71.0.1/32",), "192.0.2.7:51820", ("100.71.0.9/32",), ("100.71.0.1",)
        ),
        "name": "helloworld-3f9a1c20d4",
        "created": "2026-11-24T12:00:00Z",
        "cloudlet": uuid.UUID(int=7),
        "status_url": "http://100.71.0.1/api/v1/deployment",
        "services": (wire.Service("helloworld", "100.71.0.10", (wire.ServicePort("TCP", 80),)),),
    }
    return wire.Deployment(**{**fields, **changes})


def test_what_we_say_holds_the_contract() -> None:
    holds("Deployment", deployment().to_json())
    holds("Deployment", deployment(reason="no", state="Failed", cloudlet_name="x").to_json())
    resources = wire.Resources.of({"cpu_ratio": 0.5, "net_rx_rate": 12.0})
    registration = root_wire.Registration(
        "http://192.0.2.7:7070/api/v1/deploy",
        1,
        "name",
        15.0,
        wire.Location(40.0, -79.0, 10.0),
        ("192.0.2.0/24",),
        ("0.0.0.0/0",),
        ("203.0.113.0/24",),
        resources,
    )
    holds("Registration", registration.to_json())
    holds("Registration", root_wire.Registration("http://192.0.2.7:7070/api/v1/deploy", 1).to_json())
    holds("Keepalive", root_wire.Keepalive(1, resources).to_json())
    holds("Problem", wire.Problem("not-found", "Not found", 404, "no").to_json())


def test_measurements_are_brought_into_their_limits() -> None:
    measured = {"cpu_ratio": 1.2, "mem_ratio": -0.1, "net_rx_rate": float("nan"), "other": 1.0}
    assert wire.Resources.of(measured).to_json() == {"cpu_ratio": 1.0, "mem_ratio": 0.0}


def examples(operation: str, path: str) -> list[Any]:
    body = contract()["paths"][path][operation]["requestBody"]["content"]["application/json"]
    return [example["value"] for example in body.get("examples", {}).values()]


@pytest.mark.parametrize("example", examples("post", "/api/v1/deploy/{app_uuid}/{application_key}"))
def test_documented_device_contexts_are_understood(example: Any) -> None:
    wire.DeviceContext.from_json(example)
    wire.DeviceContext.from_json({**example, "unknown": {"deep": [1]}})


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("location", {"location": {"latitude": 1}}),
        ("location", {"location": []}),
        ("location", {"location": None}),
        ("latitude", {"location": {"latitude": 91, "longitude": 0}}),
        ("latitude", {"location": {"latitude": True, "longitude": 0}}),
        ("longitude", {"location": {"latitude": 0, "longitude": "0"}}),
        ("accuracy_m", {"location": {"latitude": 0, "longitude": 0, "accuracy_m": -1}}),
        ("network", {"network": "wifi"}),
        ("addresses", {"network": {"addresses": "192.0.2.1"}}),
        ("addresses", {"network": {"addresses": ["x"]}}),
        ("addresses", {"network": {"addresses": [1]}}),
        ("addresses", {"network": {"addresses": ["192.0.2.1"] * 17}}),
        ("metered", {"network": {"metered": 1}}),
        ("link_type", {"network": {"link_type": "x" * 33}}),
        ("hardware", {"hardware": 1}),
        ("cores", {"hardware": {"cores": 0}}),
        ("memory_bytes", {"hardware": {"memory_bytes": -1}}),
        ("gpu", {"hardware": {"gpu": 1}}),
        ("battery_percent", {"hardware": {"battery_percent": 101}}),
    ],
)
def test_wrong_device_contexts_are_refused(field: str, body: Any) -> None:
    with pytest.raises(InvalidRequest, match=f"^{field}: "):
        wire.DeviceContext.from_json(body)


def test_documented_leases_are_understood() -> None:
    path = contract()["paths"]["/api/v1/cloudlets/{cloudlet_uuid}/keepalive"]["post"]
    answers = path["responses"]["200"]["content"]["application/json"]["examples"]
    for name, count in (("same_token", 0), ("with_commands", 1)):
        said = answers[name]["value"]
        lease = root_wire.Lease.from_json({**said, "unknown": 1})
        told = (said["interval_seconds"], said["lease_seconds"], None)
        assert (lease.interval_seconds, lease.lease_seconds, lease.lease_token) == told
        assert len(lease.commands) == count


@pytest.mark.parametrize(
    "answer",
    [
        {},
        [],
        {"interval_seconds": 15},
        {"interval_seconds": 0, "lease_seconds": 50},
        {"interval_seconds": True, "lease_seconds": 50},
        {"interval_seconds": 15, "lease_seconds": "50"},
        {"interval_seconds": 15, "lease_seconds": 50, "lease_token": "a\r\nHost: b"},
        {"interval_seconds": 15, "lease_seconds": 50, "lease_token": 1},
        {"interval_seconds": 15, "lease_seconds": 50, "lease_token": "x" * 1025},
    ],
)
def test_nonsense_is_no_lease(answer: Any) -> None:
    with pytest.raises(InvalidRequest):
        root_wire.Lease.from_json(answer)


def test_no_root_makes_the_agent_hurry() -> None:
    assert root_wire.Lease.from_json({"interval_seconds": 0.01, "lease_seconds": 5}).interval_seconds == 1.0


def test_a_standing_incarnation_is_read_from_a_problem() -> None:
    assert root_wire.standing_incarnation({"incarnation": 7}) == 7
    assert root_wire.standing_incarnation({"incarnation": "7"}) is None
    assert root_wire.standing_incarnation([]) is None


def test_values_are_kept_in_their_shortest_form() -> None:
    given = {"b": {"x": 1.0, "ü": "é"}, "a": [True, None]}
    assert wire.DeviceContext.from_json({"values": given}).values == '{"a":[true,null],"b":{"x":1.0,"ü":"é"}}'
    assert wire.DeviceContext.from_json({"values": {}}).values == ""
    assert wire.DeviceContext.from_json({}).values == ""


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {"x": 1}
    for _ in range(levels - 1):
        value = {"x": value}
    return value


@pytest.mark.parametrize(
    "values",
    [
        *(None, [], "x", {"x": "y" * 4096}, {"x": float("nan")}, {"x": "\ud800"}),
        *(nested(9), {"x": nested(500)}, {str(n): n for n in range(1000)}),
    ],
)
def test_values_that_are_too_much(values: Any) -> None:
    with pytest.raises(InvalidRequest, match="values"):
        wire.DeviceContext.from_json({"values": values})
    assert wire.DeviceContext.from_json({"values": nested(8)}).values
