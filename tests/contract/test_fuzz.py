"""The contract, fuzzed: whatever a stranger sends to a root, the answer is one that the document knows.

Inputs come from the document by Schemathesis, right and wrong ones alike; answers must be documented with
their status, content type and schema, and never be a 500.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import checks

from tests.contract.document import DOCUMENT
from tests.flow.servers import World, world

checks.load_all_checks()
HELD_TO = checks.CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
    ]
)


def _served_by_the_root(context: Any) -> bool:
    return "root" in context.operation.definition.raw.get("x-served-by", [])


CONTRACT = schemathesis.openapi.from_dict(DOCUMENT).include(_served_by_the_root)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("recipes")) as made:
        yield made


@CONTRACT.parametrize()
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), database=None)
def test_every_answer_is_documented(case: Any, running: World) -> None:
    case.call_and_validate(base_url=running.root, checks=HELD_TO, timeout=30)
