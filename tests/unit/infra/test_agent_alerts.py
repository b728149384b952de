"""The agent's alerts, as Prometheus' own checker reads them: each fires on its case and on no other."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.cluster import CHART, PROJECT
from tests.lab.needs import needs

PROMTOOL = str(PROJECT / ".cache" / "prometheus" / "promtool")
RULES = CHART / "files" / "rules.yaml"
INFO = 'sinfonia_agent_build_info{namespace="%s", version="%s"}'
HEARD = 'sinfonia_agent_root_words_total{namespace="edge", root="acme", outcome="heard"}'
AWAY = 'sinfonia_agent_root_words_total{namespace="edge", root="acme", outcome="away"}'
FAILED = 'sinfonia_agent_deploy_failures_total{namespace="edge", reason="image"}'
CALLS = 'sinfonia_agent_call_failures_total{namespace="edge", part="runtime", operation="%s"}'
REMOVING = 'sinfonia_agent_deployments{namespace="edge", state="removing"}'
HERE = {INFO % ("edge", "1"): "1x100"}
"""Values by minute, as promtool writes them: start, step, and how often; _ is none."""


def promtool(*arguments: str) -> str:
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check(folder: Path, series: dict[str, str], minute: int, fired: dict[str, dict[str, str]]) -> None:
    """Hold that at the minute these alerts fire, each once with these labels, and no others."""
    wanted = [
        {
            "eval_time": f"{minute}m",
            "alertname": name,
            "exp_alerts": [
                {
                    "exp_labels": {**alert["labels"], **fired[name]},
                    "exp_annotations": {"summary": _filled(alert["annotations"]["summary"], fired[name])},
                }
            ]
            if name in fired
            else [],
        }
        for name, alert in _alerts().items()
    ]
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    test = {
        "rule_files": [str(RULES)],
        "tests": [{"interval": "1m", "input_series": inputs, "alert_rule_test": wanted}],
    }
    file = folder / "test.yaml"
    file.write_text(json.dumps(test))
    promtool("test", "rules", str(file))


def _alerts() -> dict[str, Any]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def _filled(text: str, labels: dict[str, str]) -> str:
    for name, value in labels.items():
        text = text.replace("{{ $labels." + name + " }}", value)
    return text


EDGE = {"namespace": "edge"}
ROOT = {"SinfoniaRootUnheard": {**EDGE, "root": "acme"}}


@needs("prometheus")
@pytest.mark.parametrize(
    ("series", "minute", "fired"),
    [
        pytest.param({}, 4, {}, id="an agent that nobody saw yet has five minutes"),
        pytest.param({}, 6, {"SinfoniaAgentAway": {}}, id="no agent was ever seen"),
        pytest.param(HERE, 60, {}, id="an agent with nothing to do"),
        pytest.param(
            {INFO % ("edge", "1"): "1x10 _x90", INFO % ("shop", "1"): "1x100"},
            60,
            {"SinfoniaAgentAway": EDGE},
            id="one of two agents went away",
        ),
        pytest.param(
            {INFO % ("edge", "1"): "1x10 _x90", INFO % ("edge", "2"): "_x12 1x88"}, 60, {}, id="an upgrade"
        ),
        pytest.param({**HERE, HEARD: "0+1x100"}, 60, {}, id="a root that hears"),
        pytest.param(
            {**HERE, HEARD: "0+1x20 20x80", AWAY: "0x20 1+1x80"}, 60, ROOT, id="a root that went away"
        ),
        pytest.param({**HERE, AWAY: "1+1x100"}, 60, ROOT, id="a root that never heard"),
        pytest.param({**HERE, HEARD: "0+1x100", AWAY: "0+1x100"}, 60, {}, id="a root that hears half"),
        pytest.param({**HERE, HEARD: "1x100"}, 60, {}, id="a root that is told nothing for an hour"),
        pytest.param({**HERE, FAILED: "0x50 0+1x10"}, 52, {}, id="a few failed deployments"),
        pytest.param(
            {**HERE, FAILED: "0x50 0+1x10"},
            58,
            {"SinfoniaDeploysFail": {**EDGE, "reason": "image"}},
            id="many failed deployments",
        ),
        pytest.param({**HERE, CALLS % "observe": "0+3x100"}, 60, {}, id="a call that fails now and then"),
        pytest.param(
            {**HERE, CALLS % "observe": "0+5x100", CALLS % "create": "0+5x100"},
            60,
            {"SinfoniaPartFails": {**EDGE, "part": "runtime"}},
            id="calls of a part that fail",
        ),
        pytest.param({**HERE, REMOVING: "0x60 2x40"}, 80, {}, id="removals of twenty minutes"),
        pytest.param(
            {**HERE, REMOVING: "0x20 1x80"},
            60,
            {"SinfoniaRemovalsHang": {**EDGE, "state": "removing"}},
            id="removals of forty minutes",
        ),
        pytest.param({**HERE, REMOVING: "1x25 0 1x74"}, 50, {}, id="removals that come to an end"),
    ],
)
def test_alerts_fire_on_their_case_alone(tmp_path, series, minute, fired):
    check(tmp_path, series, minute, fired)


@needs("prometheus")
def test_prometheus_reads_the_rules():
    assert f"{len(_alerts())} rules found" in promtool("check", "rules", str(RULES))
