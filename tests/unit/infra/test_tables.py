"""The tables that AWS is told to make are those that the code expects; it may do what it does, no more."""

import ast
from dataclasses import fields
from pathlib import Path

import pytest
from chalicelib.settings import Settings
from chalicelib.stores import dynamo_stores

from infra.aws.tables import TABLES, resource, settings

ROOT = Path(__file__).resolve().parents[3]
OPERATIONS = {
    "batch_get_item": "BatchGetItem",
    "delete_item": "DeleteItem",
    "describe_table": "DescribeTable",
    "get_item": "GetItem",
    "put_item": "PutItem",
    "query": "Query",
    "scan": "Scan",
    "update_item": "UpdateItem",
}


def stores():
    """The code's own tables by their default names."""
    made = dynamo_stores(Settings(lease_secret=b"0" * 32), lambda _seconds: None)
    tables = [getattr(made, each.name)._table for each in fields(made)]
    return {table.name: table for table in tables}


def test_every_table_of_the_code_is_made_and_no_other():
    assert {f"sinfonia-{table.suffix}" for table in TABLES} == stores().keys()


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.suffix)
def test_the_keys_are_those_of_the_code(table):
    schema = stores()[f"sinfonia-{table.suffix}"]._schema
    made = resource(table)["Properties"]
    assert made["KeySchema"] == schema["KeySchema"]
    assert made["AttributeDefinitions"] == schema["AttributeDefinitions"]
    indexes = [
        {key: each[key] for key in ("IndexName", "KeySchema")}
        for each in made.get("GlobalSecondaryIndexes", [])
    ]
    expected = [
        {key: each[key] for key in ("IndexName", "KeySchema")}
        for each in schema.get("GlobalSecondaryIndexes") or []
    ]
    assert indexes == expected


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.suffix)
def test_the_function_may_do_what_its_code_does_and_no_more(table):
    module = ROOT / f"cloud/chalicelib/tables/{table.suffix.removesuffix('s')}_table.py"
    tree = ast.parse(module.read_text())
    used = {
        OPERATIONS[node.value]
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in OPERATIONS
    }
    used |= {
        "GetItem"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "get" and ast.unparse(node.value) == "self._table"
    }
    assert set(table.actions) == used


def test_the_function_is_told_every_tables_name_by_the_setting_that_it_reads():
    told = settings()
    assert all(name in told for name in (table.setting for table in TABLES))
    environ = {name: f"x-{name}" for name in told} | {"SINFONIA_LEASE_SECRET": "0" * 32}
    read = Settings.from_environ(environ)
    values = {getattr(read, each.name) for each in fields(read) if each.name.endswith("table")}
    assert values == {f"x-{name}" for name in told}


def test_what_is_more_than_soft_state_survives_the_stack_and_can_be_restored():
    kept = {table.suffix: resource(table) for table in TABLES if table.kept}
    assert kept.keys() == {"accounts", "usage"}
    for made in kept.values():
        assert made["DeletionPolicy"] == made["UpdateReplacePolicy"] == "Retain"
        assert made["Properties"]["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
        assert made["Properties"]["DeletionProtectionEnabled"] is True


def test_a_ledger_entry_never_expires_and_everything_else_can():
    expiring = {
        table.suffix for table in TABLES if "TimeToLiveSpecification" in resource(table)["Properties"]
    }
    assert expiring == {table.suffix for table in TABLES} - {"usage"}
