"""The routes by which a device hands over a bundle. Installed into the agent's API by `serving/api.py`; calls
`bundles.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from flask import Flask, Response, request

from edge_agent.errors import InvalidRequest
from edge_agent.fields import parse_wait
from edge_agent.provisioning.blobs import WrongOffset
from edge_agent.provisioning.bundle import MAX_DESCRIPTION_BYTES
from edge_agent.provisioning.bundles import Bundles, Progress
from edge_agent.wire import Problem

MAX_CHUNK_BYTES = 4 * 1024 * 1024
OFFSET_HEADER = "Upload-Offset"


def install(app: Flask, bundles: Bundles, authorise: Callable[[], object]) -> None:
    """Add the routes to `app`; `authorise` raises for a caller who may not hand over anything."""

    @app.put("/api/v1/bundles/<name>")
    def open_bundle(name: str) -> Response:
        request.max_content_length = MAX_DESCRIPTION_BYTES
        authorise()
        return _progress(bundles.open(name, request.get_data()))

    @app.get("/api/v1/bundles/<name>")
    def get_bundle(name: str) -> Response:
        authorise()
        return _progress(bundles.progress(name, parse_wait(request.args.get("wait"), 0.0)))

    @app.post("/api/v1/bundles/<name>")
    def finish_bundle(name: str) -> Response:
        authorise()
        return _progress(bundles.finish(name))

    @app.put("/api/v1/bundles/<name>/parts/<digest>")
    def put_part(name: str, digest: str) -> Response:
        request.max_content_length = MAX_CHUNK_BYTES
        authorise()
        offset = bundles.put(name, digest, _offset(), request.get_data())
        return Response(json.dumps({"offset": offset}), content_type="application/json")

    @app.errorhandler(WrongOffset)
    def wrong_offset(error: WrongOffset) -> Response:
        problem = Problem("conflict", "Conflict", 409, str(error))
        headers = {OFFSET_HEADER: str(error.offset)}
        body = json.dumps(problem.to_json())
        return Response(body, 409, headers, content_type="application/problem+json")


def _progress(progress: Progress) -> Response:
    return Response(json.dumps(progress.to_json()), content_type="application/json")


def _offset() -> int:
    text = request.headers.get(OFFSET_HEADER, "")
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise InvalidRequest(f"{OFFSET_HEADER}: must be the number of bytes that were sent before")
    return int(text)
