"""The contract document itself: valid, complete, and true to its own schemas."""

from __future__ import annotations

import re

import pytest
from openapi_spec_validator import validate

from tests.contract.document import (
    DOCUMENT,
    PATH,
    Example,
    contents,
    examples,
    operations,
    problems,
    resolve,
)


def test_it_is_openapi() -> None:
    validate(DOCUMENT)
    assert DOCUMENT["openapi"].startswith("3.1")


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.where)
def test_every_example_is_what_it_shows(example: Example) -> None:
    assert problems(example.schema, example.value) == []


def test_every_operation_says_what_it_is_and_who_serves_it() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names)) > 10
    tags = {tag["name"] for tag in DOCUMENT["tags"]}
    for path, method, operation in operations():
        where = f"{method} {path}"
        assert operation["summary"], where
        assert set(operation["tags"]) <= tags, where
        assert operation["x-served-by"], where
        assert set(operation["x-served-by"]) <= {"root", "cloudlet", "gateway", "camara"}, where


def test_every_path_parameter_is_described() -> None:
    for path, item in DOCUMENT["paths"].items():
        described = {resolve(parameter)["name"] for parameter in item.get("parameters", [])}
        assert described == set(re.findall(r"{(\w+)}", path)), path


def test_every_error_is_a_problem_document() -> None:
    for path, method, operation in operations():
        for status, response in operation["responses"].items():
            kinds = set(resolve(response).get("content", {}))
            if operation["x-served-by"] == ["camara"]:  # that standard has a form of its own
                assert kinds == {"application/json"}, f"{method} {path} {status}"
            elif int(status) >= 400:
                assert kinds == {"application/problem+json"}, f"{method} {path} {status}"
            else:
                assert "application/problem+json" not in kinds


def test_every_body_has_a_schema_and_almost_every_one_an_example() -> None:
    without = [where for where, _, media in contents() if not {"example", "examples"} & set(media)]
    assert set(without) <= {
        "GET /api/v1/deploy/{app_uuid}/{application_key} 200",  # as of the POST
        "GET /api/v1/deployment 200",
        "GET /api/v1/openapi.yaml 200",
        "PUT /api/v1/bundles/{bundle}/parts/{digest}",  # bytes
        "GET /api/v1/probe/download 200",  # bytes
        "POST /api/v1/probe/upload",  # bytes
        "POST /api/v1/probe/upload 200",  # one number
    }
    assert all("schema" in media for _, _, media in contents())


def test_every_schema_and_response_is_used() -> None:
    text = PATH.read_text()
    for kind in ("schemas", "responses", "parameters"):
        for name in DOCUMENT["components"][kind]:
            assert f"#/components/{kind}/{name}'" in text, f"{kind}/{name}"
