"""The agent and its root with the real programs: a cloudlet that can't be called, draining, release."""

import json

import pytest

from tests.lab.machine import poll
from tests.lab.needs import needs
from tests.lab.world import BIN, HELLOWORLD, World

WORLD = (
    *("root", "tun", "ip", "nsenter", "setpriv", "catatonit", "wg", "wireguard-go", "nft", "podman", "runc"),
    *("netavark", "iptables", "curl", "helm", "busybox-static", "module:zeroconf", "module:chalice"),
)
HERE = ("--location=40.44,-79.95", "--jit=off")
AT_HOME = ("--require", "jurisdiction=US-PA")  # both share one processor, whose load may outweigh the way
CURL = ("--", "curl", "-sS", "--fail", "--max-time", "10", "http://helloworld/")
SHUT = "table inet nat { chain in { type filter hook input priority 0; tcp dport 7070 iif != lo drop; }; }"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with World(tmp_path_factory.mktemp("world")) as world:
        root = world.start_root()
        options = ["--interval-seconds", "5", "--jurisdiction"]
        hidden = world.start_cloudlet(
            "hidden",
            "198.51.100.31",
            "40.4433,-79.9436",
            roots=[json.dumps({"url": root.url, "apps": [HELLOWORLD], "capacity": 5, "price": 0.25})],
            options=[*options, "US-PA", "--not-callable", "--devices", '{"capacity": 0}'],
        )
        hidden.machine.run("nft", SHUT)
        world.start_cloudlet(
            "far",
            "198.51.100.32",
            "50.1109,8.6821",
            roots=[root.url],
            options=[*options, "DE", "--only-from-roots"],
        )
        world.wait_for_cloudlets(2)
        yield world


def listed(world, name):
    return next(each for each in world.root.get("/api/v1/cloudlets/") if each["name"] == name)


def deployed(world, *arguments):
    done = world.sinfonia("deploy", world.root.url, "helloworld", *HERE, "--json", *arguments)
    return [target["Cloudlet"]["Name"] for target in json.loads(done.stdout)]


@needs(*WORLD)
def test_registrations_are_signed_and_tell_what_a_cloudlet_has(world):
    hidden, far = listed(world, "hidden"), listed(world, "far")
    assert (hidden["trust"], far["trust"]) == ("signed", "signed")
    assert hidden["callable"] is False
    assert "endpoint" not in hidden
    assert (hidden.get("price"), far.get("price")) == (0.25, None)
    assert (hidden["jurisdiction"], far["jurisdiction"]) == ("US-PA", "DE")
    assert far["hardware"]["memory_bytes"] > 1 << 20


@needs(*WORLD)
def test_a_cloudlet_that_can_not_be_called_serves_by_the_mail(world):
    knock = world.device.run(
        "curl", "-sS", "-m", "1", f"{world.cloudlets['hidden'].url}/api/v1/health", check=False
    )
    assert knock.returncode == 28, "nobody gets in"
    done = world.sinfonia("run", world.root.url, "helloworld", *HERE, *AT_HOME, *CURL)
    assert "Hello" in done.stdout
    assert "hidden" in done.stdout


@needs(*WORLD)
def test_devices_without_a_root_have_the_share_of_devices(world):
    hidden = world.cloudlets["hidden"]
    url = f"{hidden.url}/api/v1/deploy/{HELLOWORLD}/{'cd' * 32}?wait=0"
    said = json.loads(hidden.machine.run("curl", "-sS", "-m", "10", "-X", "POST", url).stdout)
    assert (said["status"], "devices that ask it themselves" in said["detail"]) == (503, True)


@needs(*WORLD)
def test_a_cloudlet_of_roots_alone_is_reached_through_its_root(world):
    done = world.device.run(
        *("curl", "-sS", "-m", "5", "-X", "POST"),
        f"{world.cloudlets['far'].url}/api/v1/deploy/{HELLOWORLD}/{'ab' * 32}?wait=0",
    )
    assert json.loads(done.stdout)["type"] == "urn:sinfonia:problem:unauthorized"
    assert set(deployed(world, "--results=2")) == {"hidden", "far"}


@needs(*WORLD)
def test_a_drained_cloudlet_keeps_what_runs_and_gets_nothing_new(world):
    state = str(world.folder / "hidden" / "state")
    machine = world.cloudlets["hidden"].machine
    said = machine.run(str(BIN / "sinfonia-agent"), "drain", "--state", state).stdout
    assert "hear of it" in said
    assert poll(lambda: listed(world, "hidden").get("draining"), 10)
    other = {"XDG_STATE_HOME": str(world.folder / "other-device")}
    found = world.sinfonia("deploy", world.root.url, "helloworld", *HERE, "--json", env=other)
    assert [target["Cloudlet"]["Name"] for target in json.loads(found.stdout)] == ["far"]
    machine.run(str(BIN / "sinfonia-agent"), "undrain", "--state", state)
    assert poll(lambda: not listed(world, "hidden").get("draining"), 10)


@needs(*WORLD)
def test_a_root_releases_what_it_had_deployed_also_by_the_mail(world):
    deployed(world, "--results=2")
    done = world.sinfonia("deploy", world.root.url, "helloworld", *HERE, "--json")
    key = json.loads(done.stdout)[0]["ApplicationKey"].replace("+", "-").replace("/", "_").rstrip("=")
    url = f"{world.root.url}/api/v1/deploy/{HELLOWORLD}/{key}"
    status = world.device.run(
        "curl", "-sS", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}", "-X", "DELETE", url
    )
    assert status.stdout == "204"
    hidden = world.cloudlets["hidden"]
    assert poll(lambda: hidden.get("/api/v1/health")["deployments"] == 0, 20)


@needs(*WORLD)
def test_nobody_stumbled(world):
    for host in (world.root, *world.cloudlets.values()):
        log = host.log.read_text()
        assert "Traceback" not in log
        assert "made no sense" not in log
