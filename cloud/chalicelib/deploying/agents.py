"""Asking cloudlets' agents to deploy, what they have deployed, or to release it.

Called by `deploy.py` and `release.py`. An agent's answer is believed only as far as it fits the contract and
the question. `answered` reads what came back, by whichever way.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from chalicelib.call_values import canonical
from chalicelib.choosing.matching import ClientInfo
from chalicelib.deploying.deployments import Deployment
from chalicelib.errors import InvalidRequest
from chalicelib.fields import Fields, parse_json
from chalicelib.fleet.cloudlets import Cloudlet, Trust
from chalicelib.fleet.root_keys import Call
from chalicelib.fleet.signatures import HEADER as SIGNATURE
from chalicelib.keys import path_form
from chalicelib.observing import trace_headers
from chalicelib.webcall import CallError, WebAnswer, WebCaller

VIA = "1.1 sinfonia-root"  # RFC 9110, section 7.6.3: so that a root knows a root's own call
_MOST_BYTES = 65536
_MOST_DEPLOYMENTS = 8
_DECLINES = {400, 404, 422}
# Published agents know no release and reclaim by themselves; 403: another root had it deployed.
_RELEASED = {200, 202, 204, 403, 404, 405, 410, 501}


class AgentError(Exception):
    """The agent failed, declined or was too slow; the text says why, to stand behind its name."""


class AgentRefused(AgentError):
    """The agent answered, and not with a backend. It may be full, or the app's image may be missing."""


class AgentDeclined(AgentError):
    """The agent is well and has no use for this very request: its recipe, for one."""


class Agents(Protocol):
    """A way to cloudlets' agents. Every method raises `AgentError` where that leads to nothing."""

    def deploy(
        self, cloudlet: Cloudlet, app_uuid: UUID, client: ClientInfo, wait_seconds: float, seconds: float
    ) -> Deployment:
        """Have the backend deployed; `wait_seconds` is how long the agent may hold its answer."""

    def existing(
        self, cloudlet: Cloudlet, app_uuid: UUID, client: ClientInfo, seconds: float
    ) -> list[Deployment]:
        """What is deployed there for this app and key."""

    def release(self, cloudlet: Cloudlet, app_uuid: UUID, client: ClientInfo, seconds: float) -> None:
        """Have it removed; fine where there is nothing."""


class Signer(Protocol):
    """Shows to cloudlets that a call is this root's; see `root_keys.RootKeys`."""

    def sign(self, call: Call, call_id: str) -> str:
        """The signature, good for a minute and once."""


class Way(Protocol):
    """A way to agents: their API, or their mail."""

    def ask(
        self, method: str, cloudlet: Cloudlet, app_uuid: UUID, client: ClientInfo, query: str, seconds: float
    ) -> WebAnswer:
        """What the agent answers to a call about this app and the client's key. Raises `AgentError`."""


@dataclass(frozen=True, slots=True)
class AgentCalls:
    """Calls to agents, signed for those that sign too. `fresh_id`: a name that nobody used or guesses."""

    caller: WebCaller
    signer: Signer
    fresh_id: Callable[[], str]

    def ask(
        self, method: str, cloudlet: Cloudlet, app_uuid: UUID, client: ClientInfo, query: str, seconds: float
    ) -> WebAnswer:
        """Call the agent's API."""
        target = f"/{app_uuid}/{path_form(client.publickey)}{query}"
        headers = {
            "Accept": "application/json",
            "X-ClientIP": str(client.ipaddress),
            "Via": VIA,
            **trace_headers(),
        }
        if client.location is not None:
            headers["X-Location"] = f"{client.location.latitude},{client.location.longitude}"
        body = body_of(method, client)
        if body:
            headers["Content-Type"] = "application/json"
        if cloudlet.trust > Trust.UNSIGNED:  # the others have not been told this root's keys
            call = Call(cloudlet.uuid, method, target, client.ipaddress, client.location, body)
            headers[SIGNATURE] = self.signer.sign(call, self.fresh_id())
        url = f"{cloudlet.endpoint}{target}"
        try:
            return self.caller.call(
                method, url, headers, seconds=seconds, most_bytes=_MOST_BYTES, body=body or None
            )
        except CallError as error:
            raise AgentError(str(error)) from error


@dataclass(frozen=True, slots=True)
class ReachableAgents:
    """All agents: those that can be called, and those that fetch their commands."""

    called: Way
    delivered: Way

    def deploy(
        self, cloudlet: Cloudlet, app_uuid: UUID, client: ClientInfo, wait_seconds: float, seconds: float
    ) -> Deployment:
        """Have the backend deployed; `wait_seconds` is how long the agent may hold its answer."""
        answer = self._ask("POST", cloudlet, app_uuid, client, f"?wait={wait_seconds:g}", seconds)
        return deployed(answer, app_uuid, client)

    def existing(
        self, cloudlet: Cloudlet, app_uuid: UUID, client: ClientInfo, seconds: float
    ) -> list[Deployment]:
        """What is deployed there for this app and key."""
        return listed(self._ask("GET", cloudlet, app_uuid, client, "", seconds), app_uuid, client)

    def release(self, cloudlet: Cloudlet, app_uuid: UUID, client: ClientInfo, seconds: float) -> None:
        """Have it removed; fine where there is nothing."""
        check_released(self._ask("DELETE", cloudlet, app_uuid, client, "", seconds))

    def _ask(
        self, method: str, cloudlet: Cloudlet, app_uuid: UUID, client: ClientInfo, query: str, seconds: float
    ) -> WebAnswer:
        way = self.called if cloudlet.callable else self.delivered
        return way.ask(method, cloudlet, app_uuid, client, query, seconds)


def body_of(method: str, client: ClientInfo) -> bytes:
    """The body of a call about a device: what it sets of the chart's values, where something is deployed."""
    if method != "POST" or not client.values:
        return b""
    return canonical({"values": client.values}).encode()


def deployed(answer: WebAnswer, app_uuid: UUID, client: ClientInfo) -> Deployment:
    """The deployment that an agent answered with. Raises `AgentError`, also when it says it failed."""
    found = _deployments(answer, app_uuid, client)
    if not found:
        raise AgentError("answered with no deployment")
    if found[0].status == "Failed":
        raise AgentRefused(f"could not start it: {found[0].fields.get('Reason', 'no reason given')}")
    return found[0]


def listed(answer: WebAnswer, app_uuid: UUID, client: ClientInfo) -> list[Deployment]:
    """What an agent says is there. Raises `AgentError`."""
    return [] if answer.status == 404 else _deployments(answer, app_uuid, client)


def check_released(answer: WebAnswer) -> None:
    """That nothing is there any more. Raises `AgentError`."""
    if answer.status not in _RELEASED:
        raise AgentError(f"answered {answer.status}{_detail(answer)}")


def _deployments(answer: WebAnswer, app_uuid: UUID, client: ClientInfo) -> list[Deployment]:
    if answer.status in _DECLINES:
        raise AgentDeclined(f"answered {answer.status}{_detail(answer)}")
    if answer.status != 200:
        raise AgentRefused(f"answered {answer.status}{_detail(answer)}")
    if answer.content_type != "application/json":
        raise AgentError("answered with something else than JSON")
    try:
        found = Fields({"answer": parse_json(answer.body)}, "body").each(
            "answer", _MOST_DEPLOYMENTS, lambda value, _where: Deployment.from_json(value)
        )
    except InvalidRequest as error:
        raise AgentError(f"answered with nonsense ({error})") from error
    if any(each.app_uuid != app_uuid or each.application_key != client.publickey for each in found):
        raise AgentError("answered for another app or key")
    return list(found)


def _detail(answer: WebAnswer) -> str:
    """What a problem document says, in one short line."""
    try:
        detail = Fields(parse_json(answer.body), "problem").text("detail", 2000)
    except InvalidRequest:
        return ""
    return f": {' '.join(detail.split())[:200]}"
