"""The guests' NetworkPolicy judged by packets: what `guards.py` writes, enforced on a real cluster's node.

Each refusal is shown to be the policy's: the same connection is made once nobody enforces.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab import device, node, reach
from tests.lab.cloudlet import Cloudlet, load_image
from tests.lab.device import Device
from tests.lab.machine import Machine, Network, poll
from tests.lab.needs import needs
from tests.lab.policies import Enforcer
from tests.lab.world import BIN, HELLOWORLD, RECIPES

live = needs("kubernetes", "node", *device.PARTS, "nft", "podman", "kubectl", "busybox-static")
pytestmark = pytest.mark.timeout(400)
HOST = "203.0.113.1"  # a public address of this machine (TEST-NET-3, RFC 5737)
PUBLIC = "198.51.100.7"  # a server that the node reaches as it would those of the internet
METADATA = "169.254.169.254"
NEIGHBOUR = "192.168.77.7"  # a machine of the operator's, beside the node


class Place:
    """Two guests of an agent, of two pods each, on a node that has the world behind it."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        load_image()
        home = stack.enter_context(Network("home", "203.0.113.0/24"))
        home.attach_host(HOST, "sinfoniapolicy")
        self._outside(stack)
        options = ("--wireguard-endpoint", HOST, "--recipes", str(_recipes(folder)))
        self.cloudlet = stack.enter_context(Cloudlet(folder, *options, host=HOST))
        self.cloudlet.start()
        self.device = Device(stack, folder, home, "203.0.113.11")
        keys = (self.device.key, os.urandom(32))
        self.targets = [self._deployed(key) for key in keys]
        homes = {record.key: record.home for record in self.cloudlet.records()}
        self.guest, self.other = (homes[key] for key in keys)
        for one in (self.guest, self.other):
            assert poll(lambda one=one: len(self.pods(one)) == 2, 60, 0.2)
        self.device.connect(self.targets[0]["TunnelConfig"])

    def _outside(self, stack: ExitStack) -> None:
        """One machine that is everybody outside: a public server, a neighbour, the cloud's metadata."""
        internet = stack.enter_context(Network("internet", "198.51.100.0/24"))
        self.outside = stack.enter_context(Machine("outside"))
        internet.attach(self.outside, PUBLIC)
        node.attach(stack, internet, "198.51.100.2", "sinfoniaout")
        self.outside.run("ip", "route", "add", "default", "via", "198.51.100.2")
        for address in (METADATA, NEIGHBOUR):
            self.outside.run("ip", "address", "add", f"{address}/32", "dev", "lo")
            node.run("ip", "route", "add", address, "via", PUBLIC)
        self.outside.popen(["busybox", "httpd", "-f", "-p", "80", "-h", "/"])

    def _deployed(self, key: bytes) -> Any:
        answers: list[Any] = []

        def ready() -> bool:
            status, answer = self.cloudlet.deploy(key, 5)
            answers.append(answer)
            return status == 200 and answer[0]["Status"] == "Ready"

        assert poll(ready, 120, 0.1), answers[-1]
        return answers[-1][0]

    def pods(self, home: str) -> dict[str, str]:
        """The addresses of a guest's ready pods, by name."""
        return {
            pod["metadata"]["name"]: pod["status"]["podIP"]
            for pod in self.cloudlet.api.items(f"/api/v1/namespaces/{home}/pods")
            if any((one["type"], one["status"]) == ("Ready", "True") for one in pod["status"]["conditions"])
        }

    def service(self, path: str) -> reach.Place:
        """Where the cluster has a service, by its path below the namespaces."""
        spec = self.cloudlet.api.call("GET", f"/api/v1/namespaces/{path}")["spec"]
        return spec["clusterIP"], spec["ports"][0]["port"]

    def enforced(self) -> Enforcer:
        """Enforce this agent's policies, within a `with`."""
        return Enforcer(self.cloudlet.api, {"sinfonia/agent": self.cloudlet.uuid})

    def from_guest(self, places: Sequence[reach.Place]) -> dict[reach.Place, str]:
        """What a pod of the guest is told that connects to each; empty where it is let."""
        command = [str(BIN / "kubectl"), "--kubeconfig", os.environ["SINFONIA_TEST_KUBECONFIG"]]
        command += ["-n", self.guest, "exec", min(self.pods(self.guest)), "--", *reach.command(places)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return reach.failures(done.stdout)

    def from_outside(self, places: Sequence[reach.Place]) -> dict[reach.Place, str]:
        """What the machine outside is told; empty where it is let."""
        return reach.failures(self.outside.run(*reach.command(places), timeout=120).stdout)

    def forbidden(self) -> dict[str, reach.Place]:
        """What a guest must not reach, by what it is."""
        return {
            "another guest's pod": (min(self.pods(self.other).values()), 8080),
            "another guest's service": self.service(f"{self.other}/services/helloworld"),
            "the API server": (node.address(), 6443),
            "the API server as a service": self.service("default/services/kubernetes"),
            "the node's kubelet": (node.address(), 10250),
            "the agent's API": (HOST, int(self.cloudlet.url.rpartition(":")[2])),
            "the cloud's metadata": (METADATA, 80),
            "a neighbour of the node": (NEIGHBOUR, 80),
        }


def _recipes(folder: Path) -> Path:
    """helloworld with two pods."""
    recipe = yaml.safe_load((RECIPES / f"{HELLOWORLD}.yaml").read_text())
    recipe["values"]["replicas"] = 2
    made = folder / "recipes"
    made.mkdir()
    (made / f"{HELLOWORLD}.yaml").write_text(yaml.safe_dump(recipe))
    (made / "helloworld").symlink_to(RECIPES.parent / "charts" / "helloworld")
    return made


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(stack, tmp_path_factory.mktemp("policies"))


@live
def test_a_guest_reaches_nothing_of_the_cloudlet_and_nobody_else(place: Place) -> None:
    forbidden = place.forbidden()
    with place.enforced():
        told = place.from_guest([*forbidden.values()])
        assert {name for name, where in forbidden.items() if not told[where]} == set()
    told = place.from_guest([*forbidden.values()])
    assert told == dict.fromkeys(forbidden.values(), ""), "it is the policy that refuses"


@live
def test_a_guest_reaches_its_own_namespace_and_the_internet(place: Place) -> None:
    places = [(address, 8080) for address in place.pods(place.guest).values()]
    places += [place.service(f"{place.guest}/services/helloworld"), (PUBLIC, 80)]
    with place.enforced():
        assert place.from_guest(places) == dict.fromkeys(places, "")


@live
def test_only_the_gateway_reaches_a_guest(place: Place) -> None:
    pods = [(address, 8080) for home in (place.guest, place.other) for address in place.pods(home).values()]
    with place.enforced():
        assert "Hello" in place.device.get("http://helloworld/")
        assert all(place.from_outside(pods).values())
    assert place.from_outside(pods) == dict.fromkeys(pods, ""), "it is the policy that refuses"
