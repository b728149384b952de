"""What cloudlets call: registration, keepalive, goodbye, commands; and the list of cloudlets.

Registered by `app.py`; calls `fleet/registry.py`, `fleet/keepalives.py` and `deploying/mailbox.py`.
"""

from urllib.parse import urlsplit
from uuid import UUID

from chalice.app import Response

from chalicelib.accounts.usage import parse_reports
from chalicelib.deploying.commands import CommandAnswer, parse_command_id
from chalicelib.deploying.mailbox import MOST_POLL_SECONDS
from chalicelib.errors import NotFound
from chalicelib.fields import parse_uuid
from chalicelib.fleet.registry import NO_CLOUDLET
from chalicelib.fleet.signatures import HEADER, verify_registration
from chalicelib.fleet.wire import Keepalive, PublishedKeepalive, Registration
from chalicelib.incoming import (
    bearer_token,
    client_address,
    json_body,
    page_cursor,
    page_limit,
    page_start,
    parameter,
    raw_body,
)
from chalicelib.lambda_app import RootViews
from chalicelib.views.answers import answer, nothing, page_answer
from chalicelib.views.callers import ACCOUNT_TOKEN, manager, may_manage
from chalicelib.wire import parse_wait

views = RootViews(__name__)


@views.view("POST", "/api/v1/cloudlets")
def published_keepalive() -> Response:
    """The published Sinfonia's keepalive."""
    _pace("published keepalive")
    views.root.registry.admit_published(PublishedKeepalive.from_json(json_body(views.current_request)))
    return nothing()


@views.view("GET", "/api/v1/cloudlets")
def list_cloudlets() -> Response:
    """The living shared cloudlets, or a tenant's own, a page at a time."""
    request, root = views.current_request, views.root
    _pace("list")
    limit, tenant = page_limit(request), parameter(request, "tenant")
    realm = "" if tenant is None else manager(root, request, tenant)[0]
    cloudlets, end = root.registry.page(limit, page_start(request), realm)
    query = f"limit={limit}" + (f"&tenant={tenant}" if realm else "")
    following = None if end is None else f"{query}&after={page_cursor(end)}"
    return page_answer([each.to_json() for each in cloudlets], following)


@views.view("GET", "/api/v1/cloudlets/{cloudlet_uuid}")
def get_cloudlet(cloudlet_uuid: str) -> Response:
    """One cloudlet; a tenant's own is shown to who manages that tenant."""
    request, root = views.current_request, views.root
    _pace("list")
    found = root.registry.find(parse_uuid(cloudlet_uuid, "cloudlet_uuid"))
    if found.realm and not may_manage(root, request, found.realm):
        raise NotFound(NO_CLOUDLET)
    return answer(found.to_json())


@views.view("PUT", "/api/v1/cloudlets/{cloudlet_uuid}")
def register_cloudlet(cloudlet_uuid: str) -> Response:
    """Register a cloudlet."""
    uuid = parse_uuid(cloudlet_uuid, "cloudlet_uuid")
    _pace("register")
    request, keys = views.current_request, views.root.keys
    registration, signed_for = Registration.from_json(json_body(request)), _signed_for(uuid)
    lease = views.root.registry.register(uuid, registration, signed=signed_for is not None)
    body = {**lease.to_json(), "root_keys": keys.key_set}
    if signed_for is not None:
        body["root_proof"] = keys.prove(uuid, signed_for, raw_body(request))
    return answer(body)


def _signed_for(uuid: UUID) -> str | None:
    """What the owner of the UUID's key calls this root in the signature of the body; None without one.

    Raises `Unauthorized`, `Forbidden`.
    """
    request = views.current_request
    signature = request.headers.get(HEADER.lower())
    if signature is None:
        return None
    authority = urlsplit(views.root.settings.url).netloc or request.headers.get("host", "")
    return verify_registration(signature, raw_body(request), uuid, authority)


@views.view("DELETE", "/api/v1/cloudlets/{cloudlet_uuid}")
def withdraw_cloudlet(cloudlet_uuid: str) -> Response:
    """Take a cloudlet off the table: itself with its lease token, or whoever manages it with theirs."""
    request, root = views.current_request, views.root
    uuid, token = parse_uuid(cloudlet_uuid, "cloudlet_uuid"), bearer_token(request)
    if token is None or not token.startswith(ACCOUNT_TOKEN):
        root.registry.withdraw(uuid, token)
    elif may_manage(root, request, root.registry.find(uuid).realm):
        root.registry.evict(uuid)
    else:
        raise NotFound(NO_CLOUDLET)
    return nothing()


@views.view("POST", "/api/v1/cloudlets/{cloudlet_uuid}/keepalive")
def keepalive(cloudlet_uuid: str) -> Response:
    """Renew a cloudlet's lease."""
    request = views.current_request
    uuid = parse_uuid(cloudlet_uuid, "cloudlet_uuid")
    said = Keepalive.from_json(json_body(request))
    return answer(views.root.keepalives.keepalive(uuid, bearer_token(request), said).to_json())


@views.view("GET", "/api/v1/cloudlets/{cloudlet_uuid}/commands")
def fetch_commands(cloudlet_uuid: str) -> Response:
    """What a cloudlet that can't be called is to do; where that is nothing, wait a while."""
    request, root = views.current_request, views.root
    uuid = parse_uuid(cloudlet_uuid, "cloudlet_uuid")
    root.leases.read(bearer_token(request), uuid)
    seconds = parse_wait(parameter(request, "wait"), 0.0, MOST_POLL_SECONDS)
    return answer(list(root.mailbox.poll(uuid, seconds)))


@views.view("POST", "/api/v1/cloudlets/{cloudlet_uuid}/commands/{command_id}")
def answer_command(cloudlet_uuid: str, command_id: str) -> Response:
    """What came of a command."""
    request, root = views.current_request, views.root
    uuid = parse_uuid(cloudlet_uuid, "cloudlet_uuid")
    root.leases.read(bearer_token(request), uuid)
    said = CommandAnswer.from_json(json_body(request))
    root.mailbox.answer(uuid, parse_command_id(command_id), said)
    return nothing()


@views.view("GET", "/api/v1/keys")
def list_keys() -> Response:
    """The keys that this root signs its calls to cloudlets with."""
    return answer(views.root.keys.key_set)


@views.view("POST", "/api/v1/cloudlets/{cloudlet_uuid}/usage")
def report_usage(cloudlet_uuid: str) -> Response:
    """Add what went through a cloudlet's tunnels to the ledger."""
    request, root = views.current_request, views.root
    uuid = parse_uuid(cloudlet_uuid, "cloudlet_uuid")
    claim = root.leases.read(bearer_token(request), uuid)
    root.limits.report(uuid)
    reports = parse_reports(json_body(request))
    refused = root.ledger.report(uuid, claim.key.realm, reports)
    return answer({"accepted": len(reports) - len(refused), "refused": [each.to_json() for each in refused]})


def _pace(kind: str) -> None:
    """Refuse an address that makes too many calls of this kind."""
    address = client_address(views.current_request, views.root.settings.trusted_proxies)
    views.root.limits.call(kind, address)
