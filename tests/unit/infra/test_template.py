"""The template names only what it has; alarms and dashboard look at things that there are."""

import json
import re

from infra.aws.tables import TABLES
from infra.aws.template import root_template, tables_template

CHALICE = {"APIHandler", "ApiHandlerRole", "RestAPI"}  # in the template that ours is merged into


def references(value: object) -> set[str]:
    """Everything that is referred to, however."""
    if isinstance(value, dict):
        found = {name for each in value.values() for name in references(each)}
        if "Ref" in value:
            found.add(value["Ref"])
        if "Fn::GetAtt" in value:
            found.add(value["Fn::GetAtt"][0])
        if "Fn::Sub" in value:
            found |= set(re.findall(r"\$\{([\w:]+)[\w.]*\}", value["Fn::Sub"]))
        return found
    if isinstance(value, list):
        return {name for each in value for name in references(each)}
    return set()


def test_everything_referred_to_is_there():
    template = root_template()
    there = set(template["Parameters"]) | set(template["Resources"]) | CHALICE
    named = {name for name in references(template) if not name.startswith("AWS::")}
    assert named <= there


def test_every_parameter_is_used_and_says_what_it_is():
    template = root_template()
    used = references({key: value for key, value in template.items() if key != "Parameters"})
    for name, parameter in template["Parameters"].items():
        assert name in used
        assert parameter["Description"]


def test_only_the_secret_has_to_be_given():
    parameters = root_template()["Parameters"]
    assert [name for name, parameter in parameters.items() if "Default" not in parameter] == ["LeaseSecret"]
    assert parameters["LeaseSecret"]["NoEcho"] is True


def test_every_condition_that_is_asked_for_is_there():
    template = root_template()
    asked = set(re.findall(r'"Fn::If": \["(\w+)"', json.dumps(template)))
    asked |= {each["Condition"] for each in template["Resources"].values() if "Condition" in each}
    assert asked == set(template["Conditions"])


def test_every_alarm_tells_somebody_and_says_what_it_means():
    alarms = [
        each["Properties"]
        for each in root_template()["Resources"].values()
        if each.get("Type") == "AWS::CloudWatch::Alarm"
    ]
    assert len(alarms) == 5 + 2 * len(TABLES)
    for alarm in alarms:
        assert alarm["AlarmDescription"]
        assert alarm["AlarmActions"] == [{"Ref": "Alarms"}]


def test_silence_is_an_alarm_only_where_cloudlets_are_expected():
    silence = root_template()["Resources"]["NoKeepaliveAlarm"]["Properties"]
    assert silence["TreatMissingData"] == "breaching"
    assert silence["ActionsEnabled"] == {"Fn::If": ["ExpectsCloudlets", True, False]}


def test_the_dashboard_is_json_without_overlaps():
    body = json.loads(root_template()["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"])
    corners = {(widget["x"], widget["y"]) for widget in body["widgets"]}
    assert len(corners) == len(body["widgets"])
    assert all(widget["x"] + widget["width"] <= 24 for widget in body["widgets"])


def test_the_tables_alone_are_the_same_tables():
    resources = root_template()["Resources"]
    assert all(resources[name] == made for name, made in tables_template()["Resources"].items())
    assert len(tables_template()["Resources"]) == len(TABLES)
