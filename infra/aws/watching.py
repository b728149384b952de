"""Alarms and the dashboard: what tells an operator that something is wrong, and what to look at then.

Called by `template.py`. Only metrics that AWS makes for nothing are used; an alarm costs ten cents a month
for each metric that it looks at.
"""

import json
from typing import Any

from infra.aws.tables import TABLES

API_NAME = "sinfonia-root"
STAGE = "root"
_MINUTE = 60
_API = [{"Name": "ApiName", "Value": API_NAME}, {"Name": "Stage", "Value": STAGE}]
_FUNCTION = [{"Name": "FunctionName", "Value": {"Ref": "APIHandler"}}]


def _alarm(about: str, *, missing: str = "notBreaching", **properties: Any) -> dict[str, Any]:
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "AlarmDescription": about,
            "TreatMissingData": missing,
            "AlarmActions": [{"Ref": "Alarms"}],
            "OKActions": [{"Ref": "Alarms"}],
            **properties,
        },
    }


def _metric(namespace: str, name: str, dimensions: list[dict[str, Any]]) -> dict[str, Any]:
    return {"Namespace": namespace, "MetricName": name, "Dimensions": dimensions}


def _above(threshold: float, minutes: int, of: int) -> dict[str, Any]:
    return {
        "ComparisonOperator": "GreaterThanThreshold",
        "Threshold": threshold,
        "Period": _MINUTE,
        "EvaluationPeriods": of,
        "DatapointsToAlarm": minutes,
    }


def _throttled(table: str, kind: str) -> dict[str, Any]:
    """Calls of one kind (Read, Write) to one table that DynamoDB refused."""
    dimensions = [{"Name": "TableName", "Value": {"Ref": table}}]
    return _alarm(
        f"DynamoDB refuses calls to {table}: look for a hot partition.",
        **_metric("AWS/DynamoDB", f"{kind}ThrottleEvents", dimensions),
        Statistic="Sum",
        **_above(0, 3, 5),
    )


def alarms() -> dict[str, Any]:
    """The alarms, and the topic that they go to."""
    made = {
        "ServerErrorAlarm": _alarm(
            "More than one call in a hundred is answered 5xx.",
            **_metric("AWS/ApiGateway", "5XXError", _API),
            Statistic="Average",
            **_above(0.01, 3, 5),
        ),
        "LatencyAlarm": _alarm(
            "One call in a hundred takes longer than a deploy may (8 s).",
            **_metric("AWS/ApiGateway", "Latency", _API),
            ExtendedStatistic="p99",
            **_above(8000, 5, 5),
        ),
        "FunctionErrorAlarm": _alarm(
            "The function ends without an answer: look into its log.",
            **_metric("AWS/Lambda", "Errors", _FUNCTION),
            Statistic="Sum",
            **_above(0, 3, 5),
        ),
        "FunctionThrottleAlarm": _alarm(
            "Lambda runs no more copies of the function: raise ReservedConcurrency or the account's limit.",
            **_metric("AWS/Lambda", "Throttles", _FUNCTION),
            Statistic="Sum",
            **_above(0, 3, 5),
        ),
        # Each keepalive is one write; nothing else writes to this table all the time.
        "NoKeepaliveAlarm": _alarm(
            "No cloudlet sends keepalives: devices will soon be told that there is none.",
            missing="breaching",
            **_metric(
                "AWS/DynamoDB",
                "ConsumedWriteCapacityUnits",
                [{"Name": "TableName", "Value": {"Ref": "CloudletTable"}}],
            ),
            Statistic="Sum",
            ComparisonOperator="LessThanThreshold",
            Threshold=1,
            Period=_MINUTE,
            EvaluationPeriods=10,
            DatapointsToAlarm=10,
            ActionsEnabled={"Fn::If": ["ExpectsCloudlets", True, False]},
        ),
    }
    made |= {
        f"{table.logical_id}{kind}Alarm": _throttled(table.logical_id, kind)
        for table in TABLES
        for kind in ("Read", "Write")
    }
    topic = {
        "Alarms": {"Type": "AWS::SNS::Topic"},
        "AlarmMail": {
            "Type": "AWS::SNS::Subscription",
            "Condition": "HasAlarmMail",
            "Properties": {
                "TopicArn": {"Ref": "Alarms"},
                "Protocol": "email",
                "Endpoint": {"Ref": "AlarmMailTo"},
            },
        },
    }
    return topic | made


def _graph(title: str, metrics: list[list[Any]], row: int, column: int) -> dict[str, Any]:
    return {
        "type": "metric",
        "x": column * 8,
        "y": row * 6,
        "width": 8,
        "height": 6,
        "properties": {"title": title, "region": "${AWS::Region}", "period": _MINUTE, "metrics": metrics},
    }


def dashboard() -> dict[str, Any]:
    """One page: calls and errors, how long they take, the function, and what the tables do."""
    api = ["ApiName", API_NAME, "Stage", STAGE]
    function = ["FunctionName", "${APIHandler}"]
    tables = [["TableName", f"${{{table.logical_id}}}"] for table in TABLES]

    def each_table(name: str) -> list[list[Any]]:
        return [["AWS/DynamoDB", name, *of, {"stat": "Sum"}] for of in tables]

    graphs: list[tuple[str, list[list[Any]]]] = [
        (
            "Calls and errors",
            [["AWS/ApiGateway", name, *api, {"stat": "Sum"}] for name in ("Count", "4XXError", "5XXError")],
        ),
        (
            "Milliseconds of calls",
            [["AWS/ApiGateway", "Latency", *api, {"stat": stat}] for stat in ("p50", "p90", "p99")],
        ),
        (
            "Function",
            [
                ["AWS/Lambda", name, *function, {"stat": "Sum"}]
                for name in ("Invocations", "Errors", "Throttles")
            ]
            + [["AWS/Lambda", "ConcurrentExecutions", *function, {"stat": "Maximum"}]],
        ),
        ("Write units (cloudlets: keepalives)", each_table("ConsumedWriteCapacityUnits")),
        ("Read units", each_table("ConsumedReadCapacityUnits")),
        ("Refused by DynamoDB", each_table("WriteThrottleEvents") + each_table("ReadThrottleEvents")),
    ]
    widgets = [
        _graph(title, metrics, number // 3, number % 3) for number, (title, metrics) in enumerate(graphs)
    ]
    return {
        "Dashboard": {
            "Type": "AWS::CloudWatch::Dashboard",
            "Properties": {
                "DashboardName": {"Fn::Sub": "${AWS::StackName}-${AWS::Region}"},
                "DashboardBody": {"Fn::Sub": json.dumps({"widgets": widgets})},
            },
        }
    }
