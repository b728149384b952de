"""The whole job with a real Kubernetes: the agent runs on this machine, which reaches the pods."""

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.lab import cluster, images
from tests.lab.machine import poll
from tests.lab.needs import needs
from tests.lab.world import BIN, RECIPES, World

NEEDS = ("kubernetes", "root", "tun", "ip", "nsenter", "setpriv", "catatonit", "wg", "wireguard-go", "nft")
HOST = "198.51.100.1"
AGENT = f"http://{HOST}:7070"
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


def _agent(world: World, root_url: str, log: Path) -> subprocess.Popen[bytes]:
    command = [str(BIN / "sinfonia-agent"), "run", "--runtime", "kubernetes", "--name", "cluster"]
    command += ["--kubeconfig", cluster.agent_kubeconfig(), "--recipes", str(RECIPES)]
    command += ["--state", str(world.folder / "cluster"), "--listen", f"{HOST}:7070", "--root", root_url]
    command += ["--wireguard-port", "51899", "--on-exit", "remove", "--location", "40.44,-79.95"]
    with log.open("ab") as sink:
        return subprocess.Popen(["setpriv", "--pdeathsig", "TERM", *command], stdout=sink, stderr=sink)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    load = os.environ.get("SINFONIA_TEST_LOAD_IMAGE")
    if load:
        subprocess.run([*shlex.split(load), str(images.helloworld_archive())], check=True, timeout=120)
    forwarding = FORWARDING.read_text()
    with World(tmp_path_factory.mktemp("kubernetes")) as world:
        world.internet.attach_host(HOST, "sinfoniatest")
        root = world.start_root()
        log = world.folder / "cluster.log"
        agent = _agent(world, root.url, log)
        try:
            assert poll(lambda: agent.poll() is None and world.root.get("/api/v1/cloudlets/"), 60), (
                log.read_text()
            )
            yield world
        finally:
            agent.terminate()
            agent.wait(90)
            FORWARDING.write_text(forwarding)
        assert agent.returncode == 0, log.read_text()
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    assert "sf-" not in links
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    assert "sinfonia" not in tables


@needs(*NEEDS)
@pytest.mark.timeout(180)
def test_a_page_from_a_pod_comes_through_the_tunnel(world):
    done = world.sinfonia(
        *("run", world.root.url, "helloworld", "--jit=off", "--"),
        *("curl", "-sS", "--fail", "--max-time", "10", "http://helloworld/"),
    )
    assert "Hello from cluster" in done.stdout


@needs(*NEEDS)
@pytest.mark.timeout(180)
def test_the_device_reaches_its_backend_and_nothing_else_of_the_cluster(world):
    look = (
        "for place in 10.98.0.2:6443 198.51.100.1:7070 10.97.0.1:443; do"
        ' curl -sk -o /dev/null --connect-timeout 2 "https://$place/" && echo "reached $place"; done; true'
    )
    done = world.sinfonia("run", world.root.url, "helloworld", "--jit=off", "--", "sh", "-c", look)
    assert "reached" not in done.stdout


@needs(*NEEDS)
@pytest.mark.timeout(180)
def test_release_removes_the_namespace(world):
    [target] = json.loads(
        world.sinfonia("deploy", world.root.url, "helloworld", "--jit=off", "--json").stdout
    )
    assert target["Cloudlet"]["Name"] == "cluster"
    world.sinfonia("release", world.root.url, "helloworld", "--jit=off")
    health = ["curl", "-sS", "-m", "5", f"{AGENT}/api/v1/health"]
    assert poll(lambda: json.loads(world.device.run(*health).stdout)["deployments"] == 0, 60)
