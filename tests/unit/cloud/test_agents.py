"""Calls to agents: by which way, and what their answers mean."""

import json
from dataclasses import dataclass, field
from ipaddress import ip_address
from uuid import UUID

import pytest
from chalicelib.choosing.matching import ClientInfo
from chalicelib.deploying.agents import (
    AgentDeclined,
    AgentError,
    AgentRefused,
    ReachableAgents,
    check_released,
    deployed,
    listed,
)
from chalicelib.fleet.cloudlets import Cloudlet, row_key
from chalicelib.webcall import WebAnswer

from tests.fakes.cloud_agent import deployment

APP, KEY = UUID(int=3), bytes(range(32))
CLIENT = ClientInfo(KEY, ip_address("198.51.100.7"))


def answer(body: object = "", status: int = 200, kind: str = "application/json") -> WebAnswer:
    return WebAnswer(status, kind, json.dumps(body).encode())


def ours(**changed):
    return deployment(str(APP), KEY, **changed)


def test_a_deployment_is_read():
    found = deployed(answer([ours(Status="Deployed")]), APP, CLIENT)
    assert (found.status, found.name) == ("Ready", "helloworld-0123456789")


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (answer({"detail": "no"}, 404), AgentDeclined),
        (answer({"detail": "no"}, 422), AgentDeclined),
        (answer({"detail": "full"}, 503), AgentRefused),
        (answer(status=302), AgentRefused),
        (answer([ours(Status="Failed")]), AgentRefused),
        (answer([]), AgentError),
        (answer([ours()], kind="text/html"), AgentError),
        (answer([ours(UUID=str(UUID(int=4)))]), AgentError),
        (answer({"not": "a list"}), AgentError),
    ],
)
def test_what_is_no_deployment_says_how_well_the_agent_is(given, kind):
    with pytest.raises(AgentError) as refused:
        deployed(given, APP, CLIENT)
    assert type(refused.value) is kind


def test_nothing_there_is_an_answer():
    assert listed(answer(status=404), APP, CLIENT) == []
    assert [each.name for each in listed(answer([ours(), ours()]), APP, CLIENT)] == [
        "helloworld-0123456789"
    ] * 2


@pytest.mark.parametrize("status", [200, 202, 204, 403, 404, 405, 410, 501])
def test_what_is_not_there_any_more_or_not_ours_is_released(status):
    check_released(answer(status=status))


@pytest.mark.parametrize("status", [302, 400, 401, 409, 429, 500, 502, 503])
def test_what_may_still_be_there_is_not_released(status):
    with pytest.raises(AgentError, match=str(status)):
        check_released(answer(status=status))


@dataclass
class Way:
    """Remembers what was asked by it."""

    asked: list[str] = field(default_factory=list)

    def ask(self, method: str, *_):
        self.asked.append(method)
        return answer([ours()])


@pytest.mark.parametrize("can_be_called", [True, False])
def test_who_can_not_be_called_is_sent_commands(can_be_called):
    called, delivered = Way(), Way()
    agents = ReachableAgents(called, delivered)
    row = Cloudlet(row_key(APP, None), APP, "http://192.0.2.1/", 1, 0, 0, 0, callable=can_be_called)
    agents.deploy(row, APP, CLIENT, 0.0, 1.0)
    agents.existing(row, APP, CLIENT, 1.0)
    agents.release(row, APP, CLIENT, 1.0)
    used, unused = (called, delivered) if can_be_called else (delivered, called)
    assert (used.asked, unused.asked) == (["POST", "GET", "DELETE"], [])
