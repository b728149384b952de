"""Limits of deployments: quantities as people write them, and charts that ask for too much."""

from __future__ import annotations

from typing import Any

import pytest

from edge_agent.errors import RecipeUnusable
from edge_agent.recipes.limits import STANDARD, Limits, amount, millis, read_limits
from edge_agent.recipes.manifests import check
from tests.fakes.edge_agent_backends import deployment, service, text_of


@pytest.mark.parametrize(
    ("text", "thousandths", "whole"),
    [
        ("500m", 500, 1),
        ("2", 2000, 2),
        (2, 2000, 2),
        (0.25, 250, 1),
        ("1.5Gi", 1610612736000, 1610612736),
        ("1k", 1_000_000, 1000),
        ("0.0001", 1, 1),
        ("-1", None, None),
        ("1e3", None, None),
        ("x", None, None),
        (True, None, None),
        (None, None, None),
        ("1" * 40, None, None),
    ],
)
def test_quantities(text: Any, thousandths: int | None, whole: int | None) -> None:
    assert (millis(text), amount(text)) == (thousandths, whole)


def test_a_recipe_can_ask_for_less_than_the_operator_gives_and_not_for_more() -> None:
    ceiling = Limits(1000, 1 << 30, 5, 1 << 30)
    asked = read_limits({"cpu": "500m", "memory": "4Gi", "pods": 2, "other": "x"})
    assert ceiling.narrowed(asked) == Limits(500, 1 << 30, 2, 1 << 30)
    assert ceiling.narrowed({}) == ceiling


@pytest.mark.parametrize(
    "value",
    [
        [],
        {"cpu": 0},
        {"cpu": "many"},
        {"memory": "1e99"},
        {"memory": "9999999999Ti"},
        {"pods": "2"},
        {"pods": 0},
    ],
)
def test_limits_that_are_none(value: Any) -> None:
    with pytest.raises(ValueError, match="limits"):
        read_limits(value)


def asking(name: str, value: Any, side: str = "limits", replicas: int = 1) -> dict[str, Any]:
    manifest = deployment(resources={side: {name: value}})
    manifest["spec"]["replicas"] = replicas
    return manifest


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (asking("memory", "1Ti"), "asks for 1Ti of memory; 16Gi are allowed"),
        (asking("memory", "1Ti", "requests"), "asks for 1Ti of memory"),
        (asking("memory", "4Gi", replicas=5), "asks for 20Gi of memory"),
        (asking("cpu", "100"), "asks for 100000m of CPU; 8000m are allowed"),
        (asking("ephemeral-storage", "1Ti"), "asks for 1Ti of storage"),
        (asking("memory", "lots"), "no quantity"),
        (asking("memory", ["1Gi"]), "no quantity"),
        (asking("hugepages-2Mi", "1Gi"), "asks for hugepages-2Mi"),
        (asking("smarter-devices/fuse", 1), "asks for smarter-devices/fuse"),
        (asking("nvidia.com/gpu", 9), "asks for 9 of nvidia.com/gpu"),
        (deployment(resources={"claims": [{"name": "x"}]}), "claims"),
        (deployment(resources=[]), "must be an object"),
    ],
)
def test_charts_that_ask_for_too_much(manifest: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeUnusable) as caught:
        check(text_of([service(), manifest]), "web", "1")
    assert words in str(caught.value)


def test_a_volume_counts_as_storage_and_many_pods_as_pods() -> None:
    manifest = deployment()
    manifest["spec"]["template"]["spec"]["volumes"] = [{"name": "v", "emptyDir": {"sizeLimit": "1Ti"}}]
    with pytest.raises(RecipeUnusable, match="1Ti of storage"):
        check(text_of([service(), manifest]), "web", "1")
    many = [
        service("a0"),
        *(asking("cpu", "1m", replicas=10) | {"metadata": {"name": f"a{n}"}} for n in range(3)),
    ]
    many[0]["spec"]["selector"] = {"app": "helloworld"}
    with pytest.raises(RecipeUnusable, match="30 of pods; 20 are"):
        check(text_of(many), "web", "1")


def test_init_containers_run_before_the_others() -> None:
    manifest = asking("memory", "10Gi")
    spec = manifest["spec"]["template"]["spec"]
    spec["initContainers"] = [{"name": "i", "image": "x", "resources": {"limits": {"memory": "12Gi"}}}]
    assert check(text_of([service(), manifest]), "web", "1").limits == STANDARD
    assert check(text_of([service(), asking("nvidia.com/gpu", 1)]), "web", "1").workloads == 1
    with pytest.raises(RecipeUnusable, match="12Gi of memory; 11Gi"):
        check(text_of([service(), manifest]), "web", "1", Limits(8000, 11 << 30, 20, 16 << 30))
