"""Every part's `wire.py` held to the contract document, in both directions.

Readers take every documented example, and ignore what they don't know. What writers write fits the document.
Servers refuse whatever the document does not allow.
"""

from __future__ import annotations

import contextlib
import copy
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Any
from uuid import UUID

import pytest
import yaml
from chalicelib import errors as root_errors
from chalicelib import problems as root_problems
from chalicelib import root as root_root
from chalicelib import wire as root_wire
from chalicelib.accounts import admissions as root_admissions
from chalicelib.accounts import app_records as root_apps
from chalicelib.accounts import recipes as root_recipes
from chalicelib.accounts import tenants as root_tenants
from chalicelib.accounts import tokens as root_tokens
from chalicelib.accounts import usage as root_usage
from chalicelib.accounts.apps import App
from chalicelib.choosing import measurements as root_measurements
from chalicelib.choosing.matching import ClientInfo
from chalicelib.choosing.upcall import parse_answer, question_of
from chalicelib.deploying import commands as root_commands
from chalicelib.deploying import deployments as root_deployments
from chalicelib.fleet import cloudlets as root_cloudlets
from chalicelib.fleet import wire as root_fleet_wire
from chalicelib.fleet.geo import Location

from device_sdk import problems as sdk_problems
from device_sdk import wire as sdk
from device_sdk.bundles import bundle_wire as sdk_bundle
from device_sdk.nearby import pairing_wire as sdk_pairing
from edge_agent import errors as agent_errors
from edge_agent import wire as agent
from edge_agent.deployments import requirements as agent_requirements
from edge_agent.nearby import pairing_wire as agent_pairing
from edge_agent.provisioning import bundle as agent_bundle
from edge_agent.recipes import recipes as agent_recipes
from edge_agent.roots import root_wire as agent_roots
from edge_agent.serving import problems as agent_problems
from edge_agent.serving import signatures as agent_signatures
from edge_agent.serving.signatures import PublicKey
from tests.contract.document import DOCUMENT, Example, examples, examples_of, problems

APP, CLOUDLET = UUID(int=0), UUID("5f1c9a1e-7f35-4a39-9d52-3f1f8f0e6a11")
KEY = bytes(range(32))


@dataclass(frozen=True)
class Reader:
    """What reads `schema` in `part`. It raises `error`, and nothing else, for what it refuses."""

    part: str
    schema: str
    read: Callable[[Any], Any]
    error: type[Exception]
    serves: bool = False

    def __str__(self) -> str:
        return f"{self.part}-{self.schema}"


REFUSED = root_errors.InvalidRequest


def _yaml(value: Any) -> bytes:
    return str(yaml.safe_dump(value)).encode()


def _bundle(value: Any) -> agent_bundle.Bundle:
    description = json.dumps(value).encode()
    read = agent_bundle.Bundle.read(agent_bundle.digest_of(description), description)
    return replace(read, name="")  # it follows from every byte, those of unknown fields too


def _root_recipe(value: Any) -> root_recipes.Recipe:
    return root_recipes.Recipe.from_yaml(APP, _yaml(value))


def _agent_recipe(value: Any) -> agent_recipes.Recipe:
    return agent_recipes.Recipe.parse(_yaml(value))


def _matcher_answer(value: Any) -> list[UUID]:
    return parse_answer(json.dumps(value).encode())


def _managed_recipe(value: Any) -> root_recipes.Recipe:
    return root_recipes.Recipe.from_json(APP, value)


READERS = [
    Reader("root", "TenantSettings", root_tenants.TenantSettings.from_json, REFUSED, True),
    Reader("root", "TokenRequest", root_tokens.TokenRequest.from_json, REFUSED, True),
    Reader("root", "AppSettings", root_apps.AppSettings.from_json, REFUSED, True),
    Reader("root", "Recipe", _managed_recipe, REFUSED, True),
    Reader("root", "InvitationRequest", root_admissions.InvitationRequest.from_json, REFUSED, True),
    Reader("root", "AllowRequest", root_admissions.parse_allowance, REFUSED, True),
    Reader("device", "Deployment", sdk.Deployment.from_json, sdk.WireError),
    Reader("device", "Candidate", sdk.Candidate.from_json, sdk.WireError),
    Reader("device", "Health", sdk.Health.from_json, sdk.WireError),
    Reader("device", "Problem", sdk.Problem.from_json, sdk.WireError),
    Reader("device", "DeviceContext", sdk.DeviceContext.from_json, sdk.WireError),
    Reader("root", "Deployment", root_deployments.Deployment.from_json, REFUSED),
    Reader("root", "Recipe", _root_recipe, root_errors.RecipeUnusable),
    Reader("root", "DeviceContext", root_wire.DeviceContext.from_json, REFUSED, True),
    Reader("root", "Registration", root_fleet_wire.Registration.from_json, REFUSED, True),
    Reader("root", "Keepalive", root_fleet_wire.Keepalive.from_json, REFUSED, True),
    Reader("root", "UsageReport", root_usage.Report.from_json, REFUSED, True),
    Reader("root", "PublishedKeepalive", root_fleet_wire.PublishedKeepalive.from_json, REFUSED, True),
    Reader("root", "CommandAnswer", root_commands.CommandAnswer.from_json, REFUSED, True),
    Reader("root", "Measurement", root_measurements.Measurement.from_json, REFUSED, True),
    Reader("root", "MatcherAnswer", _matcher_answer, REFUSED, True),
    Reader("agent", "DeviceContext", agent.DeviceContext.from_json, agent_errors.InvalidRequest, True),
    Reader("sdk", "BundleProgress", sdk_bundle.BundleProgress.from_json, sdk.WireError),
    Reader("sdk", "BundlePart", sdk_bundle.read_offset, sdk.WireError),
    Reader("agent", "Bundle", _bundle, agent_errors.InvalidRequest, True),
    Reader("agent", "PairingStart", agent_pairing.PairingStart.from_json, agent_errors.InvalidRequest, True),
    Reader("agent", "PairingProof", agent_pairing.PairingProof.from_json, agent_errors.InvalidRequest, True),
    Reader("device", "PairingOffer", sdk_pairing.PairingOffer.from_json, sdk.WireError),
    Reader("device", "PairingDone", sdk_pairing.PairingDone.from_json, sdk.WireError),
    Reader("agent", "Lease", agent_roots.Lease.from_json, agent_errors.InvalidRequest),
    Reader("agent", "Commands", agent_roots.read_commands, agent_errors.InvalidRequest),
    Reader("agent", "KeySet", agent_signatures.read_keys, agent_errors.InvalidRequest),
    Reader("agent", "Recipe", _agent_recipe, agent_errors.RecipeUnusable),
]

# The list of cloudlets is for people and their programs; a question is for matchers; kept usage for nobody.
NOT_READ = {
    *(
        "Cloudlet",
        "UsageReceipt",
        "TenantAccount",
        "Token",
        "NewToken",
        "App",
        "RecipeVersion",
        "RecipeNumber",
    ),
    *("MatcherQuestion", "Invitation", "NewInvitation", "AllowedCloudlet", "UsageEntry"),
    # CAMARA's: its readers are strict, and have tests of their own.
    *("ClosestZoneRequest", "EndpointDiscoveryRequest"),
    *("EdgeCloudZone", "EndpointDiscoveryResult", "CamaraError"),
}


def read_pairs(readers: list[Reader]) -> list[Any]:
    return [
        pytest.param(reader, example, id=f"{reader}-{example.where}")
        for reader in readers
        for example in examples_of(reader.schema)
    ]


def test_every_documented_schema_has_a_reader() -> None:
    assert {example.schema for example in examples()} - {reader.schema for reader in READERS} == NOT_READ


@pytest.mark.parametrize(("reader", "example"), read_pairs(READERS))
def test_readers_take_every_example(reader: Reader, example: Example) -> None:
    reader.read(example.value)


def _with_unknown(value: Any) -> Any:
    """`value` with fields of tomorrow in every object, except where any field is allowed."""
    if isinstance(value, dict):
        more = {
            name: inner if name in {"values", "body"} else _with_unknown(inner)
            for name, inner in value.items()
        }
        return {**more, "ofTomorrow": {"deep": [1, None, "x"]}, "x-y": None}
    return [_with_unknown(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("reader", "example"), read_pairs(READERS))
def test_readers_ignore_what_they_do_not_know(reader: Reader, example: Example) -> None:
    assert reader.read(_with_unknown(example.value)) == reader.read(example.value)


WRONG: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 91, -181, 1e16, 10**400, math.nan, math.inf, -math.inf),
    *("", "x", "x" * 2000, "ftp://x/", "NaN", "00000000-0000-0000-0000-00000000000g", "\ud800"),
    *([], [1], [[1]], [[91, 0]], ["x"], ["192.0.2.0/24"] * 17, {}, {"latitude": 1}),
]


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value within `value`, its own included."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in inner:
        yield from _places(part, (*path, name))


def _replaced(value: Any, path: tuple[Any, ...], wrong: Any) -> Any:
    if not path:
        return wrong
    made = copy.deepcopy(value)
    place = made
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = wrong
    return made


def _has_no_json(value: Any) -> bool:
    """NaN and infinities don't exist in JSON, so that the document can't forbid them."""
    return isinstance(value, float) and not math.isfinite(value)


SERVERS = [reader for reader in READERS if reader.serves]


@pytest.mark.parametrize(("reader", "example"), read_pairs(SERVERS))
def test_servers_refuse_what_the_document_does_not_allow(reader: Reader, example: Example) -> None:
    """Every value within every example is replaced by every wrong one, and the document is the judge."""
    accepted = []
    for path in _places(example.value):
        for wrong in WRONG:
            made = _replaced(example.value, path, wrong)
            try:
                reader.read(made)
            except reader.error:
                continue
            if _has_no_json(wrong) or problems(reader.schema, made):
                accepted.append((".".join(map(str, path)), str(wrong)[:40]))
    assert accepted == []


@pytest.mark.parametrize(
    ("reader", "example"), read_pairs([reader for reader in READERS if not reader.serves])
)
def test_clients_survive_anything(reader: Reader, example: Example) -> None:
    for path in _places(example.value):
        for wrong in WRONG:
            with contextlib.suppress(reader.error):
                reader.read(_replaced(example.value, path, wrong))


@pytest.mark.parametrize(("reader", "example"), read_pairs(READERS))
def test_what_is_required_is_required(reader: Reader, example: Example) -> None:
    for name in DOCUMENT["components"]["schemas"][reader.schema].get("required", []):
        with pytest.raises(reader.error):
            reader.read({key: value for key, value in example.value.items() if key != name})


@pytest.mark.parametrize(
    "kind", [sdk.Deployment, sdk.Candidate, sdk.DeviceContext], ids=lambda kind: kind.__name__
)
def test_the_device_writes_what_it_read(kind: Any) -> None:
    for example in examples_of(kind.__name__):
        written = kind.from_json(example.value).to_json()
        assert problems(kind.__name__, written) == []
        assert written == example.value


def test_the_root_hands_on_what_it_read() -> None:
    for example in examples_of("Deployment"):
        written = root_deployments.Deployment.from_json(example.value).at(CLOUDLET, "pittsburgh-1").to_json()
        assert problems("Deployment", written) == []
        assert written == {**example.value, "Cloudlet": written["Cloudlet"], "RediscoverAfter": 600}
    for example in examples_of("Recipe"):
        written = _root_recipe(example.value).to_json()
        assert problems("Recipe", written) == []
        assert written == example.value


TUNNEL = agent.TunnelConfig(
    KEY,
    ("100.71.0.1/32", "100.71.0.16/29"),
    "192.0.2.7:51820",
    ("100.71.0.17/32",),
    ("100.71.0.1", "a.internal"),
    agent.TunnelIPv6("[2001:db8::7]:51820", ("fd00:1::10/125",), ("fd00:1::11/128",), ("fd00:1::1",)),
)
SERVICE = agent.Service("web", "100.71.0.18", (agent.ServicePort("TCP", 80), agent.ServicePort("UDP", 53)))
AGENTS = agent.Deployment(
    app=APP,
    key=KEY,
    state="Ready",
    tunnel=TUNNEL,
    name="web-0123456789",
    created="2026-11-24T12:00:00Z",
    cloudlet=CLOUDLET,
    status_url="http://100.71.0.1/s",
    services=(SERVICE,),
)
LOCATION = agent.Location(40.4433, -79.9436, 10)
REGISTRATION = agent_roots.Registration(
    "http://192.0.2.7:7070/api/v1/deploy",
    1795523890123,
    "pittsburgh-1",
    15.0,
    LOCATION,
    ("192.0.2.0/24",),
    ("0.0.0.0/0",),
    ("203.0.113.0/24",),
    agent.Resources.of(
        {"cpu_ratio": 2.0, "mem_ratio": math.nan, "gpu_ratio": 50, "net_rx_rate": -1, "other": 1}
    ),
)
ROW = root_cloudlets.Cloudlet(
    key=root_cloudlets.RowKey("cell", f"place#{CLOUDLET}"),
    uuid=CLOUDLET,
    endpoint="http://192.0.2.7:7070/api/v1/deploy",
    incarnation=1,
    sequence=2,
    last_keepalive=1795523890,
    expires_at=1795523940,
    name="pittsburgh-1",
    location=Location(40.4433, -79.9436),
    local_networks=(ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")),
    resources={"cpu_ratio": 0.2},
)
BARE_ROW = root_cloudlets.Cloudlet(ROW.key, CLOUDLET, ROW.endpoint, 1, 0, 1795523890, 1795523940)
CLIENT = ClientInfo(KEY, ip_address("192.0.2.50"), Location(41.0, -80.0))
NOBODY = ClientInfo(KEY, ip_address("198.51.100.1"), None)
HELLOWORLD = App(APP, root_recipes.Recipe(APP, "helloworld", "0.1.0"))

WRITTEN = [
    ("agent", "PairingOffer", agent_pairing.PairingOffer("3q2-7w", b"B" + KEY, PublicKey(KEY)).to_json()),
    ("device", "PairingProof", sdk_pairing.PairingProof(KEY, "Anna's laptop", KEY).to_json()),
    (
        "root",
        "MatcherQuestion",
        json.loads(question_of(CLIENT, HELLOWORLD, [ROW, BARE_ROW])),
    ),
    ("root", "MatcherQuestion", json.loads(question_of(NOBODY, HELLOWORLD, [BARE_ROW]))),
    ("agent", "Deployment", AGENTS.to_json()),
    ("agent", "Registration", REGISTRATION.to_json()),
    ("agent", "Registration", agent_roots.Registration("http://192.0.2.7/api/v1/deploy", 1).to_json()),
    (
        "agent",
        "Registration",
        agent_roots.Registration(
            None,
            1795523890123,
            tenant="acme",
            invitation="inv_4QmTq1kS.9wXo0e2sYb3u",
            price=0.12,
            jurisdiction="US-PA",
            hardware=agent_requirements.Hardware(16, 2**36, "NVIDIA L4"),
            cached=(APP, CLOUDLET),
            draining=True,
        ).to_json(),
    ),
    (
        "agent",
        "Keepalive",
        agent_roots.Keepalive(7, agent.Resources.of({}), draining=False, cached=()).to_json(),
    ),
    (
        "agent",
        "UsageReport",
        agent_roots.Usage("web-0123456789", APP, 1795523890, 1795524490, 5, 2**53 - 1).to_json(),
    ),
    ("agent", "Keepalive", agent_roots.Keepalive(1, agent.Resources.of({"cpu_ratio": 0.1})).to_json()),
    ("agent", "Keepalive", agent_roots.Keepalive(2**53 - 1, agent.Resources.of({})).to_json()),
    ("root", "Lease", root_fleet_wire.Lease(15.0, 50.0, "token").to_json()),
    ("root", "Lease", root_fleet_wire.Lease(15.0, 50.0).to_json()),
    ("root", "Cloudlet", ROW.to_json()),
    ("root", "Cloudlet", BARE_ROW.to_json()),
    ("root", "Candidate", root_root.candidate_json(ROW, CLIENT)),
    ("root", "Candidate", root_root.candidate_json(BARE_ROW, NOBODY)),
    ("device", "DeviceContext", sdk.DeviceContext().to_json()),
    ("device", "DeviceContext", sdk.DeviceContext(bundle=f"sha256:{'0' * 64}").to_json()),
    ("device", "DeviceContext", sdk.DeviceContext(avoid=(UUID(int=1),), cloudlet=UUID(int=2)).to_json()),
    ("device", "Measurement", sdk.Measurement(CLOUDLET, 11.4).to_json()),
    ("device", "Measurement", sdk.Measurement(CLOUDLET, 0.0, 87.5).to_json()),
    (
        "device",
        "DeviceContext",
        sdk.DeviceContext(
            sdk.Location(-90, 180),
            sdk.Network(("192.0.2.1", "2001:db8::1"), "5g", True),
            sdk.Hardware(8, 2**33, "Adreno", 12.5),
        ).to_json(),
    ),
]


@pytest.mark.parametrize(("part", "schema", "value"), WRITTEN)
def test_what_is_written_fits_the_document(part: str, schema: str, value: Any) -> None:
    assert problems(schema, json.loads(json.dumps(value, allow_nan=False))) == []


@pytest.mark.parametrize(
    ("part", "schema", "value"), [written for written in WRITTEN if written[1] not in NOT_READ]
)
def test_what_one_part_writes_every_other_reads(part: str, schema: str, value: Any) -> None:
    readers = [reader for reader in READERS if reader.schema == schema and reader.part != part]
    assert readers
    for reader in readers:
        reader.read(value)


def _errors(module: Any, base: type) -> list[type]:
    return [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, base)]


TYPES = DOCUMENT["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]


def test_the_roots_problems_are_documented() -> None:
    for kind, *_ in root_problems._PROBLEMS:
        try:
            error = kind("why")
        except TypeError:
            error = kind("why", 1)
        answer = root_problems.problem_of(error)
        document = json.loads(answer.body)
        assert problems("Problem", document) == []
        assert document["status"] == answer.status_code
        assert sdk.Problem.from_json(document).type in sdk_problems.PROBLEMS


def test_the_agents_problems_are_documented() -> None:
    kinds = [*agent_problems._OURS.values(), (*agent_problems._INTERNAL, 500)]
    kinds += [(*names, status) for status, names in agent_problems._HTTP.items()]
    for kind, title, status in kinds:
        document = agent.Problem(kind, title, status, "why").to_json()
        assert problems("Problem", document) == []
        assert document["type"] in TYPES


def test_the_agents_states_are_the_documents() -> None:
    documented = DOCUMENT["components"]["schemas"]["Deployment"]["properties"]["Status"]["enum"]
    assert list(agent.STATES) == documented


def test_the_sizes_are_the_documents() -> None:
    assert "64 KiB" in DOCUMENT["components"]["responses"]["TooLarge"]["description"]
    assert agent.MAX_BODY_BYTES == 64 * 1024
    assert root_wire.MAX_RESULTS == sdk.MAX_RESULTS == 3


@pytest.mark.parametrize("created", [datetime(2026, 11, 24, 12, tzinfo=UTC)])
def test_times_are_rfc_3339(created: datetime) -> None:
    text = root_cloudlets._rfc3339(int(created.timestamp()))
    assert problems("Cloudlet", {**ROW.to_json(), "expires_at": text}) == []
    assert problems("Cloudlet", {**ROW.to_json(), "expires_at": "2026-11-24 12:00"}) != []
