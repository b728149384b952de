"""One suite for the way into a cloudlet's network: the fake, and a real tunnel between two machines."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from device_sdk import DeploymentError, Event, RequestError, Target, Tunnel, TunnelError, deploy_backend
from device_sdk.calls.deploy import Parts
from device_sdk.tunnels.tunnel import Link
from device_sdk.tunnels.wireguard import WireGuardLink
from tests.fakes.device_sdk_cloudlet import GATEWAY, PAGE, SERVICE, Cloudlet, Page, deploy_call, gateway
from tests.fakes.device_sdk_link import FakeLink
from tests.lab.machine import Machine, Network, inside, poll
from tests.lab.needs import param

Make = Callable[..., tuple[Target, Link]]
KEY = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="


def target_of(root: str, state: Path) -> Target:
    return deploy_backend(root, "helloworld", jit="off", parts=Parts(state))[0]


@contextlib.contextmanager
def fake(tmp_path: Path) -> Iterator[Make]:
    with contextlib.ExitStack() as stack:

        def serve(handler: type) -> tuple[str, int]:
            server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            stack.callback(lambda: (server.shutdown(), thread.join(), server.server_close()))
            return "127.0.0.1", server.server_address[1]

        def make(ready_after: float = 0, fail: str = "") -> tuple[Target, Link]:
            cloudlet = Cloudlet("192.0.2.7:51820", KEY, lambda _key: None, ready_after, fail)
            host, port = serve(deploy_call(cloudlet))
            places = {(GATEWAY, 80): serve(gateway(cloudlet)), (SERVICE, 80): serve(Page)}
            link = FakeLink(places)
            stack.callback(link.close)
            return target_of(f"http://{host}:{port}", tmp_path / "state"), link

        yield make


@contextlib.contextmanager
def real(tmp_path: Path) -> Iterator[Make]:
    with contextlib.ExitStack() as stack:
        cloudlet, device = (stack.enter_context(Machine(name)) for name in ("cloudlet", "device"))
        network = stack.enter_context(Network("lan", "198.51.100.0/24"))
        network.attach(cloudlet, "198.51.100.7")
        network.attach(device, "198.51.100.50")
        log = tmp_path / "cloudlet.log"

        def make(ready_after: float = 0, fail: str = "") -> tuple[Target, Link]:
            options = ["--ready-after", str(ready_after), "--fail", fail]
            program = cloudlet.popen(
                [sys.executable, "-m", "tests.fakes.device_sdk_cloudlet", "198.51.100.7", *options], log=log
            )
            stack.callback(program.kill)
            assert poll(lambda: "serving" in log.read_text()), log.read_text()
            target = target_of("http://198.51.100.7:7070", tmp_path / "state")
            link = WireGuardLink(target.plan, target.key)
            stack.callback(link.close)
            return target, link

        with inside(device):
            yield make


@pytest.fixture(
    params=[
        pytest.param(fake, id="fake"),
        param(real, "root", "tun", "wg", "wireguard-go", "ip", "nsenter", "setpriv", "catatonit", id="real"),
    ]
)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    with request.param(tmp_path) as maker:
        yield maker


def fetch(tunnel: Tunnel, host: str) -> bytes:
    connection = HTTPConnection(host, 80)
    connection.sock = tunnel.connect((host, 80))
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    finally:
        connection.close()


def test_the_page_is_fetched_by_name_by_domain_and_by_address(make: Make) -> None:
    target, link = make()
    with Tunnel(target, link) as tunnel:
        tunnel.wait_ready(10)
        domain = target.plan.search_domains[0]
        for host in ("helloworld", f"helloworld.{domain}", SERVICE):
            assert fetch(tunnel, host) == PAGE
        assert link.handshake_seconds_ago() is not None


def test_what_is_not_offered_is_refused(make: Make) -> None:
    target, link = make()
    with Tunnel(target, link) as tunnel:
        with pytest.raises(RequestError, match="no 'elsewhere'; it offers helloworld"):
            tunnel.connect(("elsewhere", 80))
        with pytest.raises(OSError):
            tunnel.connect(("helloworld", 81), 3)


def test_readiness_is_followed(make: Make) -> None:
    target, link = make(ready_after=0.6)
    events: list[Event] = []
    with Tunnel(target, link) as tunnel:
        assert tunnel.wait_ready(10, events.append).status == "Ready"
    assert (events[0].state, events[-1].state) == ("started", "ended")
    assert "the image is being fetched" in {event.detail for event in events}
    assert 0.2 < (events[-1].seconds or 0) < 3


def test_a_failure_is_told_with_its_reason(make: Make) -> None:
    target, link = make(ready_after=0.2, fail="no such image")
    with Tunnel(target, link) as tunnel, pytest.raises(DeploymentError, match="no such image"):
        tunnel.wait_ready(10)


def test_programs_run_to_their_exit_status(make: Make) -> None:
    target, link = make()
    with Tunnel(target, link) as tunnel:
        assert tunnel.run(["sh", "-c", "exit 3"]) == 3
        assert tunnel.run(["sh", "-c", 'test "$WORD" = yes'], {**os.environ, "WORD": "yes"}) == 0
        assert tunnel.run(["sh", "-c", "kill -KILL $$"]) == 128 + signal.SIGKILL


def test_closing_ends_what_runs_behind_it(make: Make) -> None:
    target, link = make()
    tunnel = Tunnel(target, link)
    program = tunnel.spawn(["sleep", "60"])
    assert program.poll() is None
    tunnel.close()
    tunnel.close()
    assert program.wait(5) == -signal.SIGTERM
    with pytest.raises(TunnelError, match="closed"):
        tunnel.connect(("helloworld", 80))


def test_an_error_inside_closes_it_too(make: Make) -> None:
    target, link = make()
    programs = []

    def use() -> None:
        with Tunnel(target, link) as tunnel:
            programs.append(tunnel.spawn(["sleep", "60"]))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        use()
    assert programs[0].wait(5) == -signal.SIGTERM


def test_a_released_backend_is_gone(make: Make) -> None:
    target, link = make()
    with Tunnel(target, link) as tunnel:
        tunnel.wait_ready(10)
        tunnel.release()
        tunnel.release()
        with pytest.raises(DeploymentError, match="no longer"):
            tunnel.wait_ready(5)


@pytest.fixture
def real_make(tmp_path: Path) -> Iterator[Make]:
    with real(tmp_path) as maker:
        yield maker


@pytest.mark.parametrize(
    "tunnels",
    [param(20, "root", "tun", "wg", "wireguard-go", "ip", "nsenter", "setpriv", "catatonit", id="real")],
)
def test_tunnels_leave_no_process_descriptor_or_interface_behind(real_make: Make, tunnels: int) -> None:
    """Also when the app opens and closes them all day long, one after the other."""
    target, link = real_make()
    link.close()
    before = _traces()
    for _ in range(tunnels):
        with Tunnel(target, WireGuardLink(target.plan, target.key)) as tunnel:
            tunnel.wait_ready(10)
    assert poll(lambda: _traces() == before, 3), _traces()


def _traces() -> tuple[int, int, str, list[str]]:
    links = subprocess.check_output(["ip", "-o", "link"], text=True)
    sockets = Path("/var/run/wireguard")
    left = sorted(path.name for path in sockets.glob("sf*")) if sockets.is_dir() else []
    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), links, left
