"""What views answer with. Called by all of them."""

import json
from typing import Any

from chalice.app import Response


def answer(body: Any, headers: dict[str, str] | None = None) -> Response:
    """200 with JSON; published clients want the content type without parameters."""
    return Response(json.dumps(body), {"Content-Type": "application/json", **(headers or {})}, 200)


def page_answer(body: list[Any], following: str | None) -> Response:
    """200 with a page of a list; `following` is the query of the next page, if there is one (RFC 8288)."""
    return answer(body, {} if following is None else {"Link": f'<?{following}>; rel="next"'})


def next_page(limit: int, end: str | None) -> str | None:
    """The query of the page that follows a page which ended with `end`."""
    return None if end is None else f"limit={limit}&after={end}"


def version_header(version: int) -> dict[str, str]:
    """The `ETag` to be shown in `If-Match`."""
    return {"ETag": f'"{version}"'}


def nothing() -> Response:
    """204."""
    return Response("", {"Content-Type": "application/json"}, 204)
