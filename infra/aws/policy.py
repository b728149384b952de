"""What the root's function may do: each action on each table by name, its own log, and apps' matchers.

Called by `template.py` (with the ARNs of the stack), and for `cloud/.chalice/policy.json`, which
`chalice deploy` takes and which can know neither account nor region.
"""

from collections.abc import Callable
from typing import Any

from infra.aws.tables import TABLES, Table

MATCHER_PREFIX = "sinfonia-matcher-"
DEFAULT_PREFIX = "sinfonia"
_Statement = dict[str, Any]


def _statements(
    arns: Callable[[Table], list[Any]], index_arn: Callable[[Table, str], Any]
) -> list[_Statement]:
    statements: list[_Statement] = []
    for table in TABLES:
        actions = [f"dynamodb:{action}" for action in table.actions]
        statements.append(_allow(table.logical_id, actions, arns(table)))
        if table.index is not None:
            index = index_arn(table, table.index[0])
            statements.append(_allow(f"{table.logical_id}Index", ["dynamodb:Query"], [index]))
    return statements


def _allow(name: str, actions: list[str], resources: list[Any]) -> _Statement:
    return {"Sid": name, "Effect": "Allow", "Action": actions, "Resource": resources}


def for_stack() -> dict[str, Any]:
    """The policy inside the stack's template."""

    def arns(table: Table) -> list[Any]:
        arn = f"${{{table.logical_id}.Arn}}"
        # A kept table's restored copies are named after it.
        return [{"Fn::Sub": text} for text in ([arn, f"{arn}-*"] if table.kept else [arn])]

    return {
        "Version": "2012-10-17",
        "Statement": [
            *_statements(
                arns, lambda table, index: {"Fn::Sub": f"${{{table.logical_id}.Arn}}/index/{index}"}
            ),
            _allow(
                "Matchers",
                ["lambda:InvokeFunction"],
                [{"Fn::Sub": f"arn:${{AWS::Partition}}:lambda:*:*:function:{MATCHER_PREFIX}*"}],
            ),
            _allow(
                "Logs",
                ["logs:CreateLogStream", "logs:PutLogEvents"],
                [{"Fn::Sub": "${FunctionLog.Arn}"}],
            ),
        ],
    }


def for_chalice() -> dict[str, Any]:
    """The policy of `cloud/.chalice/policy.json`: the same with the tables' default names."""

    def arn(table: Table) -> str:
        return f"arn:*:dynamodb:*:*:table/{DEFAULT_PREFIX}-{table.suffix}"

    return {
        "Version": "2012-10-17",
        "Statement": [
            *_statements(lambda table: [arn(table)], lambda table, index: f"{arn(table)}/index/{index}"),
            _allow("Matchers", ["lambda:InvokeFunction"], [f"arn:*:lambda:*:*:function:{MATCHER_PREFIX}*"]),
            _allow(
                "Logs",
                ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"],
                ["arn:*:logs:*:*:log-group:/aws/lambda/sinfonia-root-*"],
            ),
        ],
    }
