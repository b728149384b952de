"""The real agent with Podman: images fetched ahead and told truly, values that calls set, over a restart."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.edge_agent_host import HELLOWORLD, RECIPES, AgentHost, DeviceHost, until
from tests.lab import podman
from tests.lab.machine import Machine, Network, poll
from tests.lab.needs import needs

live = needs(
    *(
        "root",
        "tun",
        "podman",
        "runc",
        "netavark",
        "catatonit",
        "iptables",
        "wg",
        "wireguard-go",
        "nft",
        "ip",
    ),
    *("wg", "wireguard-go", "nft", "ip", "curl", "helm", "busybox-static"),
)


class Site:
    """One agent's host, and one device's."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        lan = stack.enter_context(Network("plan", "198.51.100.0/24"))
        machines = [stack.enter_context(Machine(name)) for name in ("pcloudlet", "pdevice")]
        for number, machine in enumerate(machines):
            lan.attach(machine, f"198.51.100.{7 + number}")
        recipes = folder / "recipes"
        shutil.copytree(RECIPES, recipes)
        shutil.copytree(RECIPES.parent / "charts" / "helloworld", recipes / "helloworld")
        self.agent = AgentHost(machines[0], "198.51.100.7", folder, recipes)
        self.device = DeviceHost(machines[1], folder, "wgp0")

    def deploy(self, **context: Any) -> Any:
        url = f"{self.agent.url}/api/v1/deploy/{HELLOWORLD}/{self.device.urlsafe_key}?wait=20"
        return self.device.curl(url, "-X", "POST", "--data", json.dumps(context))

    def page(self, deployment: dict[str, Any]) -> str:
        address = deployment["Services"][0]["address"]
        page = self.device.machine.run("curl", "-sS", "-m", "5", f"http://{address}/", check=False)
        return str(page.stdout)


@pytest.fixture
def site() -> Iterator[Site]:
    folder = Path(tempfile.mkdtemp(prefix="provisioning-"))
    kept = podman.cgroups()
    with ExitStack() as stack:
        yield Site(stack, folder)
    podman.sweep_cgroups(kept)
    shutil.rmtree(folder, ignore_errors=True)


@live
def test_what_is_fetched_ahead_is_told_and_what_a_call_sets_stays(site: Site) -> None:
    site.agent.start("--prefetch", "all", "--max-memory", "1Gi", "--on-exit", "keep")
    cached = {"cached": True}
    assert poll(lambda: site.deploy(requirements=cached)[0] == 200, 60.0, 1.0), site.agent.log.read_text()
    release = f"{site.agent.url}/api/v1/deploy/{HELLOWORLD}"
    (found,) = site.device.curl(f"{release}/{site.device.urlsafe_key}")[1]
    site.device.bind(found)
    assert poll(lambda: "Hello from" in site.page(found), 30.0), site.page(found)
    site.device.machine.run("curl", "-sS", "-X", "DELETE", found["StatusURL"])
    until(lambda: site.agent.left() == [], 60.0)

    status, problem = site.deploy(values={"image": "evil"})
    assert status == 422
    assert "values.image: callers can't set it; the recipe lets them set greeting" in problem["detail"]
    status, deployments = site.deploy(values={"greeting": "Bonjour: x #y"})
    assert status == 200, deployments
    site.device.bind(deployments[0])
    said = "Bonjour: x #y from"
    assert poll(lambda: said in site.page(deployments[0]), 30.0), site.page(deployments[0])

    assert site.agent.program is not None
    site.agent.program.kill()
    site.agent.start("--prefetch", "all", "--max-memory", "1Gi", "--on-exit", "keep")
    status, again = site.deploy(values={"greeting": "Other"})
    assert status == 200, again
    assert again[0]["DeploymentName"] == deployments[0]["DeploymentName"]
    assert poll(lambda: said in site.page(again[0]), 30.0), "the first ones stay"
