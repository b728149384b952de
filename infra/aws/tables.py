"""The root's tables: keys, what is kept for good, and what the function may do to each.

Called by the other modules of this package. The keys are those of `chalicelib/tables/`, the settings those of
`chalicelib/settings.py`; tests hold them together.
"""

from dataclasses import dataclass
from typing import Any

Resources = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """One table."""

    logical_id: str
    setting: str
    """The function's environment variable with its name."""
    suffix: str
    """Its name is `<Prefix>-<suffix>`."""
    keys: tuple[str, str]
    """Partition key and sort key, both strings."""
    actions: tuple[str, ...]
    """Of DynamoDB, that the function takes on it."""
    index: tuple[str, str] | None = None
    """Name and partition key of an index of keys only, which the function queries."""
    kept: bool = False
    """Whether it is more than soft state: it then has point-in-time recovery and outlives the stack."""
    expires: bool = True
    """Whether its items have a time after which they mean nothing."""


TABLES = (
    Table(
        "CloudletTable",
        "SINFONIA_TABLE",
        "cloudlets",
        ("cell", "place"),
        ("DeleteItem", "DescribeTable", "GetItem", "PutItem", "Query", "Scan", "UpdateItem"),
        index=("by-uuid", "uuid"),
    ),
    Table(
        "DeploymentTable",
        "SINFONIA_DEPLOYMENT_TABLE",
        "deployments",
        ("application_key", "app_uuid"),
        ("DeleteItem", "GetItem", "PutItem"),
    ),
    Table(
        "AccountTable",
        "SINFONIA_ACCOUNT_TABLE",
        "accounts",
        ("partition", "name"),
        ("BatchGetItem", "DeleteItem", "GetItem", "PutItem", "Query"),
        kept=True,
    ),
    Table(
        "UsageTable",
        "SINFONIA_USAGE_TABLE",
        "usage",
        ("partition", "entry"),
        ("PutItem", "Query"),
        kept=True,
        expires=False,
    ),
    Table(
        "LimitTable",
        "SINFONIA_LIMIT_TABLE",
        "limits",
        ("allowance", "window"),
        ("UpdateItem",),
    ),
    Table(
        "CommandTable",
        "SINFONIA_COMMAND_TABLE",
        "commands",
        ("cloudlet_uuid", "id"),
        ("DeleteItem", "GetItem", "PutItem", "Query", "UpdateItem"),
    ),
    Table(
        "MeasurementTable",
        "SINFONIA_MEASUREMENT_TABLE",
        "measurements",
        ("network", "entry"),
        ("Query", "UpdateItem"),
    ),
)


def resource(table: Table) -> Resources:
    """A table as CloudFormation has it."""
    names = table.keys if table.index is None else (*table.keys, table.index[1])
    properties: dict[str, Any] = {
        "TableName": {"Fn::Sub": f"${{Prefix}}-{table.suffix}"},
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in names],
        "KeySchema": [
            {"AttributeName": name, "KeyType": kind}
            for name, kind in zip(table.keys, ("HASH", "RANGE"), strict=True)
        ],
    }
    if table.index is not None:
        name, key = table.index
        properties["GlobalSecondaryIndexes"] = [
            {
                "IndexName": name,
                "KeySchema": [{"AttributeName": key, "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ]
    if table.expires:
        properties["TimeToLiveSpecification"] = {"AttributeName": "expires_at", "Enabled": True}
    if table.kept:
        properties["PointInTimeRecoverySpecification"] = {"PointInTimeRecoveryEnabled": True}
        properties["DeletionProtectionEnabled"] = True
    policy = "Retain" if table.kept else "Delete"
    return {
        "Type": "AWS::DynamoDB::Table",
        "DeletionPolicy": policy,
        "UpdateReplacePolicy": policy,
        "Properties": properties,
    }


def resources() -> Resources:
    """All tables."""
    return {table.logical_id: resource(table) for table in TABLES}


def restored_parameter(table: Table) -> str:
    """The parameter that names a restored copy of a kept table, to be used in its place."""
    return f"Restored{table.logical_id}"


def settings() -> dict[str, Any]:
    """The function's environment variables with the tables' names."""
    named: dict[str, Any] = {}
    for table in TABLES:
        own = {"Ref": table.logical_id}
        restored = restored_parameter(table)
        named[table.setting] = {"Fn::If": [f"Is{restored}", {"Ref": restored}, own]} if table.kept else own
    return named
