"""What a device asks through its own tunnel: how far its backend is, how good the way there is, and goodbye.
Called by devices, calls `deploy.py` and `probes.py`.

Served on the gateway's tunnel addresses alone, or where Kilo leads devices. Who asks is the source address,
which WireGuard has authenticated.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from ipaddress import IPv4Address
from threading import Event
from typing import TYPE_CHECKING

from flask import Flask, Response, request
from werkzeug.exceptions import RequestEntityTooLarge

from edge_agent.deployments.deploy import Deployments
from edge_agent.errors import NotFound
from edge_agent.fields import parse_wait
from edge_agent.serving import problems
from edge_agent.serving.api import answer
from edge_agent.serving.probes import MOST_BYTES, Probes, filler, parse_bytes
from edge_agent.wire import MAX_BODY_BYTES

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

_LOG = logging.getLogger(__name__)


def make_tunnel_api(deployments: Deployments, clock: Callable[[], float]) -> WSGIApplication:
    """The API as a WSGI application; `clock` is monotonic."""
    app = Flask("edge_agent.serving.tunnel_api")
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    problems.install(app)

    plan, strangers = deployments.site.plan, Event()

    def device() -> IPv4Address:
        found = plan.named(request.remote_addr or "0.0.0.0")  # noqa: S104 - no device's
        if found not in plan.network and not strangers.is_set():
            strangers.set()
            _LOG.warning(
                "who asks for a status has no device's address: does something masquerade devices?",
                extra={"address": request.remote_addr},
            )
        return found

    def known_device() -> IPv4Address:
        """Whoever has a deployment here; raises `NotFound`."""
        if deployments.zone(device()) is None:
            raise NotFound("There is no deployment for this tunnel address.")
        return device()

    @app.get("/api/v1/deployment")
    def get_my_deployment() -> Response:
        wait = parse_wait(request.args.get("wait"), 0.0)
        return answer(deployments.follow(device(), wait).to_json())

    @app.delete("/api/v1/deployment")
    def release_my_deployment() -> Response:
        deployments.release(device())
        return Response(status=202)

    _add_probes(app, Probes(clock), known_device)
    serve: WSGIApplication = app.wsgi_app
    return serve


def _add_probes(app: Flask, probes: Probes, known_device: Callable[[], IPv4Address]) -> None:
    """The routes by which a device measures the way to its backend."""

    @app.get("/api/v1/probe")
    def probe() -> Response:
        known_device()
        return Response(status=204)

    @app.get("/api/v1/probe/download")
    def probe_download() -> Response:
        size = parse_bytes(request.args.get("bytes"))
        end = probes.begin(known_device(), size)
        response = Response(filler(size), content_type="application/octet-stream")
        response.content_length = size
        response.call_on_close(end)
        return response

    @app.post("/api/v1/probe/upload")
    def probe_upload() -> Response:
        request.max_content_length = MOST_BYTES
        size = request.content_length or 0
        if size > MOST_BYTES:
            raise RequestEntityTooLarge
        with probes.measuring(known_device(), size):
            received = 0
            while part := request.stream.read(65536):
                received += len(part)
        return answer({"bytes": received})
