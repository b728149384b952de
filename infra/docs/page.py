"""One self-contained HTML page of an OpenAPI document, by Redoc: no server, no network. Pure; called by
`__main__.py`.
"""

from __future__ import annotations

import html
import json
from collections.abc import Collection, Mapping
from typing import Any

GROUPS: Mapping[str, Collection[str]] = {
    "For devices": ("devices", "tunnel", "nearby", "bundles"),
    "For cloudlets": ("cloudlets", "recipes"),
    "For operators": ("management", "camara", "service"),
}
"""Who reads which tags, those of a phone's developer first."""

_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>body {{ margin: 0 }}</style>
<noscript>This page is drawn by a script; the contract itself is cloud/chalicelib/openapi.yaml.</noscript>
<div id="contract"></div>
<script>{script}</script>
<script type="application/json" id="document">{document}</script>
<script>
Redoc.init(JSON.parse(document.getElementById("document").textContent),
  {{hideDownloadButtons: true, sortTagsAlphabetically: false, expandResponses: "200", pathInMiddlePanel: true,
   showExtensions: ["x-served-by"]}},
  document.getElementById("contract"));
</script>
</html>
"""


def page(document: Mapping[str, Any], redoc: str) -> str:
    """The page; `redoc` is the text of Redoc's standalone bundle. Raises `ValueError` for a tag without a
    group, since Redoc would leave its operations out.
    """
    named = {tag["name"] for tag in document["tags"]}
    grouped = {tag for tags in GROUPS.values() for tag in tags}
    if named != grouped:
        raise ValueError(f"tags and groups differ: {', '.join(sorted(named ^ grouped))}")
    groups = [{"name": name, "tags": list(tags)} for name, tags in GROUPS.items()]
    return _PAGE.format(
        title=html.escape(document["info"]["title"]),
        script=redoc.replace("</script", "<\\/script"),
        document=json.dumps({**document, "x-tagGroups": groups}).replace("</", "<\\/"),
    )
