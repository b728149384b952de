"""The Chalice app as a WSGI application: what API Gateway does in the cloud, done here.

Called by `local_root.py` (under waitress) and by tests. It finds the route, decodes path parameters, and
makes the event that Lambda would get. Application keys come with raw slashes, so the greedy route
(`{name+}`) takes the rest of the path as it was sent, before any decoding.
"""

import base64
import re
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote

from chalicelib.incoming import MOST_BODY_BYTES
from chalicelib.lambda_app import RootApp
from chalicelib.problems import problem

StartResponse = Callable[..., Any]


class WsgiAdapter:
    """A WSGI application over a Chalice application."""

    def __init__(self, app: RootApp) -> None:
        self._app = app
        self._routes = [(_pattern(resource), resource) for resource in app.routes]

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        answer = self._answer(environ)
        headers = {**answer.get("headers", {}), **answer.get("multiValueHeaders", {})}
        pairs = [
            (name, str(value))
            for name, values in headers.items()
            for value in (values if isinstance(values, list) else [values])
        ]
        body = answer.get("body", "")
        raw = body if isinstance(body, bytes) else str(body).encode()
        status = int(answer["statusCode"])
        if status == 204:
            pairs, raw = [], b""
        else:
            pairs.append(("Content-Length", str(len(raw))))
        start_response(f"{status} {HTTPStatus(status).phrase}", pairs)
        return [raw]

    def _answer(self, environ: dict[str, Any]) -> dict[str, Any]:
        method = environ["REQUEST_METHOD"]
        path = _raw_path(environ)
        resource, parameters = self._route(path)
        if resource is None:
            return _problem(404, "not-found", "Not found", "There is nothing at this path.")
        methods = self._app.routes[resource]
        if method not in methods:
            allowed = ", ".join(sorted(methods))
            answer = _problem(405, "method-not-allowed", "Method not allowed", f"This path knows {allowed}.")
            answer["headers"]["Allow"] = allowed
            return answer
        size = int(environ.get("CONTENT_LENGTH") or 0)
        if size > MOST_BODY_BYTES:
            detail = f"The body has {size} bytes; {MOST_BODY_BYTES} are allowed."
            return _problem(413, "too-large", "Too large", detail)
        return self._app(_event(environ, method, path, resource, parameters), None)

    def _route(self, path: str) -> tuple[str | None, dict[str, str]]:
        for pattern, resource in self._routes:
            found = pattern.fullmatch(path)
            if found:
                return resource, {name: unquote(value) for name, value in found.groupdict().items()}
        return None, {}


def _pattern(resource: str) -> re.Pattern[str]:
    """A route as a regular expression; a trailing slash makes no difference."""
    parts = []
    for part in re.split(r"(\{\w+\+?\})", resource):
        if part.endswith("+}"):
            parts.append(f"(?P<{part[1:-2]}>.*)")
        elif part.startswith("{"):
            parts.append(f"(?P<{part[1:-1]}>[^/]+)")
        else:
            parts.append(re.escape(part))
    return re.compile("".join(parts) + ("" if resource.endswith("+}") else "/?"), re.DOTALL)


def _raw_path(environ: dict[str, Any]) -> str:
    """The path as it was sent, with one leading slash; clients with a slash too many send two."""
    uri = environ.get("REQUEST_URI") or environ["PATH_INFO"]
    path = re.sub(r"^[a-z]+://[^/?]*", "", uri, flags=re.IGNORECASE).partition("?")[0]
    return "/" + path.lstrip("/")


def _event(
    environ: dict[str, Any], method: str, path: str, resource: str, parameters: dict[str, str]
) -> dict[str, Any]:
    """An event of API Gateway's Lambda proxy integration."""
    query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    headers = {
        name[5:].replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    if environ.get("CONTENT_TYPE"):
        headers["content-type"] = environ["CONTENT_TYPE"]
    body = environ["wsgi.input"].read(MOST_BODY_BYTES + 1)
    return {
        "resource": resource,
        "path": path,
        "httpMethod": method,
        "headers": headers,
        "multiValueQueryStringParameters": query or None,
        "pathParameters": parameters,
        "stageVariables": None,
        "requestContext": {
            "resourcePath": resource,
            "httpMethod": method,
            "path": path,
            "identity": {"sourceIp": environ.get("REMOTE_ADDR", "0.0.0.0")},  # noqa: S104 - nobody
        },
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }


def _problem(status: int, kind: str, title: str, detail: str) -> dict[str, Any]:
    answer: dict[str, Any] = problem(status, kind, title, detail).to_dict()
    return answer
