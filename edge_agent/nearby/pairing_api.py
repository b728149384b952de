"""The two calls of pairing. Installed into the agent's API by `serving/api.py`; calls `pairing.py`."""

from __future__ import annotations

import json
from typing import Any

from flask import Flask, Response, request

from edge_agent.errors import Forbidden
from edge_agent.fields import parse_json
from edge_agent.nearby.pairing import Pairing
from edge_agent.nearby.pairing_wire import PairingOffer, PairingProof, PairingStart
from edge_agent.serving.signatures import encoded

_MAX_BODY_BYTES = 4096


def install(app: Flask, pairing: Pairing | None) -> None:
    """Add the routes to `app`; without `pairing` they say that this cloudlet is paired with nobody."""

    @app.post("/api/v1/pairing")
    def begin_pairing() -> Response:
        known = _offered(pairing)
        session, message = known.begin(PairingStart.from_json(_body()).message)
        return _answer(PairingOffer(session, message, known.own_key).to_json())

    @app.post("/api/v1/pairing/<session>")
    def finish_pairing(session: str) -> Response:
        known = _offered(pairing)
        proof = PairingProof.from_json(_body())
        done = known.finish(session, proof.key, proof.name, proof.confirmation)
        return _answer({"confirmation": encoded(done)})


def _offered(pairing: Pairing | None) -> Pairing:
    request.max_content_length = _MAX_BODY_BYTES
    if pairing is None:
        raise Forbidden("This cloudlet takes only devices whose keys its operator lists.")
    return pairing


def _body() -> dict[str, Any]:
    return parse_json(request.get_data(), "body")


def _answer(value: dict[str, str]) -> Response:
    return Response(json.dumps(value), content_type="application/json")
