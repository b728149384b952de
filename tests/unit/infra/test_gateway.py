"""Whatever API Gateway answers by itself is a problem document that the contract knows."""

import json
from pathlib import Path

import pytest
import yaml

from infra.aws.gateway import RESPONSES, api_properties, responses

ROOT = Path(__file__).resolve().parents[3]
# API Gateway Developer Guide, "Gateway response types for API Gateway".
TYPES = """ACCESS_DENIED API_CONFIGURATION_ERROR AUTHORIZER_CONFIGURATION_ERROR AUTHORIZER_FAILURE
BAD_REQUEST_BODY BAD_REQUEST_PARAMETERS DEFAULT_4XX DEFAULT_5XX EXPIRED_TOKEN INTEGRATION_FAILURE
INTEGRATION_TIMEOUT INVALID_API_KEY INVALID_SIGNATURE MISSING_AUTHENTICATION_TOKEN QUOTA_EXCEEDED
REQUEST_TOO_LARGE RESOURCE_NOT_FOUND THROTTLED UNAUTHORIZED UNSUPPORTED_MEDIA_TYPE WAF_FILTERED""".split()


def test_no_answer_of_api_gateway_keeps_its_own_form():
    assert set(RESPONSES) == set(TYPES)


@pytest.fixture(scope="module")
def known():
    """The types of problem that the contract has."""
    contract = yaml.load((ROOT / "cloud/chalicelib/openapi.yaml").read_text(), yaml.CSafeLoader)
    return contract["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]


@pytest.mark.parametrize("name", TYPES)
def test_an_answer_is_a_problem_document_of_the_contract(name, known):
    response = responses()[name]
    document = json.loads(response["responseTemplates"]["application/json"])
    assert document["type"] in known
    assert str(document["status"]) == response["statusCode"]
    headers = response["responseParameters"]
    assert headers["gatewayresponse.header.Content-Type"] == "'application/problem+json'"
    assert ("gatewayresponse.header.Retry-After" in headers) == (document["status"] in {429, 503})


def test_no_answer_repeats_what_the_caller_sent():
    assert "$" not in json.dumps(responses())


def test_access_logs_carry_no_path_and_no_header():
    written = api_properties()["AccessLogSetting"]["Fn::If"][1]["Format"]
    assert set(json.loads(written)) >= {"status", "latency_ms", "route", "request_id"}
    for secret in ("$context.path", "header", "authorizer", "querystring", "$context.extendedRequestId"):
        assert secret not in written
