"""A cloudlet to test the device SDK with: WireGuard, deploy call, gateway and one page, in one program.

Run inside a `tests.lab` machine as `python -m tests.fakes.device_sdk_cloudlet ADDRESS [options]`. It
deploys nothing; the page is its own. Everything that the SDK sees of it is real: packets, handshakes,
HTTP and DNS.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from dnslib import QTYPE, RR, A, DNSRecord

GATEWAY, DEVICE, SERVICE = "100.71.0.1", "100.71.0.17", "100.71.0.18"
DOMAIN = "helloworld-0123456789.sinfonia.internal"
CLOUDLET = "5f1c9a1e-7f35-4a39-9d52-3f1f8f0e6a11"
PAGE = b"Hello, world.\n"


def say(word: str) -> None:
    """Let the test that reads the log know."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


class Cloudlet:
    """What a cloudlet knows of its one device. Its backend is ready `ready_after` seconds after the call.

    `add_peer` hears the key of a device that may enter, as base64.
    """

    def __init__(
        self,
        endpoint: str,
        public: str,
        add_peer: Callable[[str], None],
        ready_after: float = 0,
        fail: str = "",
        uuid: str = CLOUDLET,
    ) -> None:
        self.uuid = uuid
        self.endpoint, self.public, self.add_peer = endpoint, public, add_peer
        self.ready_after, self.fail = ready_after, fail
        self.decoy = ""
        self.key, self.deployed_at, self.released = b"", 0.0, False

    def decoys(self) -> list[dict[str, Any]]:
        """A target at an endpoint where nobody is, if there is to be one."""
        made = self.deployment()
        made["TunnelConfig"] |= {"endpoint": self.decoy, "publicKey": base64.b64encode(b"d" * 32).decode()}
        return [made] if self.decoy else []

    def deploy(self, key: bytes) -> None:
        if key != self.key or self.released:
            self.add_peer(base64.b64encode(key).decode())
            self.key, self.deployed_at, self.released = key, time.monotonic(), False

    def expire(self) -> None:
        """The lease has ended: there is no backend any more."""
        self.released = True

    def deployment(self) -> dict[str, Any]:
        ready = time.monotonic() - self.deployed_at >= self.ready_after
        status = ("Failed" if self.fail else "Ready") if ready else "Deploying"
        return {
            "UUID": "00000000-0000-0000-0000-000000000000",
            "ApplicationKey": base64.b64encode(self.key).decode(),
            "Status": status,
            "Reason": self.fail if ready else "the image is being fetched",
            "DeploymentName": "helloworld-0123456789",
            "Cloudlet": {"UUID": self.uuid, "Name": "stand-in"},
            "StatusURL": f"http://{GATEWAY}/api/v1/deployment",
            "Services": [
                {"name": "helloworld", "address": SERVICE, "ports": [{"protocol": "TCP", "port": 80}]}
            ],
            "TunnelConfig": {
                "publicKey": self.public,
                "allowedIPs": [f"{GATEWAY}/32", "100.71.0.16/29"],
                "endpoint": self.endpoint,
                "address": [f"{DEVICE}/32"],
                "dns": [GATEWAY, DOMAIN],
            },
        }


def deploy_call(cloudlet: Cloudlet) -> type[BaseHTTPRequestHandler]:
    class Handler(_Quiet):
        def do_POST(self) -> None:
            match = re.fullmatch(r"/api/v1/deploy/([0-9a-f-]{36})/([\w-]{43})(\?.*)?", self.path)
            if not match:
                return self.answer(
                    404, {"type": "urn:sinfonia:problem:not-found", "title": "x", "status": 404}
                )
            cloudlet.deploy(base64.urlsafe_b64decode(match[2] + "="))
            return self.answer(200, [*cloudlet.decoys(), cloudlet.deployment()])

        def do_GET(self) -> None:
            if self.path == "/api/v1/health":
                return self.answer(200, {"status": "ok", "uuid": cloudlet.uuid, "name": "stand-in"})
            if self.path.startswith("/api/v1/deploy/") and cloudlet.key and not cloudlet.released:
                return self.answer(200, [cloudlet.deployment()])
            return self.answer(404, {"type": "urn:sinfonia:problem:not-found", "title": "x", "status": 404})

    return Handler


def gateway(cloudlet: Cloudlet) -> type[BaseHTTPRequestHandler]:
    class Handler(_Quiet):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            size = len(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(200, {"bytes": size})

        def do_GET(self) -> None:
            if self.path == "/api/v1/probe":
                self.send_response(204)
                self.end_headers()
                return
            if self.path.startswith("/api/v1/probe/download"):
                size = int(self.path.partition("bytes=")[2])
                self.send_response(200)
                self.send_header("Content-Length", str(size))
                self.end_headers()
                self.wfile.write(bytes(size))
                return
            wait = re.search(r"wait=([0-9.]+)", self.path)
            until = time.monotonic() + (float(wait[1]) if wait else 0.0)
            pause = threading.Event()
            while cloudlet.deployment()["Status"] == "Deploying" and time.monotonic() < until:
                pause.wait(0.02)
            self.answer(404 if cloudlet.released else 200, cloudlet.deployment())

        def do_DELETE(self) -> None:
            cloudlet.released = True
            say("released")
            self.answer(202, {})

    return Handler


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_arguments: object) -> None:
        return


class _Quiet(BaseHTTPRequestHandler):
    wbufsize = 1 << 16  # in two pieces the second would wait for an acknowledgement of the first

    def answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        kind = "application/json" if status < 400 else "application/problem+json"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_arguments: object) -> None:
        return


class Names(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        data, sock = self.request
        query = DNSRecord.parse(data)
        reply = query.reply()
        if str(query.q.qname) == f"helloworld.{DOMAIN}.":
            if query.q.qtype == QTYPE.A:
                reply.add_answer(RR(query.q.qname, QTYPE.A, rdata=A(SERVICE), ttl=5))
        else:
            reply.header.rcode = 3
        sock.sendto(reply.pack(), self.client_address)


def announce(address: str) -> Callable[[], None]:
    from zeroconf import ServiceInfo, Zeroconf

    zeroconf = Zeroconf(interfaces=[address])
    kind = "_sinfonia._tcp.local."
    addresses = [socket.inet_aton(address)]
    info = ServiceInfo(kind, f"stand-in.{kind}", 7070, addresses=addresses, properties={"path": "/"})
    zeroconf.register_service(info)
    return zeroconf.close


def listens() -> bool:
    """Whether WireGuard can be asked. `wg` itself must not try: it removes sockets that don't listen yet."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as tried:
        return tried.connect_ex("/var/run/wireguard/wg0.sock") == 0


def wireguard() -> tuple[str, Callable[[str], None]]:
    """Set up the gateway's interface; return its public key and what lets a device in."""
    private = subprocess.check_output(["wg", "genkey"], text=True).strip()
    public = subprocess.check_output(["wg", "pubkey"], input=private, text=True).strip()
    subprocess.run(
        "wg set wg0 listen-port 51820 private-key /dev/stdin".split(), input=private, text=True, check=True
    )
    for command in (
        f"addr add {GATEWAY}/32 dev wg0",
        f"addr add {SERVICE}/32 dev wg0",
        "link set wg0 mtu 1420 up",
        f"route add {DEVICE}/32 dev wg0",
    ):
        subprocess.run(["ip", *command.split()], check=True)

    def add_peer(key: str) -> None:
        subprocess.run(["wg", "set", "wg0", "peer", key, "allowed-ips", f"{DEVICE}/32"], check=True)

    return public, add_peer


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("--ready-after", type=float, default=0.0)
    parser.add_argument("--fail", default="")
    parser.add_argument("--uuid", default=CLOUDLET)
    parser.add_argument("--announce", action="store_true")
    parser.add_argument("--decoy", default="", help="endpoint of a dead target to name first")
    options = parser.parse_args()
    daemon = subprocess.Popen(
        "setpriv --pdeathsig KILL wireguard-go -f wg0".split(), stderr=subprocess.DEVNULL
    )
    try:
        while not listens():
            threading.Event().wait(0.01)
        public, add_peer = wireguard()
        endpoint = f"{options.address}:51820"
        cloudlet = Cloudlet(endpoint, public, add_peer, options.ready_after, options.fail, options.uuid)
        signal.signal(signal.SIGUSR1, lambda *_: cloudlet.expire())
        cloudlet.decoy = options.decoy
        servers: list[socketserver.BaseServer] = [
            ThreadingHTTPServer((options.address, 7070), deploy_call(cloudlet)),
            ThreadingHTTPServer((GATEWAY, 80), gateway(cloudlet)),
            ThreadingHTTPServer((SERVICE, 80), Page),
            socketserver.ThreadingUDPServer((GATEWAY, 53), Names),
        ]
        for server in servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        stop = announce(options.address) if options.announce else None
        say("serving")
        threading.Event().wait()
        del stop
    finally:
        daemon.kill()


if __name__ == "__main__":
    main()
