"""Which names of matchers an app may have."""

import pytest
from chalicelib.choosing.matcher_names import BUILT_IN, Function, function_of, parse_matchers
from chalicelib.errors import InvalidRequest

ARN = "arn:aws:lambda:eu-central-1:123456789012:function:sinfonia-matcher-games"


@pytest.mark.parametrize(
    "names",
    [
        [],
        list(BUILT_IN),
        [f"lambda:{ARN}"],
        [f"lambda:{ARN}:live"],
        [f"lambda:{ARN}:$LATEST"],
        ["lambda:" + ARN.replace("arn:aws:", "arn:aws-us-gov:").replace("eu-central-1", "us-gov-west-1")],
        ["https://matcher.example.org:8443/choose?version=2"],
    ],
)
def test_these_are_fine(names):
    assert parse_matchers(names, "matchers") == tuple(names)


@pytest.mark.parametrize(
    "names",
    [
        "load",
        ["nobody"],
        [""],
        ["load "],
        ["load"] * 9,
        [7],
        ["load", "https://matcher.example.org/"],
        ["http://matcher.example.org/"],
        ["https://"],
        ["https://user:secret@matcher.example.org/"],
        ["https://matcher.example.org/" + "x" * 256],
        ["lambda:"],
        ["lambda:sinfonia-matcher-games"],
        ["lambda:arn:aws:lambda:eu-central-1:123456789012:function:billing"],
        ["lambda:arn:aws:s3:::sinfonia-matcher-games"],
        [f"lambda:{ARN}\n"],
        [f"lambda:{ARN}".replace("eu-central-1", "eu-central-1.evil.example")],
    ],
)
def test_these_are_refused_by_name(names):
    with pytest.raises(InvalidRequest, match="matchers"):
        parse_matchers(names, "matchers")


def test_plain_http_is_for_roots_that_may_call_their_own_network():
    assert parse_matchers(["http://127.0.0.1:1/"], "matchers", allow_private=True) == ("http://127.0.0.1:1/",)


def test_a_function_knows_its_region():
    assert function_of(f"lambda:{ARN}") == Function(ARN, "eu-central-1")
    assert function_of("https://matcher.example.org/") is None
    assert function_of("lambda:nothing") is None
