"""The agent's HTTP API for roots and devices: deploy, look, release, health. Served by `__main__.py` and
asked by `commands.py`; calls `callers.py` and `deploy.py`.

The published clients put keys into the path in every shape: with raw slashes, with doubled slashes, escaped.
A step before the router brings them all into one.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from uuid import UUID

from flask import Flask, Response, g, request

from edge_agent.deployments.deploy import Deployments
from edge_agent.deployments.records import Order
from edge_agent.errors import Unauthorized
from edge_agent.fields import (
    parse_application_key,
    parse_body,
    parse_client_ip,
    parse_location_header,
    parse_results,
    parse_wait,
)
from edge_agent.nearby import pairing_api
from edge_agent.nearby.trust import Nearby, Seal
from edge_agent.provisioning import bundle_api
from edge_agent.provisioning.bundles import Bundles
from edge_agent.serving import problems
from edge_agent.serving.callers import Call, Caller, Callers
from edge_agent.serving.signatures import HEADER as SIGNATURE_HEADER
from edge_agent.wire import MAX_BODY_BYTES, DeviceContext, parse_app

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_LOG = logging.getLogger(__name__)

PUBLISHED_WAIT_SECONDS = 5.0
"""Clients that don't say `wait` know nothing of readiness; the published OpenRTiST gives its backend ten
seconds.
"""

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
"""W3C Trace Context, 3.2."""
_DEPLOY = re.compile(r"/+api/+v1/+deploy/+([^/]+)/(.+?)", re.DOTALL)


def make_api(
    deployments: Deployments, callers: Callers, nearby: Nearby | None = None, bundles: Bundles | None = None
) -> WSGIApplication:
    """The API as a WSGI application. `nearby` is for devices that call it directly and want to be known,
    `bundles` for what they bring.
    """
    app = Flask("edge_agent.serving.api")
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.url_map.merge_slashes = False
    problems.install(app)

    @app.post("/api/v1/deploy/<app_uuid>/<application_key>")
    def deploy(app_uuid: str, application_key: str) -> Response:
        app_id, key = _asked(app_uuid, application_key)
        wait = parse_wait(request.args.get("wait"), PUBLISHED_WAIT_SECONDS)
        context = DeviceContext.from_json(parse_body(request.get_data()))
        caller = _caller(callers)
        root = caller.root if caller else ""
        deployments.check_offer(app_id, context.requirements, root)
        order = Order(root, context.values, context.bundle)
        made = deployments.deploy(app_id, key, wait, order)
        _LOG.info("asked to deploy", extra={"deployment": made.name, "state": made.state, **_origin(caller)})
        return answer([made.to_json()])

    @app.get("/api/v1/deploy/<app_uuid>/<application_key>")
    def get_deployments(app_uuid: str, application_key: str) -> Response:
        app_id, key = _asked(app_uuid, application_key)
        _caller(callers)
        return answer([deployments.find(app_id, key).to_json()])

    @app.delete("/api/v1/deploy/<app_uuid>/<application_key>")
    def release(app_uuid: str, application_key: str) -> Response:
        app_id, key = _asked(app_uuid, application_key)
        caller = _caller(callers)
        if caller is None or not caller.root:
            raise Unauthorized("Only a root can release a deployment from here, by a signed call.")
        deployments.withdraw(app_id, key, caller.root)
        _LOG.info("asked to release", extra={"app": str(app_id), **_origin(caller)})
        return Response(status=204)

    @app.get("/api/v1/health")
    def health() -> Response:
        deployments.check_open()
        site = deployments.site
        state = {"status": "ok", "uuid": str(site.uuid), "deployments": deployments.count()}
        trust = {"nearby": nearby.trust.mode} if nearby else {}
        return answer(state | trust | ({"name": site.name} if site.name else {}))

    if nearby:
        pairing_api.install(app, nearby.pairing)
        _seal_answers(app, nearby.seal)
    if bundles:
        bundle_api.install(app, bundles, lambda: _caller(callers))

    return _one_shape(app)


def answer(value: Any, status: int = 200) -> Response:
    """JSON with a content type that has no parameters: they break the published desktop client."""
    return Response(json.dumps(value), status, content_type="application/json")


def _asked(app_uuid: str, application_key: str) -> tuple[UUID, bytes]:
    """Everything outside of the body that a deploy call may carry, checked."""
    app_id, key = parse_app(app_uuid), parse_application_key(application_key)
    parse_results(request.args.get("results"))
    parse_location_header(request.headers.get("X-Location"))
    parse_client_ip(request.headers.get("X-ClientIP"))
    return app_id, key


def _caller(callers: Callers) -> Caller | None:
    """Who signed this request, None for an unsigned one."""
    target = request.path.removeprefix("/api/v1/deploy")
    query = request.query_string.decode("latin-1")
    call = Call(request.method, f"{target}?{query}" if query else target, request.get_data())
    g.caller = callers.identify(request.headers.get(SIGNATURE_HEADER), call)
    caller: Caller | None = g.caller
    return caller


def _seal_answers(app: Flask, seal: Seal) -> None:
    """Sign what a device is told that signed its call: also errors, which an impostor might tell it."""

    @app.after_request
    def sealed(response: Response) -> Response:
        caller: Caller | None = g.get("caller")
        if caller and caller.device:
            body, status = response.get_data(), response.status_code
            response.headers[SIGNATURE_HEADER] = seal.of(caller.device, caller.nonce, status, body)
        return response


def _origin(caller: Caller | None) -> dict[str, str]:
    """Where a call came from, for the log: what a root signed is told, what anybody may claim is not."""
    trace = _TRACEPARENT.fullmatch(request.headers.get("traceparent", ""))
    told = {"root": caller.root, "client": caller.client_ip, "device": caller.device} if caller else {}
    known = {"trace_id": trace[1] if trace else None, **told}
    return {name: value for name, value in known.items() if value}


def _one_shape(app: Flask) -> WSGIApplication:
    """Rewrite deploy paths so that the key is one segment, URL-safe, however it came."""

    def shaped(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = str(environ.get("PATH_INFO", ""))
        found = _DEPLOY.fullmatch(path.rstrip("/"))
        if found:
            key = unquote(found[2]).replace("/", "_").replace("+", "-")  # some clients escape twice
            environ["PATH_INFO"] = f"/api/v1/deploy/{found[1]}/{key}"
        elif path.startswith("//"):
            environ["PATH_INFO"] = "/" + path.lstrip("/")
        serve: Callable[..., Iterable[bytes]] = app.wsgi_app
        return serve(environ, start_response)

    return shaped
