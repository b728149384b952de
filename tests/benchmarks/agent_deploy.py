"""From a deploy call to the tunnel answer, and to a ready helloworld whose image is present, asked of the
agent alone: on a real Kubernetes and on Podman. `helm_s` is what one rendering takes, within the answer.
"""

from __future__ import annotations

import json
import os
import secrets
import statistics
import subprocess
import tempfile
import time
from base64 import urlsafe_b64encode
from pathlib import Path

from tests.benchmarks.figures import Figures
from tests.lab import cluster
from tests.lab.cloudlet import Cloudlet, load_image
from tests.lab.world import HELLOWORLD, PROJECT, World

ROUNDS = 5
_LIMITS: dict[str, float | str] = {
    "kubernetes_answer_s": 0.3,
    "kubernetes_ready_s": 5.0,
    "podman_answer_s": 0.3,
    "podman_ready_s": 3.0,
    "helm_s": "the part of an answer that helm takes",
}


def run(max_size: int | None = None) -> Figures:
    """Return medians over `max_size` deploys of keys of their own (at most 5)."""
    rounds = min(ROUNDS, max_size or ROUNDS)
    figures = {"helm_s": statistics.median(_helm() for _ in range(rounds))}
    if os.environ.get("SINFONIA_TEST_KUBECONFIG"):
        figures |= _named("kubernetes", _on_kubernetes(rounds))
    figures |= _named("podman", _on_podman(rounds))
    ordered = {key: round(figures[key], 3) for key in _LIMITS if key in figures}
    compared = {key: _LIMITS[key] for key in ordered}
    return Figures("agent_deploy", ordered, dict.fromkeys(ordered, "s"), compared)


def _named(runtime: str, found: list[tuple[float, float]]) -> dict[str, float]:
    answers, readies = zip(*found, strict=True)
    return {
        f"{runtime}_answer_s": statistics.median(answers),
        f"{runtime}_ready_s": statistics.median(readies),
    }


def _on_kubernetes(rounds: int) -> list[tuple[float, float]]:
    load_image()
    found = []
    with tempfile.TemporaryDirectory() as folder, Cloudlet(Path(folder)) as cloudlet:
        cloudlet.start()
        for _ in range(rounds):
            key = os.urandom(32)
            began = time.perf_counter()
            status, _ = cloudlet.deploy(key)
            answered = time.perf_counter() - began
            assert status == 200
            status, [told] = cloudlet.deploy(key, 25)
            assert told["Status"] == "Ready", told
            found.append((answered, time.perf_counter() - began))
    return found


def _on_podman(rounds: int) -> list[tuple[float, float]]:
    with tempfile.TemporaryDirectory() as folder, World(Path(folder) / "world") as world:
        home = world.start_cloudlet("near", "192.168.77.21", options=["--announce"])
        found = []
        for _ in range(rounds):
            key = urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
            url = f"{home.url}/api/v1/deploy/{HELLOWORLD}/{key}?wait="
            post = ("curl", "-sS", "--fail", "-w", "\n%{time_total}", "-X", "POST")
            first = world.device.run(*post, f"{url}0").stdout.rsplit("\n", 1)
            second = world.device.run(*post, f"{url}25").stdout.rsplit("\n", 1)
            assert json.loads(second[0])[0]["Status"] == "Ready", second[0]
            found.append((float(first[1]), float(first[1]) + float(second[1])))
        return found


def _helm() -> float:
    chart = PROJECT / "infra" / "charts" / "helloworld"
    began = time.perf_counter()
    subprocess.run([cluster.helm(), "template", "x", str(chart)], check=True, capture_output=True, timeout=60)
    return time.perf_counter() - began
