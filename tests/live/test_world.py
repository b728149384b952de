"""The whole job with the real programs: a root, cloudlets with Podman and WireGuard, a device."""

import json

import pytest

from tests.lab.machine import poll
from tests.lab.needs import WORLD, needs
from tests.lab.world import HELLOWORLD, PROJECT, World

CURL = ("--", "curl", "-sS", "--fail", "--max-time", "10", "http://helloworld/")
PUBLISHED = PROJECT / ".cache" / "published-client" / "bin" / "sinfonia-tier3"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with World(tmp_path_factory.mktemp("world")) as world:
        root = world.start_root()
        world.start_cloudlet("near", "198.51.100.21", "40.4433,-79.9436", roots=[root.url])
        world.start_cloudlet("far", "198.51.100.22", "50.1109,8.6821", roots=[root.url])
        world.wait_for_cloudlets(2)
        yield world


HERE = ("--location=40.44,-79.95", "--jit=off")


@needs(*WORLD)
def test_one_call_and_the_page_of_the_nearest_cloudlet_comes_through_the_tunnel(world):
    done = world.sinfonia("run", world.root.url, "helloworld", *HERE, *CURL)
    assert "Hello" in done.stdout
    assert "near" in done.stdout


@needs(*WORLD)
def test_the_app_sees_its_backend_by_name_and_nothing_of_the_tunnels_making(world):
    look = "ip -o link; cat /etc/resolv.conf; ip route; env | grep -i private || true"
    seen = world.sinfonia("run", world.root.url, "helloworld", *HERE, "--", "sh", "-c", look).stdout
    interfaces = [line.split(": ")[1] for line in seen.splitlines() if line[:1].isdigit() and "mtu" in line]
    assert len(interfaces) == 2, f"lo and the tunnel, not {interfaces}"
    assert "ndots:5" in seen
    assert not [line for line in seen.splitlines() if line.startswith("default")]


@needs(*WORLD)
def test_the_tunnel_has_ipv6_and_the_gateway_a_name_in_it(world):
    ask = "ip -6 -o address show scope global; curl -6 -sS -m 10 http://gateway.sinfonia.internal/api/v1/deployment"
    seen = world.sinfonia("run", world.root.url, "helloworld", *HERE, "--", "sh", "-c", ask).stdout
    assert "inet6 fd" in seen
    assert '"Status":"Ready"' in seen.replace(" ", "")


@needs(*WORLD)
def test_deploying_again_gives_the_same_backend(world):
    first, second = (
        json.loads(world.sinfonia("deploy", world.root.url, "helloworld", *HERE, "--json").stdout)
        for _ in range(2)
    )
    assert first[0]["DeploymentName"] == second[0]["DeploymentName"]
    assert first[0]["TunnelConfig"] == second[0]["TunnelConfig"]
    assert world.cloudlets["near"].get("/api/v1/health")["deployments"] == 1


@needs(*WORLD)
def test_three_results_from_two_cloudlets_are_two(world):
    targets = json.loads(
        world.sinfonia("deploy", world.root.url, "helloworld", *HERE, "--results=3", "--json").stdout
    )
    assert [target["Cloudlet"]["Name"] for target in targets] == ["near", "far"]


@needs(*WORLD)
def test_release_gives_everything_back(world):
    world.sinfonia("deploy", world.root.url, "helloworld", *HERE, "--results=3")
    world.sinfonia("release", world.root.url, "helloworld", *HERE)
    for host in world.cloudlets.values():
        assert poll(lambda host=host: host.get("/api/v1/health")["deployments"] == 0)
        assert poll(lambda host=host: _peers(host) == [])


@needs(*WORLD)
def test_the_published_client_unchanged_runs_a_command_that_fetches_the_page(world, tmp_path):
    assert PUBLISHED.exists(), "infra/setup/install --engines brings the published client"
    retry = ("--retry", "10", "--retry-delay", "1", "--retry-connrefused")
    done = world.device.run(
        *(str(PUBLISHED), world.root.url, HELLOWORLD),
        *("/usr/bin/curl", "-sS", "--fail", "--max-time", "20", *retry, "http://helloworld/"),
        timeout=60,
        env={"XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)},
    )
    assert "Hello" in done.stdout


@needs(*WORLD)
def test_an_unknown_app_a_wrong_uuid_and_no_root_are_one_line_each(world):
    unknown = "11111111-2222-3333-4444-555555555555"
    for arguments in (
        ("deploy", world.root.url, unknown, "--jit=off"),
        ("deploy", world.root.url, "not-a-uuid", "--jit=off"),
        ("deploy", "http://198.51.100.99:8080", "helloworld", "--jit=off", "--timeout=4"),
    ):
        done = world.sinfonia(*arguments, check=False)
        assert done.returncode not in (0, 1), done
        assert len(done.stderr.strip().splitlines()[-1:]) == 1
        assert "Traceback" not in done.stderr


@needs(*WORLD)
def test_a_cloudlet_that_vanished_is_replaced_and_a_jit_cloudlet_needs_no_root(world):
    world.cloudlets["near"].vanish()
    done = world.sinfonia("run", world.root.url, "helloworld", *HERE, *CURL)
    assert "far" in done.stdout
    world.root.vanish()
    world.start_cloudlet("kitchen", "192.168.77.30", options=["--announce"])
    done = world.sinfonia("run", world.root.url, "helloworld", "--jit=prefer", *CURL)
    assert "kitchen" in done.stdout


def _peers(host) -> list[str]:
    return host.machine.run("wg", "show", "all", "peers").stdout.split()
