"""The template that is merged into the one that Chalice makes, and the one with the tables alone.

Called by `__main__.py`; calls the other modules of this package.
"""

from typing import Any

from infra.aws import gateway, policy, tables, watching

_FLAG = {"Type": "String", "AllowedValues": ["true", "false"]}


def parameters() -> dict[str, Any]:
    """What an operator chooses."""
    return {
        "Prefix": _prefix(),
        "LeaseSecret": {
            "Type": "String",
            "NoEcho": True,
            "MinLength": 32,
            "AllowedPattern": "[^\\s]+",
            "Description": "Signs lease tokens and commands; 32 random characters or more."
            " Several, separated by commas, while it is being changed: the first signs, all verify.",
        },
        "Recipes": {
            "Type": "String",
            "Default": "recipes",
            "Description": "URL of a folder with <app UUID>.yaml files, for apps that no tenant registered.",
        },
        "PublicUrl": {
            "Type": "String",
            "Default": "",
            "Description": "The root's own URL where it is not API Gateway's: a domain of your own.",
        },
        "Matchers": {
            "Type": "String",
            "Default": "network,spread",
            "Description": "Names of the default chain of matchers, separated by commas.",
        },
        "Open": {
            **_FLAG,
            "Default": "false",
            "Description": "Whether cloudlets of the published Sinfonia, which sign nothing, are admitted.",
        },
        "ReservedConcurrency": {
            "Type": "Number",
            "Default": -1,
            "MinValue": -1,
            "Description": "How many copies of the function may run at once; bounds its cost. -1: no limit.",
        },
        "CallsPerSecond": {"Type": "Number", "Default": 5000, "MinValue": 1, "Description": "More get 429."},
        "CallsAtOnce": {
            "Type": "Number",
            "Default": 2500,
            "MinValue": 1,
            "Description": "How many may come at the same moment.",
        },
        "KeepalivesPerSecond": {
            "Type": "Number",
            "Default": 4000,
            "MinValue": 1,
            "Description": "Of a fleet that would send more the intervals are lengthened, to 300 s at most."
            " Bounds cost. Less than CallsPerSecond, so that deploys find room.",
        },
        "LogDays": {
            "Type": "Number",
            "Default": 30,
            "AllowedValues": [1, 3, 5, 7, 14, 30, 60, 90, 180, 365],
            "Description": "How long logs are kept.",
        },
        "LogCalls": {
            **_FLAG,
            "Default": "true",
            "Description": "Whether API Gateway logs each call. Sets the account's role for its logs.",
        },
        "MetricsNamespace": {
            "Type": "String",
            "Default": "Sinfonia",
            "Description": "CloudWatch namespace of the root's own metrics; empty: none.",
        },
        "AlarmMailTo": {
            "Type": "String",
            "Default": "",
            "Description": "Who is told of alarms; empty: nobody.",
        },
        "ExpectCloudlets": {
            **_FLAG,
            "Default": "false",
            "Description": "Whether it is an alarm when no keepalive arrives. Say so once cloudlets do.",
        },
        **{
            tables.restored_parameter(table): {
                "Type": "String",
                "Default": "",
                "AllowedPattern": "[a-zA-Z0-9_.-]*",
                "Description": f"A restored copy to use for {table.logical_id}: <its name>-<anything>.",
            }
            for table in tables.TABLES
            if table.kept
        },
    }


def _prefix() -> dict[str, Any]:
    return {
        "Type": "String",
        "Default": policy.DEFAULT_PREFIX,
        "AllowedPattern": "[a-zA-Z][a-zA-Z0-9_-]{0,31}",
        "Description": "Tables' names begin with it, so that an account can hold several roots.",
    }


def conditions() -> dict[str, Any]:
    """What the parameters switch."""

    def given(parameter: str) -> dict[str, Any]:
        return {"Fn::Not": [{"Fn::Equals": [{"Ref": parameter}, ""]}]}

    restored = [tables.restored_parameter(table) for table in tables.TABLES if table.kept]
    return {
        "HasReservedConcurrency": {"Fn::Not": [{"Fn::Equals": [{"Ref": "ReservedConcurrency"}, -1]}]},
        "HasAccessLog": {"Fn::Equals": [{"Ref": "LogCalls"}, "true"]},
        "HasAlarmMail": given("AlarmMailTo"),
        "ExpectsCloudlets": {"Fn::Equals": [{"Ref": "ExpectCloudlets"}, "true"]},
        **{f"Is{name}": given(name) for name in restored},
    }


def function_properties() -> dict[str, Any]:
    """What is added to the function that Chalice makes."""
    return {
        "Environment": {
            "Variables": {
                **tables.settings(),
                "SINFONIA_LEASE_SECRET": {"Ref": "LeaseSecret"},
                "SINFONIA_RECIPES": {"Ref": "Recipes"},
                "SINFONIA_URL": {"Ref": "PublicUrl"},
                "SINFONIA_MATCHERS": {"Ref": "Matchers"},
                "SINFONIA_OPEN": {"Ref": "Open"},
                "SINFONIA_KEEPALIVES_PER_S": {"Ref": "KeepalivesPerSecond"},
                "SINFONIA_METRICS_NAMESPACE": {"Ref": "MetricsNamespace"},
            }
        },
        "ReservedConcurrentExecutions": {
            "Fn::If": ["HasReservedConcurrency", {"Ref": "ReservedConcurrency"}, {"Ref": "AWS::NoValue"}]
        },
        "LoggingConfig": {"LogGroup": {"Ref": "FunctionLog"}},
    }


def root_template() -> dict[str, Any]:
    """What Chalice merges into its own template (`chalice package --merge-template`)."""
    role_policy = {"PolicyName": "ApiHandlerRolePolicy", "PolicyDocument": policy.for_stack()}
    return {
        "Parameters": parameters(),
        "Conditions": conditions(),
        "Resources": {
            **tables.resources(),
            "FunctionLog": {
                "Type": "AWS::Logs::LogGroup",
                "DeletionPolicy": "Delete",
                "UpdateReplacePolicy": "Delete",
                "Properties": {"RetentionInDays": {"Ref": "LogDays"}},
            },
            **gateway.resources(),
            **watching.alarms(),
            **watching.dashboard(),
            "APIHandler": {"Properties": function_properties()},
            "ApiHandlerRole": {"Properties": {"Policies": [role_policy]}},
            "RestAPI": {"Properties": gateway.api_properties()},
        },
        "Outputs": {
            f"{table.logical_id}Name": {"Value": {"Ref": table.logical_id}} for table in tables.TABLES
        },
    }


def tables_template() -> dict[str, Any]:
    """The tables alone, for a function that `chalice deploy` makes."""
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "Tables of a Sinfonia root",
        "Parameters": {"Prefix": _prefix()},
        "Resources": tables.resources(),
    }
