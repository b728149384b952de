"""A real Prometheus on a machine: scrapes a target every fifth of a second and answers queries.

Debian's programs, which `infra/setup/install --engines` unpacks into .cache; nothing of it is left behind.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.lab.machine import Machine, poll

PROGRAMS = Path(__file__).resolve().parents[2] / ".cache" / "prometheus"
_URL = "http://127.0.0.1:9090/api/v1"


class Prometheus:
    """Runs on `machine` and scrapes `target` (IP:PORT) there; reads the alerts of `rules`."""

    def __init__(self, machine: Machine, folder: Path, target: str, rules: Path) -> None:
        self._machine = machine
        config = {
            "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"},
            "rule_files": [str(rules)],
            "scrape_configs": [{"job_name": "agent", "static_configs": [{"targets": [target]}]}],
        }
        file, self.log = folder / "prometheus.json", folder / "prometheus.log"
        file.write_text(json.dumps(config))
        options = (f"--config.file={file}", f"--storage.tsdb.path={folder / 'series'}")
        machine.popen(
            [str(PROGRAMS / "prometheus"), *options, "--web.listen-address=127.0.0.1:9090"], log=self.log
        )
        assert poll(lambda: self._get("targets/metadata"), 60, 0.1), self.log.read_text()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that it finds now; the question has to be one that it understands."""
        found: list[dict[str, Any]] = self._get("query", f"query={expression}", must=True)["result"]
        return found

    def names(self) -> set[str]:
        """Metrics that the target told of, also those without a value yet."""
        return {one["metric"] for one in self._get("targets/metadata", must=True)}

    def rules(self) -> list[dict[str, Any]]:
        """What became of each rule's last evaluation."""
        (group,) = self._get("rules", must=True)["groups"]
        found: list[dict[str, Any]] = group["rules"]
        return found

    def _get(self, path: str, *data: str, must: bool = False) -> Any:
        options = [word for one in data for word in ("--data-urlencode", one)]
        done = self._machine.run("curl", "-sS", "-m", "10", "-G", *options, f"{_URL}/{path}", check=must)
        answer = json.loads(done.stdout) if done.stdout.startswith("{") else {"status": done.stdout}
        if must:
            assert answer["status"] == "success", (data, answer)
        return answer.get("data")
