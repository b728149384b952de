"""The real root and the real agent's API on loopback, joined as in life; the rest is in memory."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app import app
from chalicelib.root import build_root
from chalicelib.settings import Settings
from wsgi import WsgiAdapter

from edge_agent.serving.api import make_api
from edge_agent.serving.tunnel_api import make_tunnel_api
from tests.fakes.cloud_stores import fake_stores
from tests.fakes.edge_agent_images import bundles
from tests.fakes.edge_agent_nearby import anybody_nearby
from tests.fakes.edge_agent_parts import AGENT, Parts
from tests.fakes.edge_agent_roots import anybody
from tests.lab.web import serving

APP = "00000000-0000-0000-0000-000000000000"
HIDDEN = "11111111-1111-1111-1111-111111111111"
UNKNOWN = "99999999-9999-4999-8999-999999999999"
KEY = b"\xfb\xff\xfe" * 10 + b"\xff\xff"  # its standard base64 is full of + and /


class Answer:
    """An HTTP answer, read to its end."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.kind = response.status, response.headers["Content-Type"]
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def call(url: str, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
    """One request, with the path as it is: nothing is escaped or tidied up."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=15)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders(body)
        return Answer(connection.getresponse())
    finally:
        connection.close()


class World:
    """URLs of the `root`, of the `agent`, and the agent's insides."""

    def __init__(self, root: str, agent: str, parts: Parts) -> None:
        self.root, self.agent, self.parts = root, agent, parts

    @property
    def endpoint(self) -> str:
        return f"{self.agent}/api/v1/deploy"

    def gateway(self, device: str) -> contextlib.AbstractContextManager[str]:
        """Where the tunnel's API is served for `device` alone."""
        api = make_tunnel_api(self.parts.deployments, self.parts.clock)
        return serving(lambda environ, start: api({**environ, "REMOTE_ADDR": device}, start))


@contextlib.contextmanager
def world(recipes: Path, registration: Mapping[str, Any] | None = None) -> Iterator[World]:
    """A root that knows one agent by the published keepalive, or by `registration`."""
    for name, restricted in ((APP, "false"), (HIDDEN, "true")):
        (recipes / f"{name}.yaml").write_text(
            f"chart: helloworld\nversion: 0.1.0\nrestricted: {restricted}\n"
        )
    settings = Settings(
        lease_secret=b"0123456789abcdef",
        recipes=str(recipes),
        allow_private_endpoints=True,
        open=True,
        calls_per_address=1e6,
    )
    app.serve(build_root(settings, fake_stores(), chance=random.Random(0)))
    parts, stop = Parts(threads=2), threading.Event()
    watching = threading.Thread(target=parts.keep_watching, args=(stop,), daemon=True)
    watching.start()
    api = make_api(parts.deployments, anybody(), anybody_nearby(recipes), bundles(recipes / "brought"))
    with serving(WsgiAdapter(app)) as root, serving(api) as agent:
        made = World(root, agent, parts)
        if registration is None:
            said = {"uuid": str(AGENT), "endpoint": made.endpoint, "resources": {"cpu_ratio": 0.05}}
            assert call(root, "POST", "/api/v1/cloudlets/", json.dumps(said).encode()).status == 204
        else:
            body = json.dumps({"endpoint": made.endpoint, **registration}).encode()
            assert call(root, "PUT", f"/api/v1/cloudlets/{AGENT}", body).status == 200
        try:
            yield made
        finally:
            stop.set()
            watching.join(5)
