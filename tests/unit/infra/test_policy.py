"""The function's rights are few, written out, and the same in both ways to deploy."""

import json
from pathlib import Path

from chalicelib.choosing.matcher_names import FUNCTION_PREFIX

from infra.aws.policy import for_chalice, for_stack
from infra.aws.tables import TABLES

ROOT = Path(__file__).resolve().parents[3]


def flat(value: object) -> str:
    return json.dumps(value)


def test_no_action_is_a_pattern_and_no_resource_is_everything():
    for policy in (for_stack(), for_chalice()):
        for statement in policy["Statement"]:
            assert statement["Effect"] == "Allow"
            assert statement["Resource"]
            assert not any("*" in action for action in statement["Action"])
            for resource in statement["Resource"]:
                assert resource != "*"
                assert not flat(resource).endswith(':*"')


def test_both_ways_to_deploy_allow_the_same_actions_on_the_same_tables():
    stack, chalice = (
        {each["Sid"]: each for each in made["Statement"]} for made in (for_stack(), for_chalice())
    )
    assert stack.keys() == chalice.keys()
    for name in stack.keys() - {"Logs"}:
        assert stack[name]["Action"] == chalice[name]["Action"]
    assert {table.logical_id for table in TABLES} < stack.keys()


def test_only_functions_of_one_prefix_can_be_invoked():
    for policy in (for_stack(), for_chalice()):
        (invoke,) = [each for each in policy["Statement"] if "lambda:InvokeFunction" in each["Action"]]
        (resource,) = invoke["Resource"]
        assert flat(resource).strip('"}').endswith(f":function:{FUNCTION_PREFIX}*")  # what apps may name


def test_the_policy_of_chalice_deploy_is_up_to_date():
    written = json.loads((ROOT / "cloud/.chalice/policy.json").read_text())
    assert written == for_chalice(), "python -m infra.aws policy > cloud/.chalice/policy.json"
