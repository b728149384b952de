"""The contract's page: everything of the document is in it, and nothing of it can break out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from infra.docs.page import GROUPS, page

DOCUMENT = yaml.safe_load((Path(__file__).parents[3] / "cloud" / "chalicelib" / "openapi.yaml").read_text())


def embedded(text: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="document">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_the_whole_document_is_in_it_with_devices_first() -> None:
    text = page(DOCUMENT, "/* redoc */")
    shown = embedded(text)
    assert shown.pop("x-tagGroups")[0]["name"] == "For devices"
    assert shown == DOCUMENT
    assert "/* redoc */" in text
    assert "http" not in text.split("<script")[0], "it asks nobody for anything"


def test_every_tag_has_readers() -> None:
    operations = [one for path in DOCUMENT["paths"].values() for one in path.values() if "tags" in one]
    used = {tag for one in operations for tag in one["tags"]}
    assert used <= {tag for tags in GROUPS.values() for tag in tags}
    with pytest.raises(ValueError, match="unheard"):
        page({**DOCUMENT, "tags": [*DOCUMENT["tags"], {"name": "unheard"}]}, "")


def test_what_it_embeds_stays_inside() -> None:
    document = {
        **DOCUMENT,
        "info": {"title": "</title><script>x", "description": "</script><script>"},
    }
    text = page(document, "a</script>b")
    assert text.count("</script>") == 3
    assert embedded(text)["info"] == document["info"]
